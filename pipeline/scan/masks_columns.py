"""Bad columns and rows: lines one or two pixels wide, dark, or bright and sharper than any image of the sky."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.scan.native import WHOLE, native

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_CLIP = 4.0
_SHARPNESS = 0.6
"""A bright line must lose this share of its height within one pixel; a PSF of FWHM 2 pixels loses half."""

_STEPS = 32
"""Signal to noise is counted in whole parts of this size, so that sums are exact whatever row they start from."""

_BESIDE = 3
"""Pixels from a line to the sky beside it that it is compared with."""

_AROUND = tuple(range(_BESIDE + 1, 13))
"""Lines on one side of a line whose scatter tells the noise of a line where the noise map does not follow it."""

_CLEAR = 2.0
_SHARE = 0.4
"""Least share of what a third of a line would have, were it even."""


def find_bad_columns(excess: Float32, noise: Float32, significance: float, length: int, sharpest: float) -> Bool:
    """Pixels of bad columns and rows.

    A bright line is bad if it loses most of its light within one pixel, or (one that is two pixels wide) if two
    pixels away there is less than the PSF would have left.

    Parameters
    ----------
    excess : float32 (y, x), nJy
        Background-subtracted; NaN for no data.
    noise : float32 (y, x), nJy
    significance : float
        Of the mean of `length` pixels along the line against the lines beside it, sigma.
    length : int
        Shortest line that is found, pixels. A pixel's answer depends on rows within `length` of it.
    sharpest : float
        Largest ratio of a pixel to its neighbours that the PSF allows, as `find_cosmic_rays` has it.

    Returns
    -------
    bool (y, x)
    """
    counts = _counted(excess, noise)
    found = _lines(counts, significance, length, sharpest)
    found |= _lines(np.ascontiguousarray(counts.T), significance, length, sharpest).T
    return found & np.isfinite(excess)


@native
def _counted(excess: Float32, noise: Float32) -> Int16:
    """Signal to noise in whole parts, cut on both sides; 0 for no data."""
    counts = np.empty(excess.shape, np.int16)
    for y in range(excess.shape[0]):
        for x in range(excess.shape[1]):
            signal = (excess[y, x] if np.isfinite(excess[y, x]) else np.float32(0.0)) / noise[y, x]
            signal = min(max(signal, np.float32(-_CLIP)), np.float32(_CLIP)) * np.float32(_STEPS)
            counts[y, x] = np.int32((np.float64(signal) + WHOLE) - WHOLE)
    return counts


def _lines(counts: Int16, significance: float, length: int, sharpest: float) -> Bool:
    """Bad lines along the first axis."""
    found = np.zeros(counts.shape, bool)
    height, width = counts.shape
    if height < length or width <= 2 * _BESIDE:
        return found
    limit = int(np.ceil(significance * np.sqrt(1.5 * length) * _STEPS))
    left_over = _CLEAR * float(np.sqrt(length)) * _STEPS
    row, column = _suspects(counts, limit, length, left_over, float(np.float32(sharpest**-4)))
    kept = np.abs(_totals(counts, row, column, length)) > significance * _scatter(counts, row, column, length)
    kept &= _throughout(counts, row, column, length)
    row, column = row[kept], column[kept]
    bad, place = np.unique(column, return_inverse=True)
    turns = np.zeros((height + 1, bad.size), np.int32)
    np.add.at(turns, (row, place), 1)
    np.add.at(turns, (row + length, place), -1)
    found[:, bad] = np.cumsum(turns[:-1], axis=0) > 0
    return found


@native
def _suspects(counts: Int16, limit: int, length: int, clear: float, psf: float) -> tuple[Int, Int]:
    """First row and column of lines below the background and both sides, or sharper than the PSF: one pixel or two."""
    height, width = counts.shape
    rows, columns = [0 for _ in range(0)], [0 for _ in range(0)]
    total = np.zeros(width, np.int32)
    for y in range(length - 1):
        for x in range(width):
            total[x] += counts[y, x]
    for y in range(height - length + 1):
        suspect = False
        for x in range(width):
            total[x] += counts[y + length - 1, x]
        for x in range(_BESIDE, width - _BESIDE):
            # Few lines are dark or bright: these alone are looked at further.
            suspect |= (total[x] < -limit // 2) | (total[x] > limit)
        for x in range(_BESIDE, width - _BESIDE if suspect else 0):
            line = total[x]
            # Below the background and below both sides: sky between two sources is not, nor the shadow beside a star.
            hit = line < -limit // 2 and line < total[x - _BESIDE] - limit and line < total[x + _BESIDE] - limit
            if line > limit:
                near, far = max(total[x - 1], total[x + 1]), max(total[x - 2], total[x + 2])
                hit = line - near > limit and line - near > _SHARPNESS * line
                hit |= line * psf > clear and far < line * psf
            if hit:
                rows.append(y)
                columns.append(x)
        for x in range(width):
            total[x] -= counts[y, x]
    return np.array(rows), np.array(columns)


@native
def _totals(counts: Int16, row: Int, column: Int, length: int) -> Int32:
    """Sums of the `length` pixels of lines that start at some pixels."""
    totals = np.zeros(len(row), np.int32)
    for k in range(len(row)):
        for y in range(row[k], row[k] + length):
            totals[k] += counts[y, column[k]]
    return totals


def _throughout(counts: Int16, row: Int, column: Int, length: int) -> Bool:
    """Where each third of the lines that start at some pixels has its share of the whole.

    A cosmic ray along a column has not, nor has a line that goes beyond the end of a bad column.
    """
    ends = [(part * length) // 3 for part in (0, 1, 2, 3)]
    parts = [_totals(counts, row + start, column, end - start) for start, end in pairwise(ends)]
    whole = parts[0] + parts[1] + parts[2]
    even = np.ones(row.shape, bool)
    for part in parts:
        even &= np.sign(whole) * part > _SHARE / 3.0 * np.abs(whole)
    return even


def _scatter(counts: Int16, row: Int, column: Int, length: int) -> Float32:
    """Robust standard deviation of the lines beside each of some lines, on the side where it is larger."""
    largest = np.zeros(row.shape, np.float32)
    if not row.size:
        return largest
    for side in (-1, 1):
        places = [np.clip(column + side * offset, 0, counts.shape[1] - 1) for offset in _AROUND]
        beside = [_totals(counts, row, place, length) for place in places]
        deviation = np.abs(np.stack(beside) - np.median(beside, axis=0))
        np.maximum(largest, 1.4826 * np.median(deviation, axis=0), out=largest, casting="same_kind")
    return largest
