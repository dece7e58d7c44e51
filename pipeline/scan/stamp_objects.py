"""Objects in ready-made stamps, and smaller stamps cut around them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sep

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """An object of a stamp, away from the stamp's middle.

    Attributes
    ----------
    x, y : float, pixels of the stamp
    distance : float, arcsec
        From the stamp's middle.
    image : float32 (band, side, side)
        Cut about the pixel next to the object; NaN off the stamp.
    """

    x: float
    y: float
    distance: float
    image: Float32


def neighbours(
    pixels: Float32,
    pixel_scale: float,
    side: int,
    *,
    least_distance: float,
    most_missing: float,
    threshold: float,
    min_area_pix: int,
) -> Iterator[Neighbour]:
    """Objects of a stamp that are far enough from its middle, and whose own stamps lie on it for the most part.

    Parameters
    ----------
    pixels : float32 (band, y, x)
        NaN where there is no data.
    pixel_scale : arcsec
    side : int
        Of the stamps to cut, pixels.
    least_distance : arcsec
        From the middle.
    most_missing : float
        Share of an object's stamp without data in some band.
    threshold : float
        Of the detection, in units of the noise of the mean image.
    min_area_pix : int
    """
    height, width = pixels.shape[-2:]
    objects = detected(pixels, threshold, min_area_pix)
    for x, y in zip(objects["x"].tolist(), objects["y"].tolist(), strict=True):
        distance = math.hypot(x - (width - 1) / 2, y - (height - 1) / 2) * pixel_scale
        if distance < least_distance:
            continue
        image = cut(pixels, y, x, side)
        if np.isnan(image).any(axis=0).mean() <= most_missing:
            yield Neighbour(x, y, distance, image)


def detected(pixels: Float32, threshold: float, min_area_pix: int) -> Any:
    """What sep finds in the mean over bands, each in units of its noise: a structured array with `x`, `y`, pixels."""
    planes = np.where(np.isfinite(pixels), pixels, np.nan).astype(np.float64)
    centre = np.nanmedian(planes, axis=(-2, -1), keepdims=True)
    spread = 1.4826 * np.nanmedian(np.abs(planes - centre), axis=(-2, -1), keepdims=True)
    known = np.isfinite(planes) & (spread > 0)
    signal = np.where(known, (planes - centre) / np.where(spread > 0, spread, 1.0), 0.0).mean(axis=0)
    noise = 1.4826 * float(np.median(np.abs(signal - np.median(signal)))) or 1.0
    return sep.extract(np.ascontiguousarray(signal), threshold, err=noise, minarea=min_area_pix)


def cut(pixels: Float32, y: float, x: float, side: int) -> Float32:
    """A square (band, side, side) about the pixel next to a point, NaN off the image."""
    top, left = round(y - (side - 1) / 2), round(x - (side - 1) / 2)
    answer = np.full((len(pixels), side, side), np.nan, dtype=np.float32)
    height, width = pixels.shape[-2:]
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    answer[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels[:, rows, columns]
    return answer


def middle(pixels: Float32, side: int) -> Float32:
    """The middle of a stamp, (band, side, side), NaN off the image."""
    height, width = pixels.shape[-2:]
    return cut(pixels, (height - 1) / 2, (width - 1) / 2, side)
