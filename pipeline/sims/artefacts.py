"""Artefacts put into images, with the truth about every pixel that they touched.

Each class is a frozen dataclass with its geometry in pixels of the whole image (0-based centres) and `put`, which
changes a window of the image in place; a large image can be worked through in windows, and gets the same artefacts.
Arrays are (band, y, x) float32 nJy and ivar nJy^-2. The drawing of artefacts from a population is in
`artefact_population.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from pipeline.flags import PixelFlag
from pipeline.sims.light import Float32, Float64

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


@dataclass(frozen=True)
class Gap:
    """A rectangle without data: NaN, zero ivar, CHIP_GAP and NODATA; image coordinates, ends included."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    bands: tuple[int, ...]

    def put(self, window: Window, rng: Generator) -> None:
        """See the class."""
        ys, xs = window.box(self.x_low, self.x_high, self.y_low, self.y_high)
        for band in self.bands:
            window.image[band, ys, xs] = np.nan
            window.ivar[band, ys, xs] = 0
            window.mask[band, ys, xs] |= np.uint32(PixelFlag.CHIP_GAP | PixelFlag.NODATA)


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
            window.image[band, ys, xs] = limit * rng.uniform(0.75, 1.0, rows).astype(np.float32)
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


@dataclass(frozen=True)
class Trail:
    """A satellite's trail: a straight line through (x, y) at `angle`, Gaussian of `width` (FWHM) across.

    `level` is the surface brightness in nJy a pixel on the line; `half_length` (pixels) is infinite for a whole one.
    """

    x: float
    y: float
    angle: float
    width: float
    level: float
    bands: tuple[int, ...]
    half_length: float = np.inf

    def put(self, window: Window, rng: Generator) -> None:
        """Flag TRAIL where the light is above the limit."""
        _, ny, nx = window.image.shape
        sigma = np.float32(self.width / 2.3548)
        for rows, columns in self._blocks(window, ny, nx):
            x, y = window.axes(rows, columns)
            dx, dy = x - np.float32(self.x), y - np.float32(self.y)
            cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
            across = dy * cosine - dx * sine
            light = np.float32(self.level) * np.exp(-0.5 * np.minimum(np.abs(across / sigma), 30) ** 2)
            if np.isfinite(self.half_length):
                light = np.where(np.abs(dx * cosine + dy * sine) <= self.half_length, light, np.float32(0))
            light[light < 1e-3 * self.level] = 0
            for band in self.bands:
                window.add(band, rows, columns, light, PixelFlag.TRAIL, rng)

    def _blocks(self, window: Window, ny: int, nx: int, side: int = 256) -> list[tuple[slice, slice]]:
        """Blocks of the window that the trail may cross."""
        blocks = []
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        for top in range(0, ny, side):
            for left in range(0, nx, side):
                bottom, right = min(top + side, ny), min(left + side, nx)
                x, y = window.x0 + (left + right) / 2 - self.x, window.y0 + (top + bottom) / 2 - self.y
                if abs(y * cosine - x * sine) < side * 0.71 + 3 * self.width:
                    blocks.append((slice(top, bottom), slice(left, right)))
        return blocks


@dataclass(frozen=True)
class CosmicRay:
    """A sharp track of `length` pixels through one band, with `level` nJy in each pixel that it crosses."""

    x: float
    y: float
    angle: float
    length: float
    level: float
    band: int

    def put(self, window: Window, rng: Generator) -> None:
        """Flag COSMIC_RAY on every pixel of the track."""
        _, ny, nx = window.image.shape
        steps = np.arange(0, max(self.length, 1.0), 0.5) - self.length / 2
        columns = np.floor(self.x + steps * np.cos(self.angle) + 0.5).astype(int) - window.x0
        rows = np.floor(self.y + steps * np.sin(self.angle) + 0.5).astype(int) - window.y0
        inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
        ys, xs = np.divmod(np.unique(rows[inside] * nx + columns[inside]), nx)
        window.image[self.band, ys, xs] += np.float32(self.level) * rng.uniform(0.5, 1.0, len(ys)).astype(np.float32)
        window.mask[self.band, ys, xs] |= np.uint32(PixelFlag.COSMIC_RAY)


