"""Bad columns and rows: lines one or two pixels wide, dark, or bright and sharper than any image of the sky."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]

_CLIP = 4.0
_SHARPNESS = 0.6
"""A bright line must lose this share of its height within one pixel; a PSF of FWHM 2 pixels loses half."""

_STEPS = 32
"""Signal to noise is counted in whole parts of this size, so that sums are exact whatever row they start from."""

_BESIDE = 3
"""Pixels from a line to the sky beside it that it is compared with."""


def find_bad_columns(excess: Float32, noise: Float32, significance: float, length: int) -> Bool:
    """Pixels of bad columns and rows.

    Parameters
    ----------
    excess : float32 (y, x), nJy
        Background-subtracted; NaN for no data.
    noise : float32 (y, x), nJy
    significance : float
        Of the mean of `length` pixels along the line against the lines beside it, sigma.
    length : int
        Shortest line that is found, pixels. A pixel's answer depends on rows within `length` of it.

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
    found = _lines(whole, significance, length)
    found |= _lines(whole.T, significance, length).T
    return found & data


def _lines(counts: Int32, significance: float, length: int) -> Bool:
    """Bad lines along the first axis."""
    found = np.zeros(counts.shape, bool)
    height, width = counts.shape
    if height < length or width <= 2 * _BESIDE:
        return found
    # Element k is the sum of rows k to k + length - 1.
    total = np.cumsum(counts, axis=0, dtype=np.int32)
    total[length:] -= total[:-length].copy()
    total = total[length - 1 :]
    limit = int(np.ceil(significance * np.sqrt(1.5 * length) * _STEPS))
    line = total[:, _BESIDE:-_BESIDE]
    left, right = total[:, : -2 * _BESIDE], total[:, 2 * _BESIDE :]
    # Below the background and below both sides: sky between two sources is not, nor is the shadow beside a star.
    hit = (line < -limit // 2) & (line < left - limit) & (line < right - limit)
    candidate = line > limit
    if candidate.any():
        near = np.maximum(total[:, _BESIDE - 1 : -_BESIDE - 1], total[:, _BESIDE + 1 : width - _BESIDE + 1])
        hit |= candidate & (line - near > limit) & (line - near > _SHARPNESS * line)
    for row, column in zip(*np.nonzero(hit), strict=True):
        found[row : row + length, column + _BESIDE] = True
    return found
