"""The noise of a scan's cutouts, and the photon noise of what is added to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from pipeline.errors import ConfigError
from pipeline.io.cutout_store import Stamps
from pipeline.sims.config.injection import NoiseConfig
from pipeline.sims.render.conditions import correlated_noise, sky_level
from pipeline.sims.render.light import Float32, Float64

_EMPTY = 2.5
"""Pixels within this many sigma of the background count as empty."""
_LARGEST = 0.7
"""Correlation of neighbours that the three-pixel kernel can give, just below 1 / sqrt(2)."""


def sky_sigmas(stamps: Stamps) -> Float64:
    """Noise of a pixel of each band of one stamp (band, y, x): median over the pixels with data, nJy; NaN for none."""
    sigmas = np.full(len(stamps.ivar), np.nan)
    for band, ivar in enumerate(stamps.ivar):
        known = ivar[ivar > 0]
        if known.size:
            sigmas[band] = 1 / np.sqrt(np.median(known))
    return sigmas


def correlation_weights(stamps: Sequence[Stamps]) -> Float64:
    """Weight w of the kernel (w, 1, w) that gives empty neighbouring pixels their correlation, float64 (band,).

    The kernel's correlation at one pixel is 2 w / (1 + 2 w^2); 0 where neighbours aren't correlated or nothing is
    empty. Both axes count alike.
    """
    bands = len(stamps[0].image)
    products, squares = np.zeros(bands), np.zeros(bands)
    for item in stamps:
        scaled = item.image * np.sqrt(item.ivar)
        empty = np.isfinite(scaled) & (np.abs(scaled) < _EMPTY) & (item.ivar > 0) & (item.mask == 0)
        values = np.where(empty, scaled, 0).astype(np.float64)
        for band in range(bands):
            for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
                both = empty[band][first] & empty[band][second]
                a, b = values[band][first][both], values[band][second][both]
                # Faint galaxies raise whole stamps; their mean is not noise.
                a, b = a - a.mean() if a.size else a, b - b.mean() if b.size else b
                products[band] += (a * b).sum()
                squares[band] += (a * a + b * b).sum() / 2
    rho = np.clip(np.divide(products, squares, out=np.zeros(bands), where=squares > 0), 0, _LARGEST)
    return np.where(rho > 1e-3, (1 - np.sqrt(1 - 2 * rho**2)) / (2 * np.maximum(rho, 1e-3)), 0.0)


def gains(config: NoiseConfig, bands: tuple[str, ...], sigma: Float64, pixel_scale: float) -> Float64:
    """Effective electrons a nJy of each band.

    The config's gain, or the one with which the photons of the config's sky make the noise sigma: level / sigma^2.

    Raises
    ------
    ConfigError
        If a band has neither.
    """
    answer = np.empty(len(bands))
    for index, band in enumerate(bands):
        if band in config.gain:
            answer[index] = config.gain[band]
        elif band in config.sky_brightness:
            level = float(sky_level(np.array(config.sky_brightness[band]), pixel_scale))
            answer[index] = level / sigma[index] ** 2
        else:
            raise ConfigError(f"noise: no gain and no sky_brightness for band {band}.")
    return answer


def with_light(stamps: Stamps, light: Float32, gain: Float64, weights: Float64, rng: Generator) -> Stamps:
    """A stamp with light and the light's own photon noise added.

    The noise has variance light / gain, correlated like the survey's own where its pixels were resampled. Pixels
    without data stay as they are, and the mask is the same.

    Parameters
    ----------
    stamps : Stamps
        One stamp, (band, y, x).
    light : float32 (band, y, x), nJy
        Without noise.
    gain : float64 (band,), electrons a nJy
    weights : float64 (band,)
        As `correlation_weights` gives.

    Returns
    -------
    Stamps
        1 / ivar has grown by light / gain where there is light and data.
    """
    variance = np.maximum(light, 0) / gain[:, None, None].astype(np.float32)
    noise = np.stack([correlated_noise(rng, plane.shape, float(w)) for plane, w in zip(light, weights, strict=True)])
    known = stamps.ivar > 0
    image = np.where(np.isfinite(stamps.image), stamps.image + light + noise * np.sqrt(variance), stamps.image)
    ivar = np.where(known, stamps.ivar / (1 + stamps.ivar * variance), stamps.ivar)
    return Stamps(image.astype(np.float32), ivar.astype(np.float32), stamps.mask)
