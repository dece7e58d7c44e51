"""Saturated pixels and the columns that their charge bled along.

No survey keyword is needed: a saturated core is flat where a PSF, a galaxy or a lens would be peaked, and its
sides are steep.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label, minimum_filter

from pipeline.field import FieldImage
from pipeline.flags import PixelFlag
from pipeline.scan.masks_profile import FieldProfile, plateau
from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
UInt16 = npt.NDArray[np.uint16]
Bool = npt.NDArray[np.bool_]

PLATEAU_MARGIN = 2
"""Rows beyond a pixel that its saturation depends on."""

_LEVEL_SHARE = 0.75
_BLEED_SNR = 20.0
_BLEED_SIDES = (4, 12)
"""Columns on either side that a bled column is compared with, pixels: beyond a narrow bleed, and beyond a wide one."""
_BLEED_CONTRAST = 2.0

_TOPS = 6
"""Brightest places of a band whose tops are looked at."""
_TOP_REACH = 24
_TOP_SNR = 200.0
_TOP_AREA = 16
_TOP_SPREAD = 1.75
"""Area above 0.4 of a top's height over that above 0.8. A round Gaussian has 4.1, a galaxy more, a straight line of
light 2.0; a star that is cut off has less the further it would have risen above the cut."""


def saturation_levels(field_image: FieldImage, profile: FieldProfile) -> Float32:
    """Level from which a pixel counts as saturated, nJy, per band; NaN where nothing says that anything is.

    Three quarters of the 95th percentile of the values of plateaus (`FieldProfile.plateaus`, far above the noise) and
    of clipped tops (`clipped`) among the brightest places; less than the highest value because a coadd of exposures
    taken apart is cut off at several levels.
    """
    values = [[flat] if flat.size >= 2 else [] for flat in profile.plateaus]
    ny, nx = field_image.shape
    for y, x in _brightest(profile):
        low, high = max(y - _TOP_REACH, 0), min(y + _TOP_REACH + 1, ny)
        left, right = max(x - _TOP_REACH, 0), min(x + _TOP_REACH + 1, nx)
        image = field_image.read(low, high).image[:, :, left:right]
        for band, light in enumerate(image):
            excess = light - profile.background.band_rows(band, low, high)[:, left:right]
            top = clipped(excess, _TOP_SNR * float(np.median(profile.noise.values[band])))
            if top.size:
                values[band].append(top)
    return np.array(
        [_LEVEL_SHARE * np.percentile(np.concatenate(tops), 95) if tops else np.nan for tops in values], np.float32
    )


def clipped(excess: Float32, faintest: float) -> Float32:
    """Values of the brightest top in a window if it is cut off, else none.

    Parameters
    ----------
    excess : float32 (y, x), nJy
        NaN for no data.
    faintest : float
        Smallest height of a top, nJy.

    Returns
    -------
    float32 (n,)
        The pixels above 0.8 of the height, connected to the highest, where they are at least 16 (some 3 x 3 of them
        whole, so that no cosmic ray is one) and the area above 0.4 is less than 1.75 times theirs.
    """
    light = np.nan_to_num(excess, nan=-np.inf)
    peak = np.unravel_index(np.argmax(light), light.shape)
    height = light[peak]
    none = np.zeros(0, np.float32)
    if not height >= faintest:
        return none
    areas = []
    for share in (0.8, 0.4):
        labels, _ = label(light > share * height)
        areas.append(labels == labels[peak])
    top, foot = areas
    if top.sum() < _TOP_AREA or foot.sum() > _TOP_SPREAD * top.sum() or not minimum_filter(top, 3).any():
        return none
    return np.asarray(light[top], np.float32)


def find_saturation(
    excess: Float32, noise: Float32, level: float, flatness: float, bleed_rows: int, reach: int, grow: int
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
    grow : int
        Pixels flagged around every saturated and bled one.

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
    columns = np.flatnonzero(hot.any(axis=0))
    line = np.nan_to_num(excess[:, columns], nan=0.0)
    stands_out = np.zeros(line.shape, bool)
    for side in _BLEED_SIDES:
        left, right = np.maximum(columns - side, 0), np.minimum(columns + side, excess.shape[1] - 1)
        beside = [np.nan_to_num(excess[:, place], nan=0.0) for place in (left, right)]
        stands_out |= line > _BLEED_CONTRAST * np.maximum(*beside)
    lit = stands_out & (line > _BLEED_SNR * noise[:, columns])
    bled = _connected(lit | hot[:, columns], hot[:, columns], reach)
    bled &= _longer_than(bled, bleed_rows)
    bled &= ~hot[:, columns]
    trail = np.zeros(hot.shape, bool)
    trail[:, columns] = bled
    burnt = _grown(hot, grow)
    flags[burnt] |= np.uint16(PixelFlag.SATURATED)
    flags[_grown(trail, grow) & ~burnt | trail] |= np.uint16(PixelFlag.BLEED)
    return flags


@native
def _grown(plane: Bool, by: int) -> Bool:
    """A plane with the pixels around every one that is set, which are few."""
    grown = np.zeros(plane.shape, np.bool_)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            if plane[y, x]:
                grown[max(y - by, 0) : y + by + 1, max(x - by, 0) : x + by + 1] = True
    return grown


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


def _brightest(profile: FieldProfile) -> list[tuple[int, int]]:
    """Pixels (y, x) near the brightest peaks of every band, apart from each other, from the top of the field down."""
    side = profile.bin
    apart = max(1, _TOP_REACH // side)
    places: list[tuple[int, int]] = []
    for band, peak in enumerate(profile.peak):
        faintest = _TOP_SNR * float(np.median(profile.noise.values[band]))
        rest = np.where(peak >= faintest, peak, np.float32(0.0))
        for _ in range(_TOPS):
            y, x = divmod(int(np.argmax(rest)), rest.shape[1])
            if rest[y, x] <= 0:
                break
            rest[max(y - apart, 0) : y + apart + 1, max(x - apart, 0) : x + apart + 1] = 0.0
            here = (min(y * side + side // 2, int(profile.y_edges[-1]) - 1), x * side + side // 2)
            if all(max(abs(here[0] - other[0]), abs(here[1] - other[1])) > _TOP_REACH // 2 for other in places):
                places.append(here)
    return sorted(places)