@dataclass(frozen=True)
class BadColumn:
    """A column of one band from `y_low` to `y_high` that is `level` nJy too bright or too dark."""

    x: int
    y_low: float
    y_high: float
    level: float
    band: int

    def put(self, window: Window, rng: Generator) -> None:
        """Flag BADCOLUMN."""
        ys, xs = window.box(self.x, self.x, self.y_low, self.y_high)
        window.image[self.band, ys, xs] += np.float32(self.level)
        window.mask[self.band, ys, xs] |= np.uint32(PixelFlag.BADCOLUMN)


@dataclass(frozen=True)
class Seam:
    """A straight edge through (x, y): beyond it fewer exposures (noise) and another background (step).

    Attributes
    ----------
    angle : radians
        Direction of the edge; the other side is to its left.
    noise : float
        Noise of the other side over what it was, at least 1.
    step : nJy
        Background added to the other side.
    width : pixels
        Full width about the edge that the truth flags as SEAM.
    """

    x: float
    y: float
    angle: float
    noise: float
    step: float
    width: float
    bands: tuple[int, ...]
    low_exposure: float = 2.0

    def put(self, window: Window, rng: Generator) -> None:
        """Flag SEAM along the edge, and LOW_EXPOSURE beyond it where noise is above `low_exposure`."""
        _, ny, nx = window.image.shape
        x, y = window.axes(slice(0, ny), slice(0, nx))
        across = (y - np.float32(self.y)) * np.float32(np.cos(self.angle)) - (x - np.float32(self.x)) * np.float32(
            np.sin(self.angle)
        )
        beyond = across > 0
        edge = np.where(np.abs(across) <= self.width / 2, np.uint32(PixelFlag.SEAM), np.uint32(0))
        if self.noise >= self.low_exposure:
            edge |= np.where(beyond, np.uint32(PixelFlag.LOW_EXPOSURE), np.uint32(0))
        if not (beyond.any() or edge.any()):
            return
        for band in self.bands:
            window.image[band] += np.where(beyond, np.float32(self.step), np.float32(0))
            window.mask[band] |= edge
            if self.noise > 1:
                ivar = window.ivar[band]
                before = np.where(ivar > 0, 1 / np.maximum(ivar, np.float32(1e-30)), np.float32(0))
                extra = np.where(beyond, np.sqrt(before * np.float32(self.noise**2 - 1)), np.float32(0))
                window.image[band] += extra * rng.standard_normal((ny, nx), np.float32)
                window.ivar[band] = np.where(beyond, ivar / np.float32(self.noise**2), ivar)


@dataclass(frozen=True)
class Ghost:
    """A reflection: a ring of light of `level` nJy a pixel between two radii, in pixels."""

    x: float
    y: float
    inner: float
    outer: float
    level: tuple[float, ...]

    def put(self, window: Window, rng: Generator) -> None:
        """Flag GHOST where the light is above the limit."""
        reach = 1.15 * self.outer
        ys, xs = window.box(self.x - reach, self.x + reach, self.y - reach, self.y + reach)
        x, y = window.axes(ys, xs)
        r = np.sqrt((x - np.float32(self.x)) ** 2 + (y - np.float32(self.y)) ** 2) / np.float32(self.outer)
        soft = np.float32(0.025)
        inside = 1 / (1 + np.exp(np.clip((r - 1) / soft, -50, 50)))
        hole = 1 / (1 + np.exp(np.clip((r - np.float32(self.inner / self.outer)) / soft, -50, 50)))
        for band, level in enumerate(self.level):
            window.add(band, ys, xs, np.float32(level) * (inside - hole), PixelFlag.GHOST, rng)


def put_all(artefacts: Sequence[Artefact], window: Window, rng: Generator) -> None:
    """Put artefacts into a window, light first and gaps last, so that nothing shines in a gap."""
    for artefact in sorted(artefacts, key=lambda item: _ORDER.index(type(item))):
        artefact.put(window, rng)


_ORDER: tuple[type, ...] = (Ghost, Trail, BrightStar, Seam, BadColumn, CosmicRay, Gap)


def _part(low: float, high: float, size: int) -> slice:
    start = int(np.clip(np.ceil(max(low, -1.0)), 0, size))
    stop = int(np.clip(np.floor(min(high, size + 1.0)) + 1, 0, size))
    return slice(start, max(start, stop))
