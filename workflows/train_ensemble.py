"""From a survey to its ensemble in one command: pools, members, calibration, evaluation, each step done once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.recipe_members import package_folder, run_folder, train_members
from workflows.recipe_pools import PoolResult, write_pools

if TYPE_CHECKING:
    from pipeline.models.ensemble import Ensemble
    from pipeline.train.recipe import EvaluationRecipe, Recipe
    from workflows.train_member import TrainResult

ENSEMBLE, EVALUATION, REPORT = "ensemble.toml", "evaluation.toml", "report"
STEPS = ".steps"
"""Folder of what finished steps were made of."""


@dataclass(frozen=True)
class MemberResult:
    """A trained member; `metrics` are its package's, on the half of its validation that calibrated nothing."""

    name: str
    architecture: str
    package: str
    stamps: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class SampleFigures:
    """What the evaluation found of the ensemble on one sample: figures by name, None where not measured."""

    sample: str
    column: str
    n_lenses: int
    n_others: int
    figures: dict[str, float | None]


@dataclass(frozen=True)
class EnsembleResult:
    """What a recipe made; `report` is None without an evaluation."""

    ensemble: str
    rule: str
    prior: float
    pools: tuple[PoolResult, ...]
    members: tuple[MemberResult, ...]
    report: str | None
    evaluated: tuple[SampleFigures, ...]


def train_ensemble(path: Path, out: str | None = None, *, resume: bool = False) -> EnsembleResult:
    """Do what a recipe says, as far as it is not done.

    A step is done when its output is there and was made of the same inputs: a pool's shards beside what it was asked
    to be, a package with the fingerprint of its training, an ensemble and a report with a fingerprint beside them. So
    a run that was killed goes on where it was, and ends with the same bytes.

    Parameters
    ----------
    path : Path
        Of the recipe.
    out : str, optional
        Folder of everything, instead of the recipe's.
    resume : bool
        Go on from the checkpoint of a member that was stopped in its middle.

    Raises
    ------
    ConfigError, ProductMismatch, ModelMismatch
        For a wrong recipe, a folder that holds something else, or a member that can't be trained.
    """
    from pipeline.io.lease import Lease
    from pipeline.train.recipe import load_recipe

    recipe = load_recipe(path, out)
    _check_evaluation(recipe)
    with Lease(recipe.output):
        _tell(f"step 1 of 4: {len(recipe.config.pools)} pools in {recipe.output / 'pools'}")
        pools = write_pools(recipe)
        _tell(f"step 2 of 4: {len(recipe.members)} members, {recipe.config.parallel} at a time")
        trained = train_members(recipe, resume=resume)
        _tell(f"step 3 of 4: calibration on {', '.join(recipe.config.calibration.pools)}")
        calibrate(recipe, pools)
        _tell("step 4 of 4: evaluation")
        evaluated = () if recipe.config.evaluation is None else evaluate(recipe, recipe.config.evaluation, pools)
    return EnsembleResult(
        ensemble=str(recipe.output / ENSEMBLE),
        rule=recipe.config.calibration.rule,
        prior=recipe.config.calibration.prior,
        pools=tuple(pools),
        members=_members(recipe, trained),
        report=str(recipe.output / REPORT) if recipe.config.evaluation is not None else None,
        evaluated=evaluated,
    )


