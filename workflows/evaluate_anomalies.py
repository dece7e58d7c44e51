"""Evaluations of kind `anomalies`: detectors of lensed quasars and of other anomalies, beside one another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from workflows.evaluate_kinds import Told
from workflows.evaluate_text import figure_text

if TYPE_CHECKING:
    from pipeline.evaluate.anomalies.config import AnomaliesConfig
    from pipeline.evaluate.anomalies.result import AnomalyEvaluation
    from pipeline.evaluate.anomalies.scores import Scored
    from pipeline.evaluate.splits import SplitCheck
    from pipeline.models.package import ModelPackage

RESULT, SCORES, REPORT = "evaluation.json", "scores.parquet", "report.html"


def run(path: Path, out: Path | None, report: Callable[[str], None]) -> Told:
    """Compare the packages of a config, and write result, scores and report.

    A sample whose place an unset environment variable names, or whose files are not there, is "not measured": its
    reason goes to `report`, into the result and the page, and the other samples are measured.

    Parameters
    ----------
    path : Path
        An evaluation TOML of kind `anomalies`.
    out : Path, optional
        Folder of the results; `runs/evaluations/<name>` if None.
    report : callable
        Is told how far it is.

    Raises
    ------
    ConfigError
        For a wrong configuration, package or sample, samples that share with the training pools, or nothing to measure.
    ModelMismatch
        If a package can't read a sample.
    """
    from pipeline.errors import ConfigError
    from pipeline.evaluate.anomalies.config import load_anomalies
    from pipeline.evaluate.anomalies.measure import compare
    from pipeline.evaluate.anomalies.points import open_against_neighbours
    from pipeline.evaluate.anomalies.scores import load_packages, score_sample
    from pipeline.evaluate.result import plain
    from pipeline.evaluate.samples.pools import open_pools
    from pipeline.evaluate.splits import check_splits, identity, training_identity
    from pipeline.provenance import software
    from workflows.evaluate import open_samples

    config, absent = load_anomalies(path)
    packages = load_packages(config.packages)
    samples = open_samples(
        config,
        absent,
        lambda sample: open_against_neighbours(sample, config.points, config.baselines, config.seed),
    )
    for name, reason in absent.items():
        report(f"NOT MEASURED: {name}: {reason}")
    if not samples:
        raise ConfigError(f"{path}: no sample can be measured: " + "; ".join(absent.values()))
    chosen_on = open_pools(config.validation)
    checked = [identity(sample) for sample in (chosen_on, *samples)]
    splits = check_splits(checked, training_identity(config.training))
    _refuse_shared(splits, chosen_on.name)
    validation = score_sample(chosen_on, packages, config, report)
    scored = [score_sample(sample, packages, config, report) for sample in samples]
    version = " ".join(software().values())
    result, scored = compare(config, packages, validation, scored, not_measured=absent, splits=splits, version=version)
    folder = out or Path("runs/evaluations") / config.name
    _write(folder, result, scored, packages, config)
    values = {**plain(result), "output": str(folder)}
    return Told(values, _text(result, folder))


def _refuse_shared(splits: list[SplitCheck], validation: str) -> None:
    """Refuse samples that hold stamps on which thresholds are chosen."""
    from pipeline.errors import ConfigError
    from pipeline.evaluate.splits import STAMP

    for check in splits:
        if check.first == validation and check.what == STAMP and check.shared:
            raise ConfigError(
                f"sample {check.second!r} shares {check.shared:,} stamps with {validation!r}, on which thresholds are "
                "chosen; simulate one of them with another seed."
            )


def _write(
    folder: Path,
    result: AnomalyEvaluation,
    scored: list[Scored],
    packages: list[ModelPackage],
    config: AnomaliesConfig,
) -> None:
    from pipeline.evaluate.anomalies.page import page
    from pipeline.evaluate.anomalies.pictures import false_alarms, missed, reconstructions
    from pipeline.evaluate.anomalies.tables import scores_table
    from pipeline.evaluate.result import plain
    from pipeline.io.tables import write_table
    from pipeline.io.writing import atomic_write, write_json

    folder.mkdir(parents=True, exist_ok=True)
    analysed = {latent.package for latent in result.latents}
    drawn = {
        package.name: [item for part in scored[:1] for item in reconstructions(part, package, config)]
        for package in packages
        if package.name in analysed
    }
    wrong = [
        (f"{what} of {package.name} on {part.sample.name}", found(part, package.name, config))
        for package in packages
        for part in scored
        for what, found in (("Top false alarms", false_alarms), ("Missed anomalies", missed))
    ]
    write_table(folder / SCORES, scores_table(scored))
    atomic_write(folder / REPORT, page(result, drawn, wrong).encode())
    write_json(folder / RESULT, plain(result))


def _text(result: AnomalyEvaluation, output: Path) -> Group:
    """A table a sample, one row a score, and what wasn't measured."""
    parts: list[Table | str] = []
    prior = float(result.config["prior"])
    for sample in result.samples:
        table = Table(
            title=f"{sample.name}: {sample.n_lenses:,} anomalies, {sample.n_others:,} normals",
            title_justify="left",
            box=None,
            pad_edge=False,
            width=190,
        )
        wanted = ["AUROC", "F1 at the", "precision at the", "completeness at the", "completeness at FPR 0.01"]
        if sample.column != "real":
            wanted += [f"F1 at prior {prior:g}", f"precision at prior {prior:g}"]
        table.add_column("score", no_wrap=True, min_width=44)
        for name in wanted:
            table.add_column(name.removesuffix(" at the"), justify="right", no_wrap=True, min_width=20)
        for scorer in result.scorers:
            found = [scorer.samples[sample.name].figure(name) for name in wanted]
            table.add_row(scorer.name, *("–" if figure is None else figure_text(figure) for figure in found))
        parts += [table, ""]
    parts += [f"NOT MEASURED: {name}: {reason}" for name, reason in result.not_measured.items()]
    return Group(*parts, f"{output / REPORT}")
