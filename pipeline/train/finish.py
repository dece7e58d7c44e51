"""From a trained network to a model package with a calibration and measured figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.fit import FEWEST, fit_platt
from pipeline.evaluate.metrics import auroc, completeness_at_fpr, expected_calibration_error
from pipeline.models.calibration import Calibration, log_odds, sigmoid
from pipeline.models.card import WEIGHTS, Metric, ModelCard, find_package, read_card
from pipeline.models.publish import save_package
from pipeline.provenance import fingerprint, sha256_of
from pipeline.train.config import TrainConfig
from pipeline.train.data import Stamps
from pipeline.train.loop import Trained
from pipeline.train.maps import map_figures
from pipeline.train.measured import familiar_lenses, fit_width, parameter_figures, set_support, width_text
from pipeline.train.method_config import LabelConfig


def finish(
    config: TrainConfig,
    trained: Trained,
    stamps: Stamps,
    validation: Stamps,
    folder: Path,
    command: str,
    *,
    unlabelled: Stamps | None = None,
) -> ModelCard:
    """Calibrate on a random half of the validation stamps, measure on the other, and write the package.

    Parameters
    ----------
    config : TrainConfig
    trained : Trained
        Its logits are those of `validation`.
    stamps, validation : Stamps
        What it was trained and watched on.
    folder : Path
        The package's folder.
    command : str
        That made it, for the card.
    unlabelled : Stamps, optional
        That it read, too.

    Raises
    ------
    ConfigError
        If the validation is too small or ranked backwards.
    """
    fitted = _calibrated_half(config, validation)
    calibration = fit_platt(
        trained.logits[fitted],
        validation.lens[fitted],
        f"a random half of {len(validation):,} validation stamps of {', '.join(map(str, config.data.validation))}",
    )
    sample = f"the other validation stamps ({int((~fitted).sum()):,}, {int(validation.lens[~fitted].sum()):,} lenses)"
    measured, widths = _of_parameters(config, trained, stamps, validation, fitted)
    card = ModelCard(
        name=config.name,
        architecture=config.network.architecture,
        arguments=config.network.arguments,
        output=config.package.output,
        bands=config.package.bands,
        pixel_scale=f"{config.package.pixel_scale!r} arcsec",
        size_pix=config.package.size_pix,
        normalisation=config.normalisation,
        training=(
            f"{command}: {_length(config)} over {len(stamps):,} stamps ({int(stamps.lens.sum()):,} lenses)"
            f"{'' if unlabelled is None else f' and {len(unlabelled):,} without labels'}, seed {config.seed}, "
            f"method {config.method.name}{_loss(config)}; {_beginning(config)}"
            "the weights are a moving average."
        ),
        training_fingerprint=training_fingerprint(config, stamps, unlabelled),
        licence=config.package.licence,
        reference=config.package.reference,
        metrics=(
            *_measure(trained, validation, ~fitted, calibration, sample),
            *_of_maps(config, trained, validation),
            *measured,
        ),
        notes=(*config.package.notes, *widths),
    )
    familiarity = None
    if validation.parameters is not None:
        familiarity = familiar_lenses(trained.network, stamps, validation, config)
    storage = {"float32": torch.float32, "float16": torch.float16}[config.run.storage]
    save_package(folder, card, trained.network, calibration, familiarity, storage=storage)
    return card


def _loss(config: TrainConfig) -> str:
    """Which loss the labels have, of a method that reads any as one."""
    return f", loss {config.method.loss}" if isinstance(config.method, LabelConfig) else ""


def check_enough(config: TrainConfig, validation: Stamps) -> None:
    """Refuse, before any training, a validation too small for `finish` to calibrate on a half of it.

    Raises
    ------
    ConfigError
        With how many lenses and others that half has.
    """
    lens = validation.lens[_calibrated_half(config, validation)]
    lenses, others = int(lens.sum()), int((~lens).sum())
    if min(lenses, others) < FEWEST:
        raise ConfigError(
            f"data.validation: calibration needs {FEWEST} stamps of each class; the half of its {len(validation):,} "
            f"stamps that it is fitted on has {lenses:,} lenses and {others:,} others. Give more, such as a pool by "
            "`lensscan simulate`."
        )


def training_fingerprint(config: TrainConfig, stamps: Stamps, unlabelled: Stamps | None = None) -> str:
    """Hash of what the weights depend on: configuration, first weights, stamps with and without labels."""
    digests = [part.digest for part in (stamps, unlabelled) if part is not None]
    source = config.network.begins_with
    start = [] if source is None else [_weights_of(source)]
    return fingerprint([config.model_dump(mode="json", exclude={"run", "output"}), *start, *digests])


def _calibrated_half(config: TrainConfig, validation: Stamps) -> npt.NDArray[np.bool_]:
    """Which validation stamps the calibration is fitted on; the others are measured on."""
    half: npt.NDArray[np.bool_] = np.random.default_rng(config.seed).random(len(validation)) < 0.5
    return half


def _beginning(config: TrainConfig) -> str:
    """What the weights were at first, for the card; empty where they were drawn."""
    source = config.network.begins_with
    if source is None:
        return ""
    part = "weights" if config.network.start is not None else "encoder"
    return f"its {part} began as those of {read_card(find_package(source)).name} ({_weights_of(source)[:12]}); "


def _weights_of(source: str) -> str:
    return sha256_of(find_package(source) / WEIGHTS)


def _length(config: TrainConfig) -> str:
    wanted = config.optimiser
    return f"{wanted.epochs:g} epochs" if wanted.steps is None else f"{wanted.steps:,} steps of {wanted.batch}"


def _of_maps(config: TrainConfig, trained: Trained, validation: Stamps) -> tuple[Metric, ...]:
    """Figures of the maps, where the network learned to draw any."""
    if validation.maps is None:
        return ()
    sample = f"{len(validation):,} validation stamps ({int(validation.lens.sum()):,} lenses)"
    figures = map_figures(trained.network, validation, config)
    return tuple(Metric(name=name, value=round(value, 4), sample=sample) for name, value in figures.items())


def _of_parameters(
    config: TrainConfig, trained: Trained, stamps: Stamps, validation: Stamps, fitted: npt.NDArray[np.bool_]
) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
    """Figures of the posteriors, where the network learned any, and a note of the widths that were set before."""
    if validation.parameters is None:
        return (), ()
    set_support(trained.network, stamps)
    width = fit_width(trained.network, validation, config, np.flatnonzero(fitted))
    rows = np.flatnonzero(~fitted)
    figures = parameter_figures(trained.network, validation, config, rows)
    sample = f"the lenses among the other validation stamps ({len(rows):,})"
    note = (
        f"Widths of the posteriors were set on a half of the validation, times what was learned: {width_text(width)}."
    )
    return tuple(Metric(name=name, value=round(value, 4), sample=sample) for name, value in figures.items()), (note,)


def _measure(
    trained: Trained,
    validation: Stamps,
    rows: np.ndarray[tuple[int], np.dtype[np.bool_]],
    calibration: Calibration,
    sample: str,
) -> tuple[Metric, ...]:
    logits, lens = trained.logits[rows], validation.lens[rows]
    probability = sigmoid(log_odds(logits, calibration, calibration.prior))
    figures = {
        "auroc": auroc(logits, lens),
        "completeness at 1 % false positives": completeness_at_fpr(logits, lens, 0.01),
        "completeness at 0.1 % false positives": completeness_at_fpr(logits, lens, 0.001),
    }
    measured = [
        Metric(name=name, value=round(e.value, 4), low=round(e.low, 4), high=round(e.high, 4), sample=sample)
        for name, e in figures.items()
    ]
    error = expected_calibration_error(probability, lens)
    return (*measured, Metric(name="expected calibration error", value=round(error, 4), sample=sample))
