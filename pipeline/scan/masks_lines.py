"""Means and scatter of the columns and rows inside cells, without sources.

Sources are left out by a clip about a cell's level. Where the light is uneven inside a cell, a tilted background, the
envelope of a galaxy or the wings of a star, one level for the cell would cut off the light itself and leave a step at
the cell's border: there a plane is taken out before the clip. What is still curved then counts as an error of every
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.scan.background import MIN_VALID_FRACTION, SAMPLE_PIX, measure_cells
from pipeline.scan.medians import middle

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
    scale = np.repeat(filled(sigma), widths)
    near = usable & (np.abs(excess) <= CLIP_SIGMA * scale[None, :])
    columns = _columns(excess, near, scale)
    rows = _rows(excess, near, filled(sigma), x_edges)
    scatter = sigma.copy()
    parts = [slice(left, right) for left, right in pairwise(x_edges.tolist())]
    medians = [_medians(excess[:, part], usable[:, part]) for part in parts]
    uneven = np.array([_is_uneven(*known) for known in zip(medians, sigma, strict=True)])
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


def _columns(excess: Float32, near: Bool, scale: Float32) -> Float32:
    """Mean, its error and spread of the `near` pixels of each column: float32 (3, x)."""
    number = near.sum(axis=0)
    light = np.where(near, excess, np.float32(0))
    count = np.maximum(number, 1)
    mean = light.sum(axis=0, dtype=np.float64) / count
    square = np.einsum("yx,yx->x", light, light, dtype=np.float64) / count
    enough = number >= max(4, excess.shape[0] // 4)
    return _told(mean, square, scale / np.sqrt(count), enough)


def _rows(excess: Float32, near: Bool, sigma: Float32, x_edges: Int) -> Float32:
    """The same of each row within each cell: float32 (3, y, cells)."""
    starts = x_edges[:-1]
    number = np.add.reduceat(near, starts, axis=1, dtype=np.int64)
    light = np.where(near, excess, np.float32(0))
    count = np.maximum(number, 1)
    mean = np.add.reduceat(light, starts, axis=1, dtype=np.float64) / count
    square = np.add.reduceat(light * light, starts, axis=1, dtype=np.float64) / count
    enough = number >= np.maximum(4, np.diff(x_edges) // 4)[None, :]
    return _told(mean, square, sigma[None, :] / np.sqrt(count), enough)


def _told(mean: Float64, square: Float64, error: Float64, enough: Bool) -> Float32:
    lines = np.stack([mean, error, np.sqrt(np.maximum(square - mean**2, 0.0))])
    return np.where(enough, lines, np.nan).astype(np.float32)


def _uneven_cell(excess: Float32, usable: Bool, medians: Float64) -> tuple[Float32, Float32, float]:
    """Columns (3, x), rows (3, y) and scatter of a cell, clipped about the plane through it."""
    height, width = excess.shape
    rise_y, rise_x = _rise(medians, height), _rise(medians.T, width)
    along_y, along_x = rise_y * _from_middle(height), rise_x * _from_middle(width)
    flat = (excess - (along_y[:, None] + along_x[None, :])).astype(np.float32)
    edges = np.array([0, width])
    (level,), (noise,) = measure_cells(flat, usable, edges)
    flat -= level
    near = usable & (np.abs(flat) <= CLIP_SIGMA * noise)
    columns = _columns(flat, near, np.full(width, noise))
    rows = _rows(flat, near, np.array([noise]), edges)[:, :, 0]
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
    places, sizes = _parts(sample.shape[0], sample.shape[1])
    # Beyond a part's own pixels stands the one appended here, which is none.
    values = np.append(np.where(known, sample, np.float32(np.inf)), np.float32(np.inf))[places]
    values.sort(axis=0)
    number = np.isfinite(values).sum(axis=0)
    medians = np.where(number >= np.maximum(MIN_VALID_FRACTION * sizes, 1), middle(values, number), np.nan)
    return medians.astype(np.float64).reshape(_PARTS, _PARTS)


@lru_cache(maxsize=16)
def _parts(height: int, width: int) -> tuple[Int, Int]:
    """Places of the pixels of each part of a cell, (most, parts), and how many each has; the rest is height * width."""
    rows, columns = (np.arange(_PARTS + 1) * length // _PARTS for length in (height, width))
    index = np.arange(height * width).reshape(height, width)
    parts = [index[a:b, c:d].ravel() for a, b in pairwise(rows) for c, d in pairwise(columns)]
    sizes = np.array([part.size for part in parts])
    places = np.full((max(int(sizes.max()), 1), len(parts)), height * width)
    for number, part in enumerate(parts):
        places[: part.size, number] = part
    return places, sizes


def _is_uneven(medians: Float64, noise: float) -> bool:
    known = medians[np.isfinite(medians)]
    if not known.size or not np.isfinite(noise):
        return False
    low, high = np.percentile(known, (25, 75))
    return bool(high - low > _UNEVEN * noise)


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
