"""Artefacts put into images, with the truth about every pixel that they touched.

Each class is a frozen dataclass with its geometry in pixels of the whole image (0-based centres) and `put`, which
changes a window of the image in place; a large image can be worked through in windows, and gets the same artefacts.
Arrays are (band, y, x) float32 nJy and ivar nJy^-2. The drawing of artefacts from a population is in `draw.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.flags import PixelFlag
from pipeline.sims.artefacts.star import BrightStar
from pipeline.sims.artefacts.window import Artefact, Window


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
    """A sharp track of `length` pixels through one band, `faintest` to 1 times `level` nJy in each of its pixels."""

    x: float
    y: float
    angle: float
    length: float
    level: float
    band: int
    faintest: float = 1.0

    def put(self, window: Window, rng: Generator) -> None:
        """Flag COSMIC_RAY on every pixel of the track."""
        _, ny, nx = window.image.shape
        steps = np.arange(0, max(self.length, 1.0), 0.5) - self.length / 2
        columns = np.floor(self.x + steps * np.cos(self.angle) + 0.5).astype(int) - window.x0
        rows = np.floor(self.y + steps * np.sin(self.angle) + 0.5).astype(int) - window.y0
        inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
        ys, xs = np.divmod(np.unique(rows[inside] * nx + columns[inside]), nx)
        window.image[self.band, ys, xs] += np.float32(self.level) * rng.uniform(self.faintest, 1.0, len(ys)).astype(
            np.float32
        )
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