def calibrate(recipe: Recipe, pools: Sequence[PoolResult]) -> None:
    """Fit members and rule on the calibration pools, and write `ensemble.toml` and the calibrations beside it."""
    from pipeline.evaluate.calibration.data import logits_of_pools
    from pipeline.evaluate.calibration.ensemble import fit_ensemble
    from pipeline.models.ensemble_publish import CALIBRATIONS, FAMILIARITIES, save_ensemble

    asked, output = recipe.config.calibration, recipe.output
    plain = _uncalibrated(recipe)
    weights = [[member.name, member.fingerprint()] for member in plain.members]
    about = [recipe.config.name, recipe.config.description]
    # The prior is the survey's: nothing that is fitted here depends on it.
    wanted = _hash([about, asked.model_dump(exclude={"prior"}), plain.views, weights, _ids(pools)])
    marker = output / STEPS / "calibration.json"
    if _is_done(marker, wanted):
        _tell(f"{output / ENSEMBLE}: done before")
        return
    patterns = [recipe.pattern(pool) for pool in asked.pools]
    sample = logits_of_pools(patterns, plain, familiarity=asked.familiarity, report=_tell)
    members = tuple(replace(member, familiarity=sample.familiarity.get(member.name)) for member in plain.members)
    what = f"{len(sample.lens):,} stamps of {', '.join(asked.pools)}"
    fitted = fit_ensemble(
        replace(plain, members=members),
        sample.logits,
        sample.lens,
        what,
        rule=asked.rule,
        method=asked.method,
        prior=asked.weigh,
    )
    save_ensemble(output / ENSEMBLE, fitted, recipe.config.description)
    beside = [path for folder in (CALIBRATIONS, FAMILIARITIES) for path in sorted((output / folder).rglob("*.*"))]
    _mark_done(marker, wanted, [output / ENSEMBLE, *beside])


def evaluate(recipe: Recipe, asked: EvaluationRecipe, pools: Sequence[PoolResult]) -> tuple[SampleFigures, ...]:
    """Measure the ensemble on test pools and whatever else the evaluation names, and write the report."""
    from pipeline.config import find
    from pipeline.models.ensemble import load_ensemble
    from pipeline.models.publish import write_toml
    from workflows.evaluate import REPORT as PAGE
    from workflows.evaluate import RESULT, SCORES, run_evaluation

    output, folder = recipe.output, recipe.output / REPORT
    ensemble = load_ensemble(output / ENSEMBLE)
    values = _evaluation_values(recipe, asked, find(asked.config, "evaluations", recipe.path.parent))
    wanted = _hash([values, ensemble.fingerprint(), ensemble.calibration_fingerprint(), _ids(pools)])
    marker = output / STEPS / "evaluation.json"
    if _is_done(marker, wanted):
        _tell(f"{folder}: done before")
    else:
        write_toml(output / EVALUATION, values)
        run_evaluation(str(output / EVALUATION), out=folder)
        _mark_done(marker, wanted, [folder / name for name in (SCORES, PAGE, RESULT)])
    return tuple(map(_sample_figures, json.loads((folder / RESULT).read_text())["samples"]))


def ensemble_text(result: EnsembleResult) -> str:
    """The result as a table of members, the ensemble's figures by sample, and the next step."""
    width = max(len(member.name) for member in result.members)
    lines = [f"{'member':{width}}  architecture    stamps   AUROC  TPR at 1 %  TPR at 0.1 %   (validation)"]
    for member in result.members:
        auroc, hundredth, thousandth = (
            member.metrics.get(name, float("nan"))
            for name in ("auroc", "completeness at 1 % false positives", "completeness at 0.1 % false positives")
        )
        lines.append(
            f"{member.name:{width}}  {member.architecture:14} {member.stamps:>7,}  {auroc:6.4f}  {hundredth:10.3f}  "
            f"{thousandth:12.3f}"
        )
    for sample in result.evaluated:
        lines += ["", f"{sample.sample} ({sample.column}): {sample.n_lenses:,} lenses, {sample.n_others:,} others"]
        lines += [f"  {name}: {value:.4f}" for name, value in sample.figures.items() if value is not None]
    lines += ["", f"{result.ensemble}: rule {result.rule}"]
    if result.report is not None:
        lines.append(f"{result.report}/report.html: the evaluation")
    lines.append(
        f'in a scan\'s config: ensemble = "{Path(result.ensemble).resolve()}" and [candidates] prior = {result.prior:g}'
    )
    return "\n".join(lines)


