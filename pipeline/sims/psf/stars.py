"""The PSF of a field from the stars among its cutouts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, shift

from pipeline.errors import ConfigError
from pipeline.flags import fatal
from pipeline.io.cutout_store import Stamps
from pipeline.sims.config.psf import MeasuredPsf
from pipeline.sims.psf.images import ImagePsf, image_psf
from pipeline.sims.psf.shapes import Shapes, measure_shapes
from pipeline.sims.render.light import Float32, Float64

Bool = npt.NDArray[np.bool_]

_BRIGHT_NEIGHBOUR, _SIGNIFICANT = 0.02, 5.0
"""Peak of another source near a star, over the star's own and over the noise, above which the star is not alone."""
_SMOOTHED = 1 / (2 * np.sqrt(np.pi))
"""What a Gaussian of one pixel leaves of white noise."""
_OUTER = 0.75
"""Share of the PSF's radius from which on it is tapered to nothing."""


def measured_psf(stamps: Stamps, magnitude: Float32, pixel_scale: float, config: MeasuredPsf, where: str) -> ImagePsf:
    """Stack the isolated, unsaturated stars of a field.

    Stars are the detections in the magnitude range that lie on the locus of the smallest (`star_locus`). Each is
    centred by a cubic shift onto its centroid, its background (the median beyond the PSF's radius) is taken off, it is
    brought to flux 1, and the median over the stars is tapered at the rim.

    Parameters
    ----------
    stamps : Stamps
        Image, ivar, mask (n, band, y, x).
    magnitude : float32 (n,)
        NaN is no star.
    pixel_scale : arcsec
    config : MeasuredPsf
    where : str
        For the message.

    Raises
    ------
    ConfigError
        If there are fewer than `config.least_stars`.
    """
    bands = stamps.image.shape[1]
    half = int(np.ceil(config.radius / pixel_scale))
    if 2 * half + 5 > stamps.image.shape[-1]:
        raise ConfigError(f"{where}: psf.radius {config.radius:g} arcsec does not fit in its cutouts; make it smaller.")
    shapes = measure_shapes(stamps, pixel_scale)
    bright = (magnitude >= config.magnitude[0]) & (magnitude <= config.magnitude[1]) & shapes.good.all(axis=1)
    stars = np.flatnonzero(bright & star_locus(shapes.size.mean(axis=1), bright, config.locus_width))
    stars = np.array([star for star in stars if _alone(stamps, int(star), half)], int)
    if len(stars) < config.least_stars:
        raise ConfigError(
            f"{where}: {len(stars)} isolated stars of {config.magnitude[0]:g} to {config.magnitude[1]:g} mag in its "
            f'cutouts, not {config.least_stars}; widen psf.magnitude, or give psf.kind = "moffat" with its fwhm.'
        )
    stacks = []
    for band in range(bands):
        cut = [_centred(stamps, shapes, int(star), band, half) for star in stars]
        stacks.append(np.median(np.stack(cut), axis=0) * _taper(half))
    return image_psf(np.stack(stacks), pixel_scale)


def star_locus(size: Float64, candidates: Bool, width: float) -> Bool:
    """Which objects are as small as stars.

    The stars' size is the candidates' in the densest window of `width` (natural log) below their median; ties go to
    the smaller. All objects within half the width of the window's middle are stars, candidate or not.

    Parameters
    ----------
    size : float64 (n,)
        NaN is no star.
    candidates : bool (n,)
    """
    logs = np.log(np.where(size > 0, size, np.nan))
    usable = np.sort(logs[candidates & np.isfinite(logs)])
    if len(usable) == 0:
        return np.zeros(len(size), np.bool_)
    low = usable[usable <= np.median(usable)]
    counts = np.searchsorted(usable, low + width, side="right") - np.arange(len(low))
    start = low[int(np.argmax(counts))]
    chosen = usable[(usable >= start) & (usable <= start + width)]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(logs - np.median(chosen)) <= width / 2)


def _alone(stamps: Stamps, star: int, half: int) -> bool:
    """No fatal flag, and no other peak, in the PSF's square of any band."""
    middle = stamps.image.shape[-1] // 2
    part = np.s_[:, middle - half - 1 : middle + half + 2, middle - half - 1 : middle + half + 2]
    image = stamps.image[star][part]
    if fatal(stamps.mask[star][part]).any() or not np.isfinite(image).all():
        return False
    y, x = np.indices(image.shape[1:]) - (half + 1)
    outside = np.hypot(x, y) > 0.4 * half
    ivar = stamps.ivar[star][part]
    for band, weight in zip(image, ivar, strict=True):
        smooth = gaussian_filter(band, 1.0)
        # A lone PSF falls outwards, so a maximum of its outskirts tells of another source.
        peak = (smooth[1:-1, 1:-1] >= _around(smooth)) & outside[1:-1, 1:-1]
        noise = _SMOOTHED / np.sqrt(np.median(weight[weight > 0])) if (weight > 0).any() else 0.0
        limit = max(_BRIGHT_NEIGHBOUR * float(smooth.max()), _SIGNIFICANT * float(noise))
        if (smooth[1:-1, 1:-1][peak] > limit).any():
            return False
    return True


def _around(image: Float32) -> Float32:
    """The largest of each inner pixel's eight neighbours."""
    ny, nx = image.shape
    parts = [image[1 + dy : ny - 1 + dy, 1 + dx : nx - 1 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    highest: Float32 = np.max(parts, axis=0)
    return highest


def _centred(stamps: Stamps, shapes: Shapes, star: int, band: int, half: int) -> Float64:
    """A star of flux 1 about the middle of (2 half + 1)^2 pixels."""
    image = stamps.image[star, band].astype(np.float64)
    known = np.where(np.isfinite(image), image, 0.0)
    middle = image.shape[-1] // 2
    x, y = shapes.x[star, band], shapes.y[star, band]
    moved = shift(known, (middle - y, middle - x), order=3, mode="nearest")
    rows, columns = np.indices(image.shape)
    radius = np.hypot(rows - middle, columns - middle)
    sky = np.median(moved[(radius > half) & (radius < half + 6)])
    square = moved[middle - half : middle + half + 1, middle - half : middle + half + 1] - sky
    return np.asarray(square / square.sum())


def _taper(half: int) -> Float64:
    y, x = np.indices((2 * half + 1, 2 * half + 1)) - half
    outwards = np.clip((np.hypot(x, y) / half - _OUTER) / (1 - _OUTER), 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * outwards)))
