"""Which way fields are turned on the sky, told from where their detections are in pixels and on the sky."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io.arrow_objects import file_system, name_in
from pipeline.io.places import Place, each

Floats = npt.NDArray[np.float64]

MOST_READ = 400
"""Fields whose detections are read; of more, so many are a sample."""

AGREE = 2.0
"""Degrees within which fields must be turned alike for all others to be taken for so."""

_FEWEST = 3
_ENOUGH = 2000


def field_turns(detections: Sequence[tuple[int, Place]], number: int, where: Place) -> Floats:
    """The turn of each of `number` fields, in degrees from north through east to its columns; NaN where not known.

    Where those that tell are turned alike, all others are taken for so.

    A rectangle looks the same turned by half a circle or mirrored, so that turns are in -90 to 90 degrees.

    Parameters
    ----------
    detections : sequence of (field, path)
        Tables of detections; one of too few, or that can't be read, tells nothing.
    number : int
    where : Path or ObjectPath
        Where the tables are: those of a store are read together.
    """
    turns = np.full(number, np.nan)
    if not detections:
        return turns
    step = np.unique(np.linspace(0, len(detections) - 1, min(MOST_READ, len(detections))).astype(int))
    some = [detections[place] for place in step]
    turns[[field for field, _ in some]] = each(lambda item: _turn_of(item[1]), some, where)
    known = turns[np.isfinite(turns)]
    if len(known):
        # Turns half a circle apart are one: the mean is that of doubled angles.
        usual = float(np.degrees(np.angle(np.exp(2j * np.radians(known)).mean())) / 2)
        if np.abs(half_turn(known - usual)).max() <= AGREE:
            turns[np.isnan(turns)] = usual
    return turns


def turn(ra: Floats, dec: Floats, x: Floats, y: Floats) -> float:
    """The turn of one pixel grid: the angle of its columns from north through east; NaN where too few points tell."""
    good = np.isfinite(ra) & np.isfinite(dec) & np.isfinite(x) & np.isfinite(y)
    ra, dec, x, y = ra[good], dec[good], x[good], y[good]
    if len(ra) < _FEWEST:
        return np.nan
    east = ((ra - ra[0] + 180) % 360 - 180) * np.cos(np.radians(dec.mean()))
    pixels = np.stack([x - x.mean(), y - y.mean(), np.ones(len(x))], axis=1)
    sky = np.stack([east, dec], axis=1)
    fit, _, rank, _ = np.linalg.lstsq(pixels, sky, rcond=1e-3 / max(float(np.abs(pixels).max()), 1.0))
    if rank < _FEWEST:
        return np.nan
    return float(half_turn(np.degrees(np.arctan2(fit[1, 0], fit[1, 1]))))


def half_turn(degrees: Floats | float) -> Floats:
    """Angles of directions without a sense, in -90 to 90 degrees."""
    answer: Floats = (np.asarray(degrees) + 90) % 180 - 90
    return answer


def _turn_of(path: Place) -> float:
    try:
        table = pq.ParquetFile(name_in(path), filesystem=file_system(path))
        rows = table.read(columns=["ra", "dec", "x", "y"], use_threads=False)
    except (OSError, pa.ArrowException, KeyError):
        return np.nan
    every = max(1, len(rows) // _ENOUGH)
    return turn(*(rows[name].to_numpy()[::every].astype(np.float64) for name in ("ra", "dec", "x", "y")))
