"""The command `evaluate`: an ensemble on simulations, on injections into real pixels and on real lenses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    from pipeline.evaluate.config import BaselineConfig, EvaluationConfig, RealLensesConfig
    from pipeline.evaluate.result import Evaluation
    from pipeline.evaluate.samples.sample import Sample
    from pipeline.evaluate.scores import Scores
    from pipeline.models.ensemble import Ensemble

RESULT, SCORES, REPORT = "evaluation.json", "scores.parquet", "report.html"


@dataclass(frozen=True)
class EvaluateResult:
    """What was found, and the folder that holds `evaluation.json`, `scores.parquet` and `report.html`."""

    evaluation: Evaluation
    output: Path


def run_evaluation(
    reference: str,
    *,
    ensemble: str | None = None,
    out: Path | None = None,
    cards: bool = False,
    logits: Path | None = None,
) -> EvaluateResult:
    """Evaluate by a config and write result, scores and report.

    A sample whose place an unset environment variable names, or whose files are not there, is "not measured": its
    reason goes to standard error, into the result and the report, and the other samples are measured.

    Parameters
    ----------
    reference : str
        Path of an evaluation TOML or name of a shipped one.
    ensemble : str, optional
        Path or name of another ensemble than the config's.
    out : Path, optional
        Folder of the results; `runs/evaluations/<name>-<ensemble>` if None.
    cards : bool
        Write each member's figures on its card, in place of those that the same command wrote before.
    logits : Path, optional
        Folder of an earlier evaluation: members that were in it are not asked again about stamps that were.

    Raises
    ------
    ConfigError
        For a wrong configuration or sample, samples that share with the training pools, or nothing to measure.
    ModelMismatch
        If a member can't read a sample.
    """
    from pipeline.config import find
    from pipeline.errors import ConfigError
    from pipeline.evaluate.config import load_evaluation
    from pipeline.evaluate.measure import evaluate as measured
    from pipeline.evaluate.reuse import member_identities, read_logits
    from pipeline.evaluate.scores import score_sample
    from pipeline.evaluate.splits import check_splits, identity, training_identity
    from pipeline.models.ensemble import load_ensemble
    from pipeline.provenance import software

    path = find(reference, "evaluations")
    config, absent = load_evaluation(path)
    if ensemble is not None:
        config = config.model_copy(update={"ensemble": ensemble})
    loaded = load_ensemble(config.ensemble, path.parent if ensemble is None else None)
    known = None if logits is None else read_logits(logits / SCORES)
    samples = open_samples(config, absent)
    if not samples:
        told = "\n".join(f"  {name}: {reason}" for name, reason in absent.items())
        raise ConfigError(f"{path}: no sample can be measured:\n{told}")
    for name, reason in absent.items():
        _report(f"NOT MEASURED: {name}: {reason}")
    splits = check_splits([identity(sample) for sample in samples], training_identity(config.training))
    scored = [score_sample(sample, loaded, config, _report, known) for sample in samples]
    version = " ".join(software().values())
    result = measured(config, loaded, scored, not_measured=absent, splits=splits, version=version)
    folder = out or Path("runs/evaluations") / f"{config.name}-{loaded.name}"
    _write(folder, result, scored, config, member_identities(loaded))
    if cards:
        _write_cards(loaded, result, f"lensscan evaluate {reference}" + (f" --ensemble {ensemble}" if ensemble else ""))
    return EvaluateResult(result, folder)


class Sampled(Protocol):
    """What every kind of evaluation is asked to measure."""

    @property
    def samples(self) -> Sequence[Any]:
        """Configs of `pipeline.evaluate.config`'s samples."""

    @property
    def baselines(self) -> BaselineConfig:
        """Apertures of one-number baselines."""

    @property
    def seed(self) -> int:
        """Of what is drawn of a sample."""


