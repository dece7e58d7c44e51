"""Means and scatter of the columns and rows inside cells, without sources.

Sources are left out by a clip about a cell's level. Where the light is uneven inside a cell, a tilted background, the
envelope of a galaxy or the wings of a star, one level for the cell would cut off the light itself and leave a step at
the cell's border: there a plane is taken out before the clip. What is still curved then counts as an error of every
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.scan.background import MIN_VALID_FRACTION, SAMPLE_PIX, measure_cells
from pipeline.scan.medians import middle
from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

CLIP_SIGMA = 3.0
"""Pixels further than this from their cell's background are left out of profiles and cut in the picture."""

_PARTS = 4
"""How the light is spread in a cell is told from the medians of so many parts along each axis."""

_UNEVEN = 0.5
"""Smallest difference between the quartiles of the parts that counts, in units of the cell's noise.

A plane has it that rises by one noise across the cell, which does no harm yet; a galaxy in a few parts hasn't.
"""

_CURVED = 0.5
"""Scatter of the parts about the plane, in units of the cell's noise, that sources and a step explain."""

_NORMAL = 1.4826
"""Standard deviation of normal noise in units of its median absolute deviation."""


@dataclass(frozen=True)
class Lines:
    """Columns and rows of one row of cells in one band, nJy.

    Attributes
    ----------
    columns : float32 (3, x)
        Mean of each column, its standard error, and the standard deviation of its pixels; NaN for too few.
    rows : float32 (3, y, cells)
        The same of each row within each cell.
    scatter : float32 (cells,)
        Noise of a pixel, without what the unevenness of the light adds to it; NaN for a cell that is too empty.
    """

    columns: Float32
    rows: Float32
    scatter: Float32


def measure_lines(excess: Float32, usable: Bool, x_edges: Int, level: Float32, sigma: Float32) -> Lines:
    """Columns and rows of one row of cells in one band.

    Parameters
    ----------
    excess : float32 (y, x), nJy
        Pixels above the level of their cell; where they aren't usable, anything finite.
    usable : bool (y, x)
    x_edges : int64 (cells + 1,)
    level, sigma : float32 (cells,), nJy
        Background and noise of each cell (`background.measure_cells`); NaN where a cell is too empty.
    """
    widths = np.diff(x_edges)
    known = filled(sigma)
    columns, rows = _columns_and_rows(excess, usable, known, x_edges)
    scatter = sigma.copy()
    parts = [slice(left, right) for left, right in pairwise(x_edges.tolist())]
    medians = [_medians(excess[:, part], usable[:, part]) for part in parts]
    uneven = [_is_uneven(*known) for known in zip(medians, sigma, strict=True)]
    for cell in np.flatnonzero(uneven):
        part = parts[cell]
        columns[:, part], rows[:, :, cell], scatter[cell] = _uneven_cell(
            excess[:, part], usable[:, part], medians[cell]
        )
    columns[0] += np.repeat(filled(level), widths)
    rows[0] += filled(level)
    return Lines(columns, rows, scatter)


def filled(cells: Float32) -> Float32:
    """One row of cells with its holes taken from the row's median; zeros where none is known."""
    known = cells[np.isfinite(cells)]
    return np.where(np.isfinite(cells), cells, np.float32(np.median(known) if known.size else 0.0)).astype(np.float32)


