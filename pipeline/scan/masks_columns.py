"""Bad columns and rows: lines one or two pixels wide, dark, or bright and sharper than any image of the sky."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
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
    data = np.isfinite(excess)
    counts = np.where(data, excess, np.float32(0.0)) / noise
    np.clip(counts, -_CLIP, _CLIP, out=counts)
    counts *= _STEPS
    np.rint(counts, out=counts)
    whole = counts.astype(np.int32)
    found = _lines(whole, significance, length, sharpest)
    found |= _lines(whole.T, significance, length, sharpest).T
    return found & data


def _lines(counts: Int32, significance: float, length: int, sharpest: float) -> Bool:
    """Bad lines along the first axis."""
    found = np.zeros(counts.shape, bool)
    height, width = counts.shape
    if height < length or width <= 2 * _BESIDE:
        return found
    sums = np.cumsum(counts, axis=0, dtype=np.int32)
    # Element k is the sum of rows k to k + length - 1.
    total = sums[length - 1 :].copy()
    total[1:] -= sums[:-length]
    limit = int(np.ceil(significance * np.sqrt(1.5 * length) * _STEPS))
    line = total[:, _BESIDE:-_BESIDE]
    left, right = total[:, : -2 * _BESIDE], total[:, 2 * _BESIDE :]
    # Below the background and below both sides: sky between two sources is not, nor is the shadow beside a star.
    hit = (line < -limit // 2) & (line < left - limit) & (line < right - limit)
    # Few lines are bright: these are looked at one by one.
    row, column = np.nonzero(line > limit)
    hit[row, column] |= _sharp(total, row, column + _BESIDE, limit, length, sharpest)
    row, column = np.nonzero(hit)
    column += _BESIDE
    kept = np.abs(total[row, column]) > significance * _scatter(total, row, column)
    kept &= _throughout(sums, counts, row, column, length)
    row, column = row[kept], column[kept]
    bad, place = np.unique(column, return_inverse=True)
    turns = np.zeros((height + 1, bad.size), np.int32)
    np.add.at(turns, (row, place), 1)
    np.add.at(turns, (row + length, place), -1)
    found[:, bad] = np.cumsum(turns[:-1], axis=0) > 0
    return found


def _sharp(total: Int32, row: Int, column: Int, limit: int, length: int, sharpest: float) -> Bool:
    """Which bright lines are sharper than the PSF: one pixel wide, or two."""
    line = total[row, column]
    near = np.maximum(total[row, column - 1], total[row, column + 1])
    one = (line - near > limit) & (line - near > _SHARPNESS * line)
    far = np.maximum(total[row, column - 2], total[row, column + 2])
    left_over = line * np.float32(sharpest**-4)
    two = (left_over > _CLEAR * np.sqrt(length) * _STEPS) & (far < left_over)
    return np.asarray(one | two, bool)


def _throughout(sums: Int32, counts: Int32, row: Int, column: Int, length: int) -> Bool:
    """Where each third of the lines that start at some pixels has its share of the whole.

    A cosmic ray along a column has not, nor has a line that goes beyond the end of a bad column.
    """
    before = sums[row, column] - counts[row, column]
    ends = [(part * length) // 3 for part in (1, 2, 3)]
    parts = []
    for end in ends:
        after = sums[row + end - 1, column]
        parts.append(after - before)
        before = after
    whole = sum(parts)
    even = np.ones(row.shape, bool)
    for part in parts:
        even &= np.sign(whole) * part > _SHARE / 3.0 * np.abs(whole)
    return even


def _scatter(total: Int32, row: Int, column: Int) -> Float32:
    """Robust standard deviation of the lines beside each of some lines, on the side where it is larger."""
    largest = np.zeros(row.shape, np.float32)
    if not row.size:
        return largest
    for side in (-1, 1):
        beside = [total[row, np.clip(column + side * offset, 0, total.shape[1] - 1)] for offset in _AROUND]
        deviation = np.abs(np.stack(beside) - np.median(beside, axis=0))
        np.maximum(largest, 1.4826 * np.median(deviation, axis=0), out=largest, casting="same_kind")
    return largest
