"""A star so bright that it has wings, a halo, spikes, a saturated core and a bleed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.flags import PixelFlag
from pipeline.sims.artefacts.window import Window


@dataclass(frozen=True)
class BrightStar:
    """A star with wings, halo, diffraction spikes, a saturated core and its bleed.

    Attributes
    ----------
    x, y : pixels
    flux : (band,) nJy
    fwhm : (band,) pixels
    beta : float
    saturation : (band,) nJy
        Pixel value at which the core is cut off.
    spike_flux, spike_length, spike_width, spike_angle : (band,) nJy, pixels, pixels, radians
        Two crossed spikes that fall off exponentially from the star.
    halo_flux, halo_radius : (band,) nJy, pixels
        A disc with a soft edge.
    bleed_length, bleed_width : pixels
        Half the length along y, and the width, of the bleed where the core is saturated.
    bleed_level : float
        Faintest pixel of the bleed over the saturation.
    """

    x: float
    y: float
    flux: tuple[float, ...]
    fwhm: tuple[float, ...]
    beta: float
    saturation: tuple[float, ...]
    spike_flux: tuple[float, ...] = ()
    spike_length: float = 0.0
    spike_width: float = 1.5
    spike_angle: float = 0.0
    halo_flux: tuple[float, ...] = ()
    halo_radius: float = 0.0
    bleed_length: float = 0.0
    bleed_width: float = 0.0
    bleed_level: float = 1.0

    def put(self, window: Window, rng: Generator) -> None:
        """Wings count as BRIGHT_OBJECT, the rest as SPIKE, HALO, SATURATED and BLEED."""
        for band in range(len(self.flux)):
            if self.halo_flux:
                self._halo(window, band, rng)
            if self.spike_flux:
                self._spikes(window, band, rng)
            self._core(window, band, rng)

    def _core(self, window: Window, band: int, rng: Generator) -> None:
        alpha = self.fwhm[band] / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        peak = self.flux[band] * (self.beta - 1) / (np.pi * alpha**2)
        faintest = 0.02 * window.sigma[band]
        reach = alpha * np.sqrt(max((peak / faintest) ** (1 / self.beta) - 1, 1.0))
        ys, xs = window.box(self.x - reach, self.x + reach, self.y - reach, self.y + reach)
        x, y = window.axes(ys, xs)
        squared = (x - np.float32(self.x)) ** 2 + (y - np.float32(self.y)) ** 2
        light = np.float32(peak) * (1 + squared / np.float32(alpha**2)) ** np.float32(-self.beta)
        window.add(band, ys, xs, light, PixelFlag.BRIGHT_OBJECT, rng)
        limit = self.saturation[band]
        if peak <= limit:
            return
        radius = alpha * np.sqrt((peak / limit) ** (1 / self.beta) - 1)
        cut = window.image[band, ys, xs] > limit
        cut &= squared <= (radius + 2) ** 2
        window.image[band, ys, xs][cut] = limit
        window.mask[band, ys, xs] |= np.where(cut, np.uint32(PixelFlag.SATURATED), np.uint32(0))
        if self.bleed_length > 0:
            length, half = radius + self.bleed_length, self.bleed_width / 2
            ys, xs = window.box(self.x - half, self.x + half, self.y - length, self.y + length)
            rows = ys.stop - ys.start, xs.stop - xs.start
            window.image[band, ys, xs] = limit * rng.uniform(self.bleed_level, 1.0, rows).astype(np.float32)
            window.mask[band, ys, xs] |= np.uint32(PixelFlag.BLEED)

    def _spikes(self, window: Window, band: int, rng: Generator) -> None:
        reach = 6 * self.spike_length
        ys, xs = window.box(self.x - reach, self.x + reach, self.y - reach, self.y + reach)
        x, y = window.axes(ys, xs)
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        light = np.zeros((dy.shape[0], dx.shape[1]), np.float32)
        peak = self.spike_flux[band] / (4 * self.spike_length * self.spike_width * np.sqrt(2 * np.pi))
        for angle in (self.spike_angle, self.spike_angle + np.pi / 2):
            cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            along, across = np.abs(dx * cosine + dy * sine), dy * cosine - dx * sine
            light += np.float32(peak) * np.exp(
                -along / np.float32(self.spike_length) - 0.5 * (across / np.float32(self.spike_width)) ** 2
            )
        window.add(band, ys, xs, light, PixelFlag.SPIKE, rng)

    def _halo(self, window: Window, band: int, rng: Generator) -> None:
        reach = 1.4 * self.halo_radius
        ys, xs = window.box(self.x - reach, self.x + reach, self.y - reach, self.y + reach)
        x, y = window.axes(ys, xs)
        r = np.sqrt((x - np.float32(self.x)) ** 2 + (y - np.float32(self.y)) ** 2) / np.float32(self.halo_radius)
        level = self.halo_flux[band] / (np.pi * self.halo_radius**2)
        light = np.float32(level) / (1 + np.exp(np.clip((r - 1) / np.float32(0.04), -50, 50)))
        window.add(band, ys, xs, light, PixelFlag.HALO, rng)
