"""Observing conditions: how noisy a pixel is, from a band's depth, seeing and pixel scale."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pipeline.sims.render.light import Float32, Float64
from pipeline.sims.render.photometry import flux_of


def sky_sigma(depth: Float64, fwhm: Float64, scale: float) -> Float64:
    """Noise of a pixel for a 5-sigma point-source depth.

    The optimal S/N of a source with a Gaussian PSF of standard deviation s = fwhm / 2.355 is
    flux / (sigma sqrt(4 pi s^2)), with s in pixels.

    Parameters
    ----------
    depth : AB magnitudes
    fwhm : arcsec
    scale : arcsec a pixel

    Returns
    -------
    float64, nJy a pixel
    """
    pixels = 4 * np.pi * (np.asarray(fwhm) / 2.3548 / scale) ** 2
    return np.asarray(flux_of(depth) / 5 / np.sqrt(pixels))


def sky_level(brightness: Float64, scale: float) -> Float64:
    """NJy a pixel of a sky of so many magnitudes a square arcsecond."""
    return np.asarray(flux_of(brightness) * scale**2)


def correlated_noise(rng: Generator, shape: tuple[int, ...], weight: float) -> Float32:
    """Normal noise of unit variance in which neighbouring pixels share `weight` of one another, as in a coadd.

    White noise smoothed by (weight, 1, weight) along both axes, divided by sqrt(1 + 2 weight^2) for each.
    """
    noise: Float32 = rng.standard_normal(shape, np.float32)
    if weight <= 0:
        return noise
    for axis in (-1, -2):
        noise = noise + np.float32(weight) * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    return noise / np.float32(1 + 2 * weight**2)
