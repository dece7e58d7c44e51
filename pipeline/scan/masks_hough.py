"""How many lit bins of a picture lie on every straight line through it: a Hough transform, kept up to date.

The counts are those of the usual transform to the last bin. What makes them cheap is that each is counted once: where
bins go out because a line was found, they alone are counted and subtracted. Arrays are (angle, offset), so that what
one angle needs lies together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int = npt.NDArray[np.intp]
Bool = npt.NDArray[np.bool_]

_MAX_CANDIDATES = 200
_REACH = 7
"""Steps of angle and of offset around a line within which no other may be fuller."""

_TOGETHER = 64
"""Angles looked at together: as many as stay in a core's cache."""

_WHOLE = 1.5 * 2.0**52
"""What is added to this comes to lie on whole numbers, the nearest ones; Knuth's trick, at the speed of an addition."""


class LineCounts:
    """Lit bins on every line of a picture.

    Parameters
    ----------
    lit : bool (y, x)
    """

    def __init__(self, lit: Bool) -> None:
        shape = (lit.shape[0], lit.shape[1])
        self._angles = line_angles(shape)
        self._chords = _chords(shape)
        self._lit = lit.copy()
        self._counts = count_lines(lit)

    def fullest(self, lit: Bool, significance: float, length: float) -> list[tuple[float, float]]:
        """Lines that hold more lit bins than chance, best first.

        Parameters
        ----------
        lit : bool (y, x)
            As before, or with some bins out.
        significance : float
            Half of it is asked of the number of lit bins, in sigma.
        length : float
            Shortest line inside the picture, bins.

        Returns
        -------
        list of (angle, offset)
            x cos + y sin = offset, radians and bins; at most 200.
        """
        gone = self._lit & ~lit
        if gone.any():
            self._counts -= count_lines(gone)
            self._lit = lit.copy()
        share = float(lit.mean())
        excess: npt.NDArray[Any] = np.empty(self._counts.shape, np.float64)
        found: list[Int] = []
        for start in range(0, len(excess), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            chords = self._chords[part]
            expected = np.maximum(share * (1 - share) * chords, 1.0)
            np.divide(self._counts[part] - share * chords, np.sqrt(expected), out=excess[part])
            excess[part][chords < length] = 0.0
            found.append(np.flatnonzero(excess[part] >= 0.5 * significance) + start * excess.shape[1])
        places: Int = np.concatenate(found)
        columns, rows = places // excess.shape[1], places % excess.shape[1]
        middle = excess.shape[1] // 2
        return [(float(self._angles[column]), float(row - middle)) for column, row in _crests(excess, columns, rows)]


def line_angles(shape: tuple[int, int]) -> Float64:
    """Directions of lines, radians, fine enough that the ends of neighbours lie one bin apart."""
    return np.arange(-np.pi / 2, np.pi / 2, 1.0 / float(np.hypot(shape[0], shape[1])))


def count_lines(lit: Bool) -> Int32:
    """Lit bins on every line.

    Parameters
    ----------
    lit : bool (y, x)

    Returns
    -------
    int32 (angle, offset)
        Angles are `line_angles`, offsets whole bins from minus to plus the picture's diagonal, rounded up; a bin lies
        on the line of the nearest offset.
    """
    angles = line_angles((lit.shape[0], lit.shape[1]))
    reach = int(np.ceil(np.hypot(lit.shape[0], lit.shape[1])))
    y, x = (axis.astype(np.float64) for axis in np.nonzero(lit))
    counts = np.zeros((len(angles), 2 * reach + 1), np.int32)
    along, across = np.empty_like(x), np.empty_like(x)
    zero = np.float64(_WHOLE).view(np.int64) - reach
    for row, angle in zip(counts, angles, strict=True):
        np.multiply(x, np.cos(angle), out=along)
        np.multiply(y, np.sin(angle), out=across)
        along += across
        along += _WHOLE
        row[:] = np.bincount(along.view(np.int64) - zero, minlength=len(row))
    return counts


def _crests(excess: Float64, columns: Int, rows: Int) -> list[tuple[int, int]]:
    """The highest of some places that nothing within `_REACH` steps exceeds, from the highest down."""
    here = excess[columns, rows]
    # Nearly all places are passed over here, at once; the few others are looked at one by one.
    top = np.ones(len(here), bool)
    for step_x, step_y in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        beside_x = np.clip(columns + step_x, 0, excess.shape[0] - 1)
        top &= here >= excess[beside_x, np.clip(rows + step_y, 0, excess.shape[1] - 1)]
    columns, rows, here = columns[top], rows[top], here[top]
    crests: list[tuple[int, int]] = []
    # Among equals those of the smallest offset, then angle, come first.
    for place in np.lexsort((columns, rows, -here)).tolist():
        column, row = int(columns[place]), int(rows[place])
        around = excess[max(column - _REACH, 0) : column + _REACH + 1, max(row - _REACH, 0) : row + _REACH + 1]
        if here[place] >= around.max():
            crests.append((column, row))
            if len(crests) == _MAX_CANDIDATES:
                break
    return crests


@lru_cache(maxsize=1)
def _chords(shape: tuple[int, int]) -> Float32:
    """Length of each line inside the picture, bins: float32 (angle, offset)."""
    angles = line_angles(shape)
    reach = int(np.ceil(np.hypot(shape[0], shape[1])))
    offsets = np.linspace(-reach, reach, 2 * reach + 1)[None, :]
    sine, cosine = np.sin(angles)[:, None], np.cos(angles)[:, None]
    low = np.full((angles.size, offsets.size), -np.inf, np.float32)
    high = np.full((angles.size, offsets.size), np.inf, np.float32)
    for base, direction, size in ((offsets * cosine, -sine, shape[1]), (offsets * sine, cosine, shape[0])):
        # A line along the axis never leaves it, or was never on it; the tiny slope gives both as huge numbers.
        slope = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
        first, second = -base / slope, (size - 1 - base) / slope
        np.maximum(low, np.minimum(first, second), out=low, casting="same_kind")
        np.minimum(high, np.maximum(first, second), out=high, casting="same_kind")
    length: Float32 = np.maximum(high - low, 0.0)
    return length
