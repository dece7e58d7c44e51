"""The command `train`: a configuration and pools of stamps in, a model package out; or a recipe of an ensemble."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    from pipeline.models.package import ModelCard
    from pipeline.train.config import TrainConfig
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
    from pipeline.train.config import TrainConfig

    path = find(config_reference, "training")
    config = load(TrainConfig, path)
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    folder = Path(out or config.output) / (config.name if seed is None else f"{config.name}-seed{seed}")
    command = f"lensscan train {path.name}" + ("" if seed is None else f" --seed {seed}")
    return train_member(config, folder, folder / "package", command, resume=resume)


def train_member(
    config: TrainConfig,
    folder: Path,
    package: Path,
    command: str,
    *,
    resume: bool = False,
    keep: bool = False,
    said_by: str = "",
) -> TrainResult:
    """Read the stamps, train, and write the package.

    Parameters
    ----------
    config : TrainConfig
    folder : Path
        Of the run.
    package : Path
    command : str
        For the package's card.
    resume : bool
        Go on from the run's checkpoint.
    keep : bool
        Leave a package that this very config and stamps made as it is.
    said_by : str
        Stands before every line of progress.

    Raises
    ------
    ConfigError, ProductMismatch
        For a wrong configuration or pool, or a checkpoint of another run.
    """
    from pipeline.train.apart import check_apart
    from pipeline.train.data import read_stamps, read_unlabelled
    from pipeline.train.finish import finish, training_fingerprint
    from pipeline.train.loop import train as train_network

    bands, scale = config.package.bands, config.package.pixel_scale
    data = config.data
    size = data.size_pix or config.package.size_pix
    stamps = read_stamps(data.train, bands, scale, size)
    validation = read_stamps(data.validation, bands, scale, size, data.validation_limit)
    unlabelled = read_unlabelled(data.unlabelled, bands, scale, stamps.size)
    card = _finished(package, training_fingerprint(config, stamps, unlabelled)) if keep else None
    if card is not None:
        _tell(f"{said_by}{package}: done before")
    else:
        check_apart(data, stamps, validation)
        trained = train_network(
            config,
            stamps,
            validation,
            folder,
            unlabelled=unlabelled,
            resume=resume,
            report=partial(_report, said_by),
            tell=lambda message: _tell(said_by + message),
        )
        card = finish(config, trained, stamps, validation, package, command, unlabelled=unlabelled)
    return TrainResult(str(package), len(stamps), {metric.name: metric.value for metric in card.metrics})


def _finished(package: Path, wanted: str) -> ModelCard | None:
    """The card of a package that is whole and of this training, or None."""
    from pipeline.errors import LensscanError
    from pipeline.models.package import load_package

    try:
        card = load_package(package).card
    except LensscanError:
        return None
    return card if card.training_fingerprint == wanted else None


def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A training config or a recipe: a path, or a shipped name.")
    ],
    out: Annotated[str | None, typer.Option("--out", help="Folder of the run, instead of the config's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints of the run.")] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the config's; has its own folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Train a network on pools of stamps and write a model package; by a recipe, train a whole ensemble."""
    from pipeline.config import find
    from pipeline.errors import ConfigError
    from pipeline.train.recipe import is_recipe
    from workflows.train_ensemble import ensemble_text, train_ensemble

    with reporting(as_json):
        path = find(config, "training")
        if is_recipe(path):
            if seed is not None:
                raise ConfigError(f"{path} is a recipe: --seed is for one network; its members have their own.")
            made = train_ensemble(path, out, resume=resume)
            show(as_json, asdict(made), lambda: ensemble_text(made))
            return
        result = run_training(config, out, resume=resume, seed=seed)
        show(as_json, asdict(result), lambda: _text(result))


def _text(result: TrainResult) -> str:
    figures = "\n".join(f"  {name}: {value:.4f}" for name, value in result.metrics.items())
    return f"{result.package}: trained on {result.stamps:,} stamps\n{figures}"


def _tell(message: str) -> None:
    typer.echo(message, err=True)


def _report(said_by: str, progress: Progress) -> None:
    typer.echo(
        f"{said_by}step {progress.step:,}/{progress.steps:,}  loss {progress.loss:.4f}  {progress.rate:,.0f} stamps/s  "
        f"{progress.left / 60:.1f} min left",
        err=True,
    )