def _members(recipe: Recipe, trained: Sequence[TrainResult]) -> tuple[MemberResult, ...]:
    return tuple(
        MemberResult(
            name=member.config.name,
            architecture=member.config.network.architecture,
            package=result.package,
            stamps=result.stamps,
            metrics=result.metrics,
        )
        for member, result in zip(recipe.members, trained, strict=True)
    )


def _uncalibrated(recipe: Recipe) -> Ensemble:
    """The members with the calibrations of their packages, in equal weights."""
    from pipeline.models.ensemble import Ensemble
    from pipeline.models.package import load_package

    packages = tuple(load_package(package_folder(recipe, member)) for member in recipe.members)
    return Ensemble(recipe.config.name, packages, (1.0,) * len(packages), "mean_log_odds", views=recipe.config.views)


def _evaluation_values(recipe: Recipe, asked: EvaluationRecipe, path: Path) -> dict[str, Any]:
    """The evaluation's config with the recipe's ensemble, prior, runs and pools in it.

    Raises
    ------
    ConfigError
        If the recipe gives pools to a sample that the evaluation has not.
    """
    from pipeline.config import read_toml
    from pipeline.errors import ConfigError

    values = read_toml(path)
    samples = {str(sample.get("name")): sample for sample in values.get("samples", ())}
    for name, given in asked.samples.items():
        if samples.get(name, {}).get("kind") != "pools":
            pooled = ", ".join(other for other, sample in samples.items() if sample.get("kind") == "pools") or "none"
            raise ConfigError(
                f"{recipe.path}: evaluation.samples: {path} has no sample {name!r} of pools; it has {pooled}."
            )
        samples[name]["pools"] = [recipe.pattern(pool) for pool in given]
    seen = [recipe.pattern(pool.name) for pool in recipe.config.pools if pool.split != "test"]
    return {
        **values,
        "name": recipe.config.name,
        "ensemble": ENSEMBLE,
        "prior": recipe.config.calibration.prior,
        "training": [*values.get("training", ()), *seen],
        "runs": [str(run_folder(recipe, member)) for member in recipe.members],
    }


def _check_evaluation(recipe: Recipe) -> None:
    """Find out what is wrong with the evaluation before the hours of training, not after; raises ConfigError."""
    from pipeline.config import find
    from pipeline.evaluate.config import load_evaluation

    asked = recipe.config.evaluation
    if asked is not None:
        path = find(asked.config, "evaluations", recipe.path.parent)
        load_evaluation(path)
        _evaluation_values(recipe, asked, path)


def _sample_figures(sample: dict[str, Any]) -> SampleFigures:
    scorer = next(scorer for scorer in sample["scorers"] if scorer["kind"] == "ensemble")
    figures = {figure["name"]: figure["value"] for figure in scorer["figures"]}
    return SampleFigures(sample["name"], sample["column"], sample["n_lenses"], sample["n_others"], figures)


def _hash(values: Any) -> str:
    from pipeline.provenance import fingerprint

    return fingerprint(values)


def _ids(pools: Sequence[PoolResult]) -> list[list[str]]:
    return [[pool.name, pool.fingerprint] for pool in pools]


def _is_done(marker: Path, wanted: str) -> bool:
    """Whether a step was done with these inputs, and its files are what it wrote."""
    from pipeline.provenance import sha256_of

    try:
        values = json.loads(marker.read_text())
        return bool(values["inputs"] == wanted) and all(
            sha256_of(Path(name)) == digest for name, digest in values["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _mark_done(marker: Path, inputs: str, files: Sequence[Path]) -> None:
    from pipeline.io.writing import write_json
    from pipeline.provenance import sha256_of

    write_json(marker, {"inputs": inputs, "files": {str(path): sha256_of(path) for path in files}})


def _tell(message: str) -> None:
    typer.echo(message, err=True)
