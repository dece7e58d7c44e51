"""The command `train`: a configuration and pools of stamps in, a model package out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    from pipeline.train.loop import Progress


@dataclass(frozen=True)
class TrainResult:
    """What a training run made."""

    package: str
    stamps: int
    metrics: dict[str, float]


def run_training(
    config_reference: str, out: str | None = None, *, resume: bool = False, seed: int | None = None
) -> TrainResult:
    """Train by a config and write the package; progress goes to standard error.

    Parameters
    ----------
    config_reference : str
        Path of a training TOML or name of a shipped one.
    out : str, optional
        Folder that gets `<name>/` with the run and its package, instead of the config's `output`.
    resume : bool
        Go on from the run's checkpoint.
    seed : int, optional
        Instead of the config's; the run's folder is then `<name>-seed<seed>`.

    Raises
    ------
    ConfigError, ProductMismatch
        For a wrong configuration or pool, or a checkpoint of another run.
    """
    from pipeline.config import find, load
    from pipeline.train.apart import check_apart
    from pipeline.train.config import TrainConfig
    from pipeline.train.data import read_stamps, read_unlabelled
    from pipeline.train.finish import finish
    from pipeline.train.loop import train as train_network

    path = find(config_reference, "training")
    config = load(TrainConfig, path)
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    bands, scale = config.package.bands, config.package.pixel_scale
    data = config.data
    size = data.size_pix or config.package.size_pix
    stamps = read_stamps(data.train, bands, scale, size)
    validation = read_stamps(data.validation, bands, scale, size, data.validation_limit)
    unlabelled = read_unlabelled(data.unlabelled, bands, scale, stamps.size)
    check_apart(data, stamps, validation)
    folder = Path(out or config.output) / (config.name if seed is None else f"{config.name}-seed{seed}")
    trained = train_network(
        config, stamps, validation, folder, unlabelled=unlabelled, resume=resume, report=_report, tell=_tell
    )
    command = f"lensscan train {path.name}" + ("" if seed is None else f" --seed {seed}")
    card = finish(config, trained, stamps, validation, folder / "package", command, unlabelled=unlabelled)
    metrics = {metric.name: metric.value for metric in card.metrics}
    return TrainResult(str(folder / "package"), len(stamps), metrics)


def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A training config: a path, or a shipped name.")],
    out: Annotated[str | None, typer.Option("--out", help="Folder of the run, instead of the config's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the config's; has its own folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Train a network on pools of simulated stamps and write a model package."""
    with reporting(as_json):
        result = run_training(config, out, resume=resume, seed=seed)
        show(as_json, asdict(result), lambda: _text(result))


def _text(result: TrainResult) -> str:
    figures = "\n".join(f"  {name}: {value:.4f}" for name, value in result.metrics.items())
    return f"{result.package}: trained on {result.stamps:,} stamps\n{figures}"


def _tell(message: str) -> None:
    typer.echo(message, err=True)


def _report(progress: Progress) -> None:
    typer.echo(
        f"step {progress.step:,}/{progress.steps:,}  loss {progress.loss:.4f}  {progress.rate:,.0f} stamps/s  "
        f"{progress.left / 60:.1f} min left",
        err=True,
    )
