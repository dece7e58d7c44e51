"""A sample of real lenses in the middle of stamps, against the other objects in the same stamps."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp
from pipeline.errors import ConfigError
from pipeline.evaluate.baselines import baselines
from pipeline.evaluate.config import BaselineConfig, RealLensesConfig
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.io.stamps import FITS_SUFFIXES, open_stamps
from pipeline.scan.stamp_objects import cut, detected, middle, neighbours

Float32 = npt.NDArray[np.float32]

_AT_ONCE = 256
"""Stamps in a part."""
_OPERATORS = (">=", "<=", ">", "<")


@dataclass(frozen=True)
class _Neighbour:
    """A cut around another object of a file, its distance from the file's centre in arcsec, its r magnitude."""

    file: str
    image: Float32
    distance: float
    mag: float


def open_real_lenses(config: RealLensesConfig, apertures: BaselineConfig, seed: int) -> Sample:
    """Read the stamps, choose the lenses, find and cut their neighbours.

    Neighbours are objects that sep finds in the mean over bands, each in units of its noise; stamps around them are cut
    at whole pixels and are NaN off the image. Files that can't be read are left out and counted in `notes`.

    Parameters
    ----------
    config : RealLensesConfig
    apertures : BaselineConfig
        The aperture of the magnitudes.
    seed : int
        Of the neighbour whose missing pixels a lens is given, where `match_padding` asks for it.

    Raises
    ------
    ConfigError
        If folder or labels are not there or lack a column, no row is selected, or no neighbour is found.
    """
    folder, rows = Path(config.stamps), _labels(Path(config.labels))
    chosen = {row["name"]: row for row in rows if _selected(row, config)}
    if not chosen:
        raise ConfigError(f"{config.labels}: none of {len(rows):,} rows has {_words(config)}; change `select`.")
    side = max(2, round(config.size / config.pixel_scale))
    lenses: dict[str, Float32] = {}
    found: list[_Neighbour] = []
    unreadable = 0
    for stamp in open_stamps(folder, config.bands, config.bands):
        name = plain_name(stamp.name)
        if stamp.pixels is None:
            unreadable += 1
            continue
        if name in chosen:
            lenses[name] = _central(stamp.pixels, side, config)
        if name in chosen or config.neighbours_of == "all":
            found.extend(_neighbours(name, stamp.pixels, side, config, apertures))
    if not lenses:
        raise ConfigError(f"{folder}: no stamp is named as a selected row of {config.labels}, such as {min(chosen)!r}.")
    names = sorted(lenses)
    images = np.stack([lenses[name] for name in names])
    mags = _mags(images, config, apertures)
    low, high = np.nanquantile(mags, config.magnitude_quantiles)
    others = [neighbour for neighbour in found if low <= neighbour.mag <= high]
    if not others:
        raise ConfigError(
            f"sample {config.name!r}: none of {len(found):,} neighbours has a magnitude from {low:.1f} to {high:.1f}; "
            "widen magnitude_quantiles or lower least_distance."
        )
    if config.match_padding:
        _give_missing_pixels(images, others, seed)
    notes = (
        f"{len(names)} lenses ({_words(config)}); {len(others)} neighbours at least {config.least_distance:g} arcsec "
        f"from the centre, r {low:.1f} to {high:.1f}",
        "lenses lose the pixels that a neighbour's stamp lacks" if config.match_padding else "",
        f"{unreadable} files can't be read" if unreadable else "",
    )
    return _sample(config, names, chosen, images, mags, others, tuple(note for note in notes if note))


