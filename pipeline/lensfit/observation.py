"""What is observed of one object: pixels, what they weigh, and the seeing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from pipeline.errors import ConfigError
from pipeline.flags import fatal
from pipeline.lensfit.config import NoiseConfig

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_LEAST_PIXELS = 100
"""Valid pixels below which there is nothing to fit."""


@dataclass(frozen=True)
class Observation:
    """One object's stamp in the bands that are fitted together.

    Attributes
    ----------
    image : float64 (band, y, x), nJy
        0 where a pixel has no weight.
    weight : float64 (band, y, x), nJy^-2
        Inverse variance; 0 for pixels that are left out.
    bands : tuple of str
    pixel_scale : float, arcsec
    seeing : float64 (band,), arcsec
        FWHM of the Moffat PSF.
    beta : float
        Of the Moffat PSF.
    ellipticity : (e1, e2)
        Of the PSF, as `pipeline.sims.render.image.Psf` has it.
    """

    image: Float64
    weight: Float64
    bands: tuple[str, ...]
    pixel_scale: float
    seeing: Float64
    beta: float = 3.5
    ellipticity: tuple[float, float] = (0.0, 0.0)

    @property
    def pixels(self) -> int:
        """How many pixels have weight, all bands together."""
        return int(np.count_nonzero(self.weight))

    def without(self, pixels: Bool) -> Observation:
        """The same, with the chosen pixels (band, y, x) left out."""
        return replace(self, image=np.where(pixels, 0.0, self.image), weight=np.where(pixels, 0.0, self.weight))

    def noisier(self, factors: Float64) -> Observation:
        """The same with variances `factors` (band,) times as large."""
        return replace(self, weight=self.weight / factors[:, None, None])


def observe(
    image: npt.NDArray[np.floating],
    ivar: npt.NDArray[np.floating],
    mask: npt.NDArray[np.uint32] | None,
    *,
    bands: Sequence[str],
    pixel_scale: float,
    seeing: npt.ArrayLike,
    beta: float = 3.5,
    ellipticity: tuple[float, float] = (0.0, 0.0),
    sky_level: npt.ArrayLike | None = None,
) -> Observation:
    """Make an observation of a cutout.

    Parameters
    ----------
    image : (band, y, x), nJy
    ivar : (band, y, x), nJy^-2
    mask : uint32 (band, y, x), optional
        Pixels under a fatal flag are left out, and so are those that aren't finite or have no ivar.
    bands : sequence of str
    pixel_scale : float, arcsec
    seeing : (band,), arcsec
        FWHM of the PSF, a Moffat profile of `beta` and `ellipticity`. For a band where it is NaN: the others' median.
    sky_level : (band,), nJy a pixel, optional
        Of the sky, where `ivar` is the sky's alone: an object's own photons then add
        light / sky_level times the sky's variance, the light being the mean of three by three pixels.

    Raises
    ------
    ConfigError
        If shapes don't match, the seeing is not known in any band, or fewer than 100 pixels can be used.
    """
    pixels = np.asarray(image, np.float64)
    seen = np.broadcast_to(np.asarray(seeing, np.float64), (len(bands),)).copy()
    if pixels.ndim != 3 or len(pixels) != len(bands) or pixels.shape != np.shape(ivar):
        raise ConfigError(
            f"image of shape {pixels.shape}, ivar {np.shape(ivar)} and {len(bands)} bands don't match; "
            "give (band, y, x) arrays."
        )
    if pixels.shape[1] != pixels.shape[2]:
        raise ConfigError(f"stamp of {pixels.shape[1]} x {pixels.shape[2]} pixels; fits need square stamps.")
    known = np.isfinite(seen) & (seen > 0)
    if not known.any():
        raise ConfigError(f"seeing {seen} is not known in any band; give it in arcsec (FWHM).")
    seen[~known] = np.median(seen[known])
    weight = np.asarray(ivar, np.float64)
    usable = np.isfinite(pixels) & np.isfinite(weight) & (weight > 0)
    if mask is not None:
        usable &= ~fatal(mask)
    if np.count_nonzero(usable) < _LEAST_PIXELS:
        raise ConfigError(f"{np.count_nonzero(usable)} usable pixels; a fit needs at least {_LEAST_PIXELS}.")
    pixels, weight = np.where(usable, pixels, 0.0), np.where(usable, weight, 0.0)
    if sky_level is not None:
        level = np.broadcast_to(np.asarray(sky_level, np.float64), (len(bands),))[:, None, None]
        weight = weight / (1 + np.maximum(uniform_filter(pixels, (0, 3, 3)), 0) / level)
    return Observation(pixels, weight, tuple(bands), float(pixel_scale), seen, beta, ellipticity)


def correlation(residual: Float64, used: Bool, config: NoiseConfig) -> Float64:
    """By how much correlated noise is larger, in variance, to what is smooth over a few pixels; 1 for white noise.

    The sum of the autocorrelation of residuals over lags of up to `config.lags` pixels along
    both axes; not below 1. What a model can't fit is correlated too, and so widens the intervals, as it should.

    Parameters
    ----------
    residual : float64 (band, y, x)
        In units of the noise.
    used : bool (band, y, x)
        Pixels that have weight.
    config : NoiseConfig

    Returns
    -------
    float64 (band,)
    """
    scaled = np.clip(residual, -config.clip, config.clip)
    factors = np.ones(len(scaled))
    for band, (values, inside) in enumerate(zip(scaled, used.astype(np.float64), strict=True)):
        padded = (2 * values.shape[0], 2 * values.shape[1])
        sums, counts = (
            np.fft.irfft2(np.abs(np.fft.rfft2(part, padded)) ** 2, padded) for part in (values * inside, inside)
        )
        lags = np.arange(-config.lags, config.lags + 1)
        together = counts[np.ix_(lags, lags)]
        means = sums[np.ix_(lags, lags)] / np.maximum(together, 1)
        if together[config.lags, config.lags] >= _LEAST_PIXELS:
            # Lag 0 stands for the mean square itself: a misfit that makes it exceed 1 widens intervals as well.
            factors[band] = max(1.0, float(means.sum()))
    return factors
