"""How sharp a field's stars are: what came through the telescope, against which a cosmic ray is judged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.field import FieldImage
from pipeline.scan.masks_profile import FieldProfile

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

UNDERSAMPLED = 2.0
"""The sharpness of a PSF of FWHM 2 pixels, which stands in where a field has neither stars nor a known seeing."""

_STRIPES = 12
_STRIPE_ROWS = 64
_FAINTEST, _BRIGHTEST = 30.0, 0.5
_LIT = 0.15
_ROUND = 1.5
_WINGED = 1.5
_ENOUGH = 10
_SHARP_END = 80.0
"""Percentile. Of the peaks of a ray-rich exposure a few are rays that got past the tests, and lie above it."""


def sharpness(field_image: FieldImage, profile: FieldProfile, levels: Float32) -> Float32:
    """How many times a star's central pixel exceeds the mean of two neighbours on opposite sides of it.

    The larger of the values along x and along y; its 80th percentile over the peaks of a dozen stripes of rows
    that stand 30 times above the noise, since galaxies are smoother than stars and a share of the peaks are stars.
    Peaks that one of the four neighbours along x and y has less than 0.15 of, or whose neighbours along x and y have
    sums 1.5 times different, or that have far less light at two pixels than a Gaussian as sharp, are left out: they
    may be cosmic rays, and of a PSF of FWHM over 1.5 pixels enough stars are near the middle of a pixel. With fewer
    than ten peaks the seeing that the survey states is used, for a Gaussian: 2^(4 / FWHM^2).

    Parameters
    ----------
    field_image : FieldImage
    profile : FieldProfile
    levels : float32 (band,), nJy
        Above half of which a peak may be saturated; NaN for none.

    Returns
    -------
    float32 (band,)
        At least 1; `UNDERSAMPLED` where nothing is known.
    """
    ny = field_image.shape[0]
    bands = len(field_image.bands)
    peaks: list[list[Float32]] = [[] for _ in range(bands)]
    for top, bottom in _stripes(ny):
        image = field_image.read(top, bottom).image
        for band in range(bands):
            excess = image[band] - profile.background.band_rows(band, top, bottom)
            faintest = _FAINTEST * profile.noise.band_rows(band, top, bottom)
            peaks[band].append(_peaks(excess, faintest, _BRIGHTEST * levels[band]))
    return np.array([_sharp_end(field_image, band, peaks[band]) for band in range(bands)], np.float32)


def _stripes(ny: int) -> list[tuple[int, int]]:
    """Rows of stripes that don't overlap, spread over a field; all of a small one."""
    if ny <= _STRIPES * _STRIPE_ROWS:
        return [(top, min(top + _STRIPE_ROWS, ny)) for top in range(0, ny, _STRIPE_ROWS)]
    return [(int(top), int(top) + _STRIPE_ROWS) for top in np.linspace(0, ny - _STRIPE_ROWS, _STRIPES)]


def _peaks(excess: Float32, faintest: Float32, brightest: float) -> Float32:
    """The sharpness of every peak of a stripe."""
    if min(excess.shape) < 5:
        return np.zeros(0, np.float32)
    light = np.nan_to_num(excess, nan=0.0)
    inner = light[2:-2, 2:-2]
    y, x = np.nonzero((inner > faintest[2:-2, 2:-2]) & ~(inner > brightest))
    y, x = y + 2, x + 2
    height = light[y, x]
    corners = [light[y + dy, x + dx] for dy in (-1, 1) for dx in (-1, 1)]
    sides = [light[y - 1, x], light[y + 1, x], light[y, x - 1], light[y, x + 1]]
    peak = (np.max(corners + sides, axis=0) <= height) & (np.min(sides, axis=0) > _LIT * height)
    y, x, height = y[peak], x[peak], height[peak]
    along, across = light[y - 1, x] + light[y + 1, x], light[y, x - 1] + light[y, x + 1]
    weaker = np.minimum(along, across)
    ratio = 2.0 * height / weaker
    further = np.where(along < across, light[y - 2, x] + light[y + 2, x], light[y, x - 2] + light[y, x + 2])
    is_round = np.maximum(along, across) < _ROUND * weaker
    winged = further * ratio**4 > 2.0 * height / _WINGED
    return np.asarray(ratio[is_round & winged], np.float32)


def _sharp_end(field_image: FieldImage, band: int, peaks: list[Float32]) -> float:
    known = np.concatenate(peaks)
    if known.size >= _ENOUGH:
        return float(np.percentile(known, _SHARP_END))
    seeing = field_image.meta.get("seeing", {}).get(field_image.bands[band], 0.0)
    if not seeing > 0:
        return UNDERSAMPLED
    return min(float(2.0 ** (4.0 / (seeing / field_image.pixel_scale) ** 2)), UNDERSAMPLED)
