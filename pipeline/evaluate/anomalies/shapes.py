"""Widths, elongations and places of the objects in the middle of stamps: what a detector of pairs has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

SHAPES = ("ellipticity", "size", "off-centre")
"""Elongation and width of the flux-weighted second moments, and how far the light's centre is from the stamp's."""

_FWHM = 2 * np.sqrt(2 * np.log(2))
_STEPS = 40
_START = 0.5
"""Standard deviation of the first weight, arcsec."""
_LEAST, _MOST = 0.15, 1.5
"""Standard deviations between which the weight is held, arcsec."""
_REACH = 1.5
"""Arcsec from its start beyond which a weight has left its object for another."""


def shapes(image: npt.NDArray[Any], pixel_scale: float, radius: float) -> Float64:
    """One-number baselines of stamps in one band, each higher for a likelier pair of images.

    Plain second moments of what is above the sky's noise (two sigma) inside an aperture: ellipticity
    sqrt((xx - yy)^2 + 4 xy^2) / (xx + yy), size sqrt((xx + yy) / 2) in arcsec, and the distance in arcsec of the
    centroid from the middle of the stamp.

    Parameters
    ----------
    image : (n, y, x), nJy
        NaN pixels are left out.
    pixel_scale, radius : float, arcsec
        The radius of the aperture.

    Returns
    -------
    float64 (n, 3) in the order of `SHAPES`; NaN where nothing is above the noise.
    """
    pixels = np.asarray(image, np.float64)
    y, x = _offsets(pixels.shape[-2:], pixel_scale)
    sky, noise = _sky(pixels)
    known = np.isfinite(pixels) & (np.hypot(x, y) <= radius)
    above = pixels - sky[:, None, None]
    light = np.where(known & (above > 2 * noise[:, None, None]), above, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = light.sum((-2, -1))
        mean_x, mean_y = ((light * axis).sum((-2, -1)) / total for axis in (x, y))
        dx, dy = x - mean_x[:, None, None], y - mean_y[:, None, None]
        xx, yy, xy = ((light * product).sum((-2, -1)) / total for product in (dx * dx, dy * dy, dx * dy))
        ellipticity = np.hypot(xx - yy, 2 * xy) / (xx + yy)
    return np.stack([ellipticity, np.sqrt((xx + yy) / 2), np.hypot(mean_x, mean_y)], axis=1)


def gaussian_fwhm(image: npt.NDArray[Any], pixel_scale: float) -> Float64:
    """FWHM of the round Gaussian that matches each object in the middle of a stamp best, in arcsec.

    Adaptive moments: the weight's centre and width are those of the object under the weight (Bernstein & Jarvis 2002,
    AJ 123, 583, sect. 3.1; for round weights 1 / s^2 = 1 / m - 1 / w^2, m the weighted second moment, w the weight's).

    Parameters
    ----------
    image : (n, y, x), nJy
        NaN pixels count as sky.
    pixel_scale : float, arcsec

    Returns
    -------
    float64 (n,), NaN where the weight finds no light or leaves the middle.
    """
    pixels = np.asarray(image, np.float64)
    y, x = _offsets(pixels.shape[-2:], pixel_scale)
    sky, _ = _sky(pixels)
    light = np.nan_to_num(pixels - sky[:, None, None])
    place = np.zeros((2, len(light), 1, 1))
    width = np.full((len(light), 1, 1), _START)
    lost = np.zeros((len(light), 1, 1), np.bool_)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            dx, dy = x - place[0], y - place[1]
            seen = light * np.exp(-0.5 * (dx**2 + dy**2) / width**2)
            total = seen.sum((-2, -1), keepdims=True)
            lost |= ~(total > 0)
            # A weight as wide as its object halves every offset, so twice the offset that is seen is the whole one.
            place[0] += 2 * (seen * dx).sum((-2, -1), keepdims=True) / total
            place[1] += 2 * (seen * dy).sum((-2, -1), keepdims=True) / total
            moment = (seen * (dx**2 + dy**2)).sum((-2, -1), keepdims=True) / (2 * total)
            own = 1 / (1 / moment - 1 / width**2)
            grown = np.where((moment > 0) & (own > 0), own, (1.2 * width) ** 2)
            width = np.clip(np.sqrt(np.where(moment > 0, grown, _LEAST**2)), _LEAST, _MOST)
            lost |= ~(np.hypot(place[0], place[1]) <= _REACH)
            place, width = np.where(lost, 0.0, place), np.where(lost, _START, width)
    answer: Float64 = np.where(lost, np.nan, _FWHM * width)[:, 0, 0]
    return answer


def _offsets(shape: tuple[int, ...], pixel_scale: float) -> tuple[Float64, Float64]:
    """Arcsec of rows (y, 1) and columns (1, x) from the middle."""
    y, x = (pixel_scale * (np.arange(length, dtype=np.float64) - (length - 1) / 2) for length in shape)
    return y[:, None], x[None, :]


def _sky(pixels: Float64) -> tuple[Float64, Float64]:
    """Level and noise (n,) of the sky: the median of a stamp's rim, and its median deviation as a standard one."""
    side = pixels.shape[-1]
    rim = np.ones(pixels.shape[-2:], np.bool_)
    cut = max(1, side // 8)
    rim[cut:-cut, cut:-cut] = False
    outer = np.ma.masked_invalid(pixels[:, rim])
    masked: Any = np.ma
    level: Float64 = masked.filled(masked.median(outer, axis=1), 0.0)
    noise: Float64 = 1.4826 * masked.filled(masked.median(abs(outer - level[:, None]), axis=1), 0.0)
    return level, noise
