"""The part of an image that artefacts are put into, with the truth about every pixel that they touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from pipeline.flags import PixelFlag
from pipeline.sims.render.light import Float32, Float64

Mask = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Window:
    """A part of an image in work; every array is changed in place.

    Attributes
    ----------
    image, ivar : float32 (band, y, x)
    mask : uint32 (band, y, x)
        Truth, PixelFlag bits 0-15.
    sigma : float64 (band,), nJy
        Typical sky noise of a pixel, the unit of what counts as touched.
    sky : float64 (band,), nJy a pixel
        Brightness of the sky, which sets the photon noise of artefact light.
    x0, y0 : int
        The image's pixel that is the window's first.
    truth_sigma : float
        Light above this many sigma is flagged.
    """

    image: Float32
    ivar: Float32
    mask: Mask
    sigma: Float64
    sky: Float64
    x0: int = 0
    y0: int = 0
    truth_sigma: float = 1.0

    def axes(self, ys: slice, xs: slice) -> tuple[Float32, Float32]:
        """Image coordinates (x as a row, y as a column) of a part of the window."""
        x = np.arange(xs.start, xs.stop, dtype=np.float32) + np.float32(self.x0)
        y = np.arange(ys.start, ys.stop, dtype=np.float32) + np.float32(self.y0)
        return x[None, :], y[:, None]

    def box(self, x_low: float, x_high: float, y_low: float, y_high: float) -> tuple[slice, slice]:
        """Slices (rows, columns) of the pixels between image coordinates, ends included; may be empty."""
        _, ny, nx = self.image.shape
        return _part(y_low - self.y0, y_high - self.y0, ny), _part(x_low - self.x0, x_high - self.x0, nx)

    def add(
        self, band: int, ys: slice, xs: slice, light: npt.NDArray[np.floating], flag: PixelFlag, rng: Generator
    ) -> None:
        """Add light with its photon noise, and flag where it is above the limit."""
        noise = np.sqrt(np.maximum(light, 0) / np.float32(self.sky[band])) * np.float32(self.sigma[band])
        self.image[band, ys, xs] += light + noise * rng.standard_normal(light.shape, np.float32)
        touched = np.abs(light) > self.truth_sigma * self.sigma[band]
        self.mask[band, ys, xs] |= np.where(touched, np.uint32(flag), np.uint32(0))


class Artefact(Protocol):
    """Something that can be put into a window of an image."""

    def put(self, window: Window, rng: Generator) -> None:
        """Change the window's image, ivar and mask in place; outside the artefact nothing changes."""


def _part(low: float, high: float, size: int) -> slice:
    start = int(np.clip(np.ceil(max(low, -1.0)), 0, size))
    stop = int(np.clip(np.floor(min(high, size + 1.0)) + 1, 0, size))
    return slice(start, max(start, stop))