def _columns_and_rows(excess: Float32, usable: Bool, sigma: Float32, x_edges: Int) -> tuple[Float32, Float32]:
    """Mean, its error and spread of the pixels within the clip, float32.

    Returns
    -------
    columns : (3, x)
    rows : (3, y, cells)
    """
    (number, light, square), rows = _sums(excess, usable, np.float32(CLIP_SIGMA) * sigma, x_edges)
    widths = np.diff(x_edges)
    columns = _told(number, light, square, np.repeat(sigma, widths), max(4, excess.shape[0] // 4))
    number, light, square = rows
    return columns, _told(number, light, square, sigma[None, :], np.maximum(4, widths // 4)[None, :])


@native
def _sums(excess: Float32, usable: Bool, limit: Float32, x_edges: Int) -> tuple[Float64, Float64]:
    """Number, sum and sum of squares of the pixels within a limit, by columns and by rows within each cell."""
    height, width = excess.shape
    columns = np.zeros((3, width))
    rows = np.zeros((3, height, len(limit)))
    for y in range(height):
        for cell in range(len(limit)):
            number, total, squares = 0.0, np.float64(0.0), np.float64(0.0)
            for x in range(x_edges[cell], x_edges[cell + 1]):
                light = excess[y, x]
                near = usable[y, x] and abs(light) <= limit[cell]
                one, light = (1.0, light) if near else (0.0, np.float32(0.0))
                columns[0, x] += one
                columns[1, x] += light
                columns[2, x] += np.float64(light) * np.float64(light)
                number += one
                total += light
                squares += light * light
            rows[0, y, cell], rows[1, y, cell], rows[2, y, cell] = number, total, squares
    return columns, rows


def _told(number: Float64, light: Float64, square: Float64, sigma: Float32, least: Int | int) -> Float32:
    count = np.maximum(number, 1)
    mean = light / count
    lines = np.stack([mean, sigma / np.sqrt(count), np.sqrt(np.maximum(square / count - mean**2, 0.0))])
    return np.where(number >= least, lines, np.nan).astype(np.float32)


def _uneven_cell(excess: Float32, usable: Bool, medians: Float64) -> tuple[Float32, Float32, float]:
    """Columns (3, x), rows (3, y) and scatter of a cell, clipped about the plane through it."""
    height, width = excess.shape
    rise_y, rise_x = _rise(medians, height), _rise(medians.T, width)
    along_y, along_x = rise_y * _from_middle(height), rise_x * _from_middle(width)
    flat = (excess - (along_y[:, None] + along_x[None, :])).astype(np.float32)
    edges = np.array([0, width])
    (level,), (noise,) = measure_cells(flat, usable, edges)
    flat -= level
    columns, cells = _columns_and_rows(flat, usable, np.array([noise], np.float32), edges)
    rows = cells[:, :, 0]
    middles = [_from_middle(_PARTS) * rise * length / _PARTS for rise, length in ((rise_y, height), (rise_x, width))]
    curved = _scatter(medians - middles[0][:, None] - middles[1][None, :])
    systematic = np.sqrt(max(curved**2 - (_CURVED * noise) ** 2, 0.0))
    for lines, along in ((columns, along_x), (rows, along_y)):
        lines[0] += (along + level).astype(np.float32)
        lines[1] = np.hypot(lines[1], systematic)
    return columns, rows, float(noise)


def _medians(excess: Float32, usable: Bool) -> Float64:
    """Median of each part of a cell, from an even sample of its pixels; NaN where too few are usable."""
    stride = max(1, int(np.sqrt(excess.size / SAMPLE_PIX)))
    sample, known = excess[::stride, ::stride], usable[::stride, ::stride]
    values, number, size = _parts(sample, known)
    values.sort(axis=1)
    enough = number >= np.maximum(MIN_VALID_FRACTION * size, 1)
    medians = np.where(enough, middle(values.T, number), np.nan)
    return medians.astype(np.float64).reshape(_PARTS, _PARTS)


@native
def _parts(sample: Float32, known: Bool) -> tuple[Float32, Int, Int]:
    """The known pixels of each part of a cell, (part, pixel) with infinity behind; how many are known and in all."""
    height, width = sample.shape
    values = np.full((_PARTS * _PARTS, (height // _PARTS + 1) * (width // _PARTS + 1)), np.float32(np.inf), np.float32)
    number, size = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    for part in range(len(values)):
        row, column = part // _PARTS, part % _PARTS
        top, bottom = row * height // _PARTS, (row + 1) * height // _PARTS
        left, right = column * width // _PARTS, (column + 1) * width // _PARTS
        size[part] = (bottom - top) * (right - left)
        for y in range(top, bottom):
            for x in range(left, right):
                values[part, number[part]] = sample[y, x]
                number[part] += known[y, x]
        values[part, number[part] :] = np.inf
    return values, number, size


@native
def _is_uneven(medians: Float64, noise: np.float32) -> bool:
    flat = medians.ravel()
    known = np.sort(flat[np.isfinite(flat)])
    if not known.size or not np.isfinite(noise):
        return False
    return bool(_quantile(known, 0.75) - _quantile(known, 0.25) > np.float32(_UNEVEN) * noise)


@native
def _quantile(ordered: Float64, share: float) -> float:
    """Quantile of sorted values, linear between them."""
    place = share * (ordered.size - 1)
    low = int(place)
    below, above = ordered[low], ordered[min(low + 1, ordered.size - 1)]
    part = place - low
    return np.float64(above - (above - below) * (1 - part) if part >= 0.5 else below + (above - below) * part)


def _scatter(medians: Float64) -> float:
    """Median absolute deviation as a standard deviation; 0 where nothing is known."""
    known = medians[np.isfinite(medians)]
    return _NORMAL * float(np.median(np.abs(known - np.median(known)))) if known.size else 0.0


def _rise(medians: Float64, length: int) -> float:
    """Rise per pixel along the first axis: the median over pairs of parts (Theil 1950; Sen 1968), 0 without any."""
    pairs = [
        (medians[high] - medians[low]) / ((high - low) * length / _PARTS)
        for low in range(_PARTS)
        for high in range(low + 1, _PARTS)
    ]
    known = np.concatenate(pairs)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if known.size else 0.0


def _from_middle(length: int) -> Float64:
    """How far each of `length` pixels is from their middle."""
    return np.arange(length, dtype=np.float64) - (length - 1) / 2