def open_samples(
    config: Sampled, absent: dict[str, str], real: Callable[[RealLensesConfig], list[Sample]] | None = None
) -> list[Sample]:
    """The samples that are there; why the others are not is added to `absent`, and what it names is not looked for.

    Parameters
    ----------
    config : EvaluationConfig, or one of another kind
    absent : dict
        Why, by the sample's name.
    real : callable, optional
        Opens real lenses in another way than `open_real_lenses`.

    Raises
    ------
    ConfigError
        For a sample that is there and can't be read.
    """
    from pipeline.evaluate.config import DetectionsConfig, OthersConfig, PoolsConfig
    from pipeline.evaluate.samples.lenses import open_real_lenses
    from pipeline.evaluate.samples.others import open_detections, open_others
    from pipeline.evaluate.samples.pools import open_pools
    from pipeline.io.pools import matching

    samples: list[Sample] = []
    for sample in config.samples:
        if sample.name in absent:
            continue
        if isinstance(sample, PoolsConfig):
            missing = [pattern for pattern in sample.pools if not matching(pattern)]
            if missing:
                absent[sample.name] = f"no file matches {', '.join(missing)}; make it with `lensscan simulate`"
            else:
                samples.append(open_pools(sample))
        elif isinstance(sample, DetectionsConfig):
            if Path(sample.scan).is_dir():
                samples.append(open_detections(sample, config.seed))
            else:
                absent[sample.name] = f"no folder {sample.scan}; scan the survey with `lensscan scan`"
        elif not Path(sample.stamps).exists():
            absent[sample.name] = f"no folder {sample.stamps}"
        elif isinstance(sample, OthersConfig):
            samples.append(open_others(sample))
        elif real is not None:
            samples.extend(real(sample))
        else:
            samples.append(open_real_lenses(sample, config.baselines, config.seed))
    return samples


def evaluate(
    config: Annotated[str, typer.Argument(metavar="EVALUATION.toml", help="Samples: a path, or a shipped name.")],
    ensemble: Annotated[
        str | None, typer.Option("--ensemble", help="Another ensemble than the config's: a path, or a shipped name.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the results.")] = None,
    cards: Annotated[bool, typer.Option("--cards", help="Write each member's figures on its card.")] = False,
    logits: Annotated[
        Path | None,
        typer.Option("--logits", help="An earlier evaluation's folder: its logits are taken over."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure an ensemble on simulations, injections and real lenses, side by side, and write a report."""
    from pipeline.config import find
    from pipeline.errors import ConfigError
    from pipeline.evaluate.result import plain
    from workflows.evaluate_kinds import kind_of, run_kind
    from workflows.evaluate_text import evaluation_text

    with reporting(as_json):
        path = find(config, "evaluations")
        if (kind := kind_of(path)) is not None:
            if ensemble is not None or cards or logits is not None:
                raise ConfigError(f"{path} is of kind {kind!r}, which takes neither --ensemble, --cards nor --logits.")
            told = run_kind(kind, path, out, _report)
            show(as_json, told.values, lambda: told.text)
            return
        result = run_evaluation(config, ensemble=ensemble, out=out, cards=cards, logits=logits)
        values: dict[str, Any] = {**plain(result.evaluation), "output": str(result.output)}
        show(as_json, values, lambda: evaluation_text(result.evaluation, result.output))


def _write(
    folder: Path, result: Evaluation, scored: list[Scores], config: EvaluationConfig, identities: dict[str, str]
) -> None:
    from pipeline.evaluate.histories import read_histories
    from pipeline.evaluate.report.gallery import gallery
    from pipeline.evaluate.report.page import page
    from pipeline.evaluate.result import plain
    from pipeline.evaluate.reuse import with_identities
    from pipeline.evaluate.tables import scores_table
    from pipeline.io.tables import write_table
    from pipeline.io.writing import atomic_write, write_json

    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(result.members)
    write_table(folder / SCORES, with_identities(scores_table(scored, names), identities))
    pictures = tuple(part for scores in scored for part in gallery(scores, names, config))
    html = page(result, pictures, read_histories(config.runs))
    atomic_write(folder / REPORT, html.encode())
    write_json(folder / RESULT, plain(result))


def _write_cards(ensemble: Ensemble, result: Evaluation, command: str) -> None:
    from pipeline.errors import ConfigError
    from pipeline.evaluate.cards import with_figures
    from pipeline.models.publish import write_card

    for member in ensemble.members:
        try:
            write_card(member.path, with_figures(member.card, result, command))
            _report(f"{member.path}: card written")
        except OSError as error:
            raise ConfigError(f"{member.path}: the card can't be written ({error.strerror}).") from error


def _report(message: str) -> None:
    typer.echo(message, err=True)
