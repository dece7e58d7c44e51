"""One-number baselines: what a network has to beat to have learned more than the sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.config import BaselineConfig

Float64 = npt.NDArray[np.float64]

BASELINES = ("core colour", "blue ring", "brightness")
"""Redness of the core, light in the ring that is bluer than the core, brightness: each higher for a likelier lens."""

_AB_NANOJANSKY = 31.4


def baselines(image: npt.NDArray[Any], bands: tuple[str, ...], pixel_scale: float, config: BaselineConfig) -> Float64:
    """The baselines of some stamps, from apertures about their centres.

    With blue, middle and red the bands g, r, i where there are, else the first, middle and last: core colour is
    blue - red in mag; blue ring is the ring's blue flux minus its red flux times the core's blue / red, over the
    core's middle flux; brightness is minus the middle magnitude. The sign of each was fixed before anything was
    measured: massive deflectors are red and bright, arcs are blue.

    Parameters
    ----------
    image : (n, band, y, x), nJy
        NaN pixels are left out; apertures are means times areas.
    bands : tuple of str
    pixel_scale : float, arcsec
    config : BaselineConfig

    Returns
    -------
    float64 (n, 3) in the order of `BASELINES`; NaN where a flux is not positive or an aperture is empty. With one band
    only brightness is known.
    """
    blue, middle, red = _three(bands)
    pixels = np.asarray(image, dtype=np.float64)
    radius = _radius(pixels.shape[-2:], pixel_scale)
    frame = radius > min(pixels.shape[-2:]) / 2 * pixel_scale * 0.85
    sky = _mean(pixels, frame, median=True)
    core = _mean(pixels, radius <= config.core) - sky
    ring = _mean(pixels, (radius > config.ring_inner) & (radius <= config.ring_outer)) - sky
    aperture = radius <= config.aperture
    total = (_mean(pixels, aperture) - sky)[:, middle] * aperture.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        colour = -2.5 * np.log10(core[:, blue] / core[:, red])
        excess = (ring[:, blue] - ring[:, red] * core[:, blue] / core[:, red]) / core[:, middle]
        brightness = 2.5 * np.log10(total) - _AB_NANOJANSKY
    usable = (core > 0).all(axis=1)
    if blue == red:
        colour, excess = np.full(len(pixels), np.nan), np.full(len(pixels), np.nan)
    answer = np.stack([np.where(usable, colour, np.nan), np.where(usable, excess, np.nan), brightness], axis=1)
    return np.where(np.isfinite(answer), answer, np.nan)


def _three(bands: tuple[str, ...]) -> tuple[int, int, int]:
    if {"g", "r", "i"} <= set(bands):
        return bands.index("g"), bands.index("r"), bands.index("i")
    return 0, len(bands) // 2, len(bands) - 1


def _radius(shape: tuple[int, ...], pixel_scale: float) -> Float64:
    """Distance of each pixel from the geometric centre, arcsec."""
    y, x = (np.arange(length) - (length - 1) / 2 for length in shape)
    answer: Float64 = np.hypot(y[:, None], x[None, :]) * pixel_scale
    return answer


def _mean(pixels: Float64, chosen: npt.NDArray[np.bool_], *, median: bool = False) -> Float64:
    """Mean or median of the known pixels (n, band); NaN where there is none."""
    values = np.ma.masked_invalid(pixels[..., chosen])
    masked: Any = np.ma
    found = masked.median(values, axis=-1) if median else values.mean(axis=-1)
    answer: Float64 = masked.filled(found, np.nan)
    return answer