def _sample(
    config: RealLensesConfig,
    names: list[str],
    chosen: dict[str, dict[str, str]],
    images: Float32,
    mags: npt.NDArray[np.float64],
    others: list[_Neighbour],
    notes: tuple[str, ...],
) -> Sample:
    n = len(names)
    image = np.concatenate([images, np.stack([neighbour.image for neighbour in others])])
    truth: dict[str, npt.NDArray[Any]] = {
        "name": np.array([*names, *(neighbour.file for neighbour in others)]),
        "mag_r": np.concatenate([mags, [neighbour.mag for neighbour in others]]),
        "distance": np.concatenate([np.zeros(n), [neighbour.distance for neighbour in others]]),
    }
    for column in chosen[names[0]]:
        if column != "name":
            truth[column] = _column([chosen[name][column] for name in names], len(others))
    wanted = (*config.against, *((config.clearest,) if config.clearest else ()))
    missing = [name for name in wanted if name not in truth]
    if missing:
        raise ConfigError(f"{config.labels}: no column {', '.join(missing)}; it has {', '.join(sorted(truth))}.")

    def parts() -> Iterator[Part]:
        for start in range(0, len(image), _AT_ONCE):
            yield Part(image[start : start + _AT_ONCE], None, None)

    def stamp(row: int) -> Stamp:
        return Stamp(image[row], np.zeros(image[row].shape, np.uint32), config.bands, config.pixel_scale)

    return Sample(
        name=config.name,
        column=config.column,
        bands=config.bands,
        pixel_scale=config.pixel_scale,
        lens=np.arange(len(image)) < n,
        truth=truth,
        parts=parts,
        stamp=stamp,
        against=config.against,
        clearest=config.clearest,
        pixels=config.pixels,
        group=truth["name"],
        notes=notes,
    )


def _labels(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: labels can't be read ({error}).") from error
    if not rows or "name" not in rows[0]:
        raise ConfigError(f"{path}: labels need a header with a column `name` and at least one row.")
    return rows


def _selected(row: dict[str, str], config: RealLensesConfig) -> bool:
    return all(_holds(row, column, condition, config.labels) for column, condition in config.select.items())


def _holds(row: dict[str, str], column: str, condition: str, where: str) -> bool:
    if column not in row:
        raise ConfigError(f"{where}: no column {column!r} to select by; it has {', '.join(row)}.")
    text = (row[column] or "").strip()
    operator = next((sign for sign in _OPERATORS if condition.strip().startswith(sign)), None)
    if operator is None:
        return text == condition
    try:
        limit = float(condition.strip()[len(operator) :])
        value = float(text) if text else math.nan
    except ValueError as error:
        raise ConfigError(f"{where}: {column} {condition!r}: both sides must be numbers ({error}).") from error
    return {">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit}[operator]


def _words(config: RealLensesConfig) -> str:
    parts = (
        f"{name} {text}" if text.startswith(_OPERATORS) else f"{name} = {text}" for name, text in config.select.items()
    )
    return ", ".join(parts) or "any label"


def plain_name(name: str) -> str:
    """A file's name without the suffix of a FITS file, as labels have it."""
    suffix = next((end for end in sorted(FITS_SUFFIXES, key=len, reverse=True) if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)]


def _column(texts: list[str], others: int) -> npt.NDArray[Any]:
    """A label's column as numbers where all are, NaN where empty, else as text; nothing for the neighbours."""
    try:
        return np.array([float(text) if text else math.nan for text in texts] + [math.nan] * others)
    except ValueError:
        return np.array([*texts, *[""] * others])


def _mags(image: Float32, config: RealLensesConfig, apertures: BaselineConfig) -> npt.NDArray[np.float64]:
    return -baselines(image, config.bands, config.pixel_scale, apertures)[:, 2]


def _central(pixels: Float32, side: int, config: RealLensesConfig) -> Float32:
    """The lens's stamp, about the middle of the file or about the object nearest to it."""
    if config.centred == "file":
        return middle(pixels, side)
    height, width = pixels.shape[-2:]
    found = detected(pixels, config.threshold, config.min_area_pix)
    away = np.hypot(found["x"] - (width - 1) / 2, found["y"] - (height - 1) / 2) * config.pixel_scale
    if not (away <= config.largest_offset).any():
        return middle(pixels, side)
    nearest = int(np.argmin(away))
    return cut(pixels, float(found["y"][nearest]), float(found["x"][nearest]), side)


def _neighbours(
    name: str, pixels: Float32, side: int, config: RealLensesConfig, apertures: BaselineConfig
) -> Iterator[_Neighbour]:
    """Objects of a file far enough from its centre that have a magnitude."""
    for found in neighbours(
        pixels,
        config.pixel_scale,
        side,
        least_distance=config.least_distance,
        most_missing=config.most_missing,
        threshold=config.threshold,
        min_area_pix=config.min_area_pix,
    ):
        mag = float(_mags(found.image[None], config, apertures)[0])
        if np.isfinite(mag):
            yield _Neighbour(name, found.image, found.distance, mag)


def _give_missing_pixels(images: Float32, others: list[_Neighbour], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for row, pick in enumerate(rng.integers(0, len(others), len(images))):
        images[row, :, np.isnan(others[pick].image).all(axis=0)] = np.nan
