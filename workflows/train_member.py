"""One network from its configuration to its package: the whole of `train`, and a member of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pipeline.models.card import ModelCard
    from pipeline.train.config import TrainConfig
    from pipeline.train.loop import Progress


@dataclass(frozen=True)
class TrainResult:
    """What a training run made."""

    package: str
    stamps: int
    metrics: dict[str, float]


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
    from pipeline.train.donors import read_donors, with_donors
    from pipeline.train.finish import check_enough, finish, training_fingerprint
    from pipeline.train.loop import train as train_network
    from pipeline.train.method_config import PosteriorConfig, SegmentationConfig
    from workflows.graded_cutouts import with_cutouts

    bands, scale = config.package.bands, config.package.pixel_scale
    # What the card and the fingerprint tell of are the sources as they were given.
    data = with_cutouts(config.data, bands, folder)
    size = data.size_pix or config.package.size_pix
    targets = config.method.maps if isinstance(config.method, SegmentationConfig) else None
    truth = isinstance(config.method, PosteriorConfig)
    stamps = read_stamps(data.train, bands, scale, size, targets=targets, parameters=truth)
    if data.artefacts:
        stamps = with_donors(stamps, read_donors(data.artefacts, scale, config.package.size_pix))
    validation = read_stamps(
        data.validation, bands, scale, size, data.validation_limit, targets=targets, parameters=truth
    )
    unlabelled = read_unlabelled(data.unlabelled, bands, scale, stamps.size)
    card = _finished(package, training_fingerprint(config, stamps, unlabelled)) if keep else None
    if card is not None:
        _tell(f"{said_by}{package}: done before")
    else:
        check_apart(data, stamps, validation)
        check_enough(config, validation)
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


def _tell(message: str) -> None:
    typer.echo(message, err=True)


def _report(said_by: str, progress: Progress) -> None:
    typer.echo(
        f"{said_by}step {progress.step:,}/{progress.steps:,}  loss {progress.loss:.4f}  {progress.rate:,.0f} stamps/s  "
        f"{progress.left / 60:.1f} min left",
        err=True,
    )
