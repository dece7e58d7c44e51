"""Bad columns and rows: lines one or two pixels wide, dark, or bright and sharper than any image of the sky."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_CLIP = 4.0
_SHARPNESS = 0.6
"""A bright line must lose this share of its height within one pixel; a PSF of FWHM 2 pixels loses half."""

_STEPS = 256.0
"""Values are rounded to this part of a sigma so that running sums are exact whatever row they start from."""


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
    signal = np.nan_to_num(np.clip(excess / noise, -_CLIP, _CLIP), nan=0.0)
    signal = (np.rint(signal * _STEPS) / _STEPS).astype(np.float32)
    found = _columns(signal, significance, length)
    found |= _columns(np.ascontiguousarray(signal.T), significance, length).T
    return found & np.isfinite(excess)


def _columns(signal: Float32, significance: float, length: int) -> Bool:
    if signal.shape[0] < length or signal.shape[1] < 9:
        return np.zeros(signal.shape, bool)
    mean = uniform_filter1d(signal.astype(np.float64), length, axis=0, mode="constant")
    beside = np.minimum(_shifted(mean, 3), _shifted(mean, -3))
    error = np.sqrt(1.5 / length)
    # A dark line is below the darker of its sides: shadows beside a star's light are as deep as the other side.
    dark = beside - mean > significance * error
    near = np.maximum(_shifted(mean, 1), _shifted(mean, -1))
    bright = (mean - near > significance * error) & (mean - near > _SHARPNESS * mean)
    hit = dark | bright
    hit[:, :4] = hit[:, -4:] = False
    return _grown(hit, length // 2)


def _grown(hit: Bool, reach: int) -> Bool:
    """The runs whose running mean passed, as long as the window that passed."""
    padded = np.pad(hit, ((reach, reach), (0, 0)))
    total = np.concatenate([np.zeros((1, hit.shape[1]), np.int32), np.cumsum(padded, axis=0, dtype=np.int32)])
    window = 2 * (reach // 2) + 1
    start = reach - reach // 2
    stop = start + hit.shape[0]
    grown: Bool = total[start + window : stop + window] - total[start:stop] > 0
    return grown


def _shifted(plane: npt.NDArray[np.float64], by: int) -> npt.NDArray[np.float64]:
    return np.roll(plane, by, axis=1)
