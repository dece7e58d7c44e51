"""How many lit bins of a picture lie on every straight line through it: a Hough transform, kept up to date.

The counts are those of the usual transform to the last bin. What makes them cheap is that each is counted once: where
bins go out because a line was found, they alone are counted and subtracted. Arrays are (angle, offset), so that what
one angle needs lies together.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.scan.native import WHOLE, native

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int = npt.NDArray[np.intp]
Bool = npt.NDArray[np.bool_]

_MAX_CANDIDATES = 200
_REACH = 7
"""Steps of angle and of offset around a line within which no other may be fuller."""


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
        given = (self._counts, self._chords, np.float32(share), np.float32(share * (1 - share)), np.float32(length))
        columns, rows, excess = _crests(*given, 0.5 * significance)
        # Among equals those of the smallest offset, then angle, come first.
        order = np.lexsort((columns, rows, -excess))
        best = _lone(*given, columns[order], rows[order], excess[order])
        middle = self._counts.shape[1] // 2
        return [(float(self._angles[columns[k]]), float(rows[k] - middle)) for k in order[best].tolist()]


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
    _count(counts, x, y, np.cos(angles), np.sin(angles), np.int32(reach))
    return counts


@native
def _count(counts: Int32, x: Float64, y: Float64, cosines: Float64, sines: Float64, reach: np.int32) -> None:
    """Add the bins at x and y to the counts."""
    place = np.empty(len(x), np.int32)
    for angle in range(len(cosines)):
        cosine, sine, row = cosines[angle], sines[angle], counts[angle]
        # Apart from the counting, because this is done for several bins at once.
        for k in range(len(x)):
            place[k] = np.int32((x[k] * cosine + y[k] * sine + WHOLE) - WHOLE) + reach
        # Bins far apart in turn, because one after another of the same line would wait for each other.
        quarter = len(x) // 4
        for k in range(quarter):
            row[np.uint32(place[k])] += 1
            row[np.uint32(place[k + quarter])] += 1
            row[np.uint32(place[k + 2 * quarter])] += 1
            row[np.uint32(place[k + 3 * quarter])] += 1
        for k in range(4 * quarter, len(x)):
            row[np.uint32(place[k])] += 1


@native
def _excess(
    counts: Int32, chords: Float32, share: np.float32, spread: np.float32, length: np.float32, angle: int, offset: int
) -> float:
    """Lit bins on a line above chance, sigma; 0 for a line that is too short."""
    chord = chords[angle, offset]
    if chord < length:
        return 0.0
    expected = np.sqrt(max(spread * chord, np.float32(1.0)))
    return (np.float64(counts[angle, offset]) - np.float64(share * chord)) / np.float64(expected)


@native
def _crests(
    counts: Int32, chords: Float32, share: np.float32, spread: np.float32, length: np.float32, least: float
) -> tuple[Int, Int, Float64]:
    """Angle, offset and excess of lines with at least `least` that none of the eight beside them exceeds."""
    angles, offsets = counts.shape
    columns, rows, excesses = [0 for _ in range(0)], [0 for _ in range(0)], [0.0 for _ in range(0)]
    lit = np.empty(offsets, np.bool_)
    for angle in range(angles):
        # Nearly all lines are passed over here, with a little room for the rounding of what is compared.
        for offset in range(offsets):
            above = np.float32(counts[angle, offset]) - share * chords[angle, offset]
            lit[offset] = above > np.float32(0.0) and above * above >= np.float32(0.99 * least * least) * max(
                spread * chords[angle, offset], np.float32(1.0)
            )
        for offset in range(offsets):
            if not lit[offset]:
                continue
            here = _excess(counts, chords, share, spread, length, angle, offset)
            if here >= least and _highest(counts, chords, share, spread, length, angle, offset, here, 1):
                columns.append(angle)
                rows.append(offset)
                excesses.append(here)
    return np.array(columns), np.array(rows), np.array(excesses)


@native
def _highest(
    counts: Int32,
    chords: Float32,
    share: np.float32,
    spread: np.float32,
    length: np.float32,
    angle: int,
    offset: int,
    here: float,
    reach: int,
) -> bool:
    """Whether no line within `reach` steps of one exceeds it."""
    for other in range(max(angle - reach, 0), min(angle + reach + 1, counts.shape[0])):
        for beside in range(max(offset - reach, 0), min(offset + reach + 1, counts.shape[1])):
            if _excess(counts, chords, share, spread, length, other, beside) > here:
                return False
    return True


@native
def _lone(
    counts: Int32,
    chords: Float32,
    share: np.float32,
    spread: np.float32,
    length: np.float32,
    columns: Int,
    rows: Int,
    excess: Float64,
) -> Int:
    """The first `_MAX_CANDIDATES` of some lines that nothing within `_REACH` steps exceeds."""
    best = np.empty(_MAX_CANDIDATES, np.intp)
    number = 0
    for k in range(len(columns)):
        if number == _MAX_CANDIDATES:
            break
        if _highest(counts, chords, share, spread, length, columns[k], rows[k], excess[k], _REACH):
            best[number] = k
            number += 1
    return best[:number]


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
