"""Saturated pixels and the columns that their charge bled along.

No survey keyword is needed: a saturated core is flat where a PSF, a galaxy or a lens would be peaked.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from pipeline.flags import PixelFlag
from pipeline.scan.masks_profile import FieldProfile, plateau

Float32 = npt.NDArray[np.float32]
UInt16 = npt.NDArray[np.uint16]
Bool = npt.NDArray[np.bool_]

PLATEAU_MARGIN = 2
"""Rows beyond a pixel that its saturation depends on."""

_LEVEL_SHARE = 0.75
_BLEED_SNR = 20.0
_BLEED_SIDE = 4
_BLEED_CONTRAST = 2.0


def saturation_levels(profile: FieldProfile) -> Float32:
    """Level from which a pixel counts as saturated, nJy, per band; NaN where no plateau was seen.

    Three quarters of the 95th percentile of the plateaus' values, because a coadd of exposures taken apart
    has plateaus at several levels.
    """
    return np.array(
        [_LEVEL_SHARE * np.percentile(flat, 95) if flat.size >= 2 else np.nan for flat in profile.plateaus],
        np.float32,
    )


def find_saturation(
    excess: Float32, noise: Float32, level: float, flatness: float, bleed_rows: int, reach: int
) -> UInt16:
    """Saturated pixels and bled columns of one band.

    Parameters
    ----------
    excess, noise : float32 (y, x), nJy
        Background-subtracted image, NaN for no data, and noise of a pixel.
    level : float
        From `saturation_levels`, nJy.
    flatness : float
        See `plateau`; a plateau counts from half the level.
    bleed_rows : int
        Shortest bled column, pixels.
    reach : int
        Longest bled column beyond its star, pixels; a pixel's answer depends on rows this far away.

    Returns
    -------
    uint16 (y, x)
        SATURATED and BLEED bits.
    """
    flags = np.zeros(excess.shape, np.uint16)
    with np.errstate(invalid="ignore"):
        hot = (excess >= level) | plateau(excess, 0.5 * level, flatness)
    if not hot.any():
        return flags
    flags[maximum_filter(hot, 3)] |= np.uint16(PixelFlag.SATURATED)
    columns = np.flatnonzero(hot.any(axis=0))
    values = np.nan_to_num(excess, nan=0.0)
    left, right = np.maximum(columns - _BLEED_SIDE, 0), np.minimum(columns + _BLEED_SIDE, excess.shape[1] - 1)
    beside = np.maximum(values[:, left], values[:, right])
    lit = (values[:, columns] > _BLEED_SNR * noise[:, columns]) & (values[:, columns] > _BLEED_CONTRAST * beside)
    bled = _connected(lit | hot[:, columns], hot[:, columns], reach)
    bled &= _longer_than(bled, bleed_rows)
    bled &= ~hot[:, columns]
    flags[:, columns] |= np.where(bled, np.uint16(PixelFlag.BLEED), np.uint16(0))
    return flags


def _connected(lit: Bool, seeds: Bool, reach: int) -> Bool:
    """Pixels of vertical runs of `lit` that a seed of the same run lies within `reach` rows of."""
    rows = np.arange(lit.shape[0])[:, None]
    joined = np.zeros(lit.shape, bool)
    for flip in (False, True):
        run, seed = (lit[::-1], seeds[::-1]) if flip else (lit, seeds)
        last_break = np.maximum.accumulate(np.where(run, -1, rows), axis=0)
        last_seed = np.maximum.accumulate(np.where(seed, rows, -(10**9)), axis=0)
        hit = run & (last_seed > last_break) & (rows - last_seed <= reach)
        joined |= hit[::-1] if flip else hit
    return joined


def _longer_than(runs: Bool, rows: int) -> Bool:
    """Pixels of vertical runs of at least `rows` pixels."""
    index = np.arange(runs.shape[0])[:, None]
    before = np.maximum.accumulate(np.where(runs, -1, index), axis=0)
    after = np.minimum.accumulate(np.where(runs, runs.shape[0], index)[::-1], axis=0)[::-1]
    long: Bool = runs & (after - before - 1 >= rows)
    return long
