"""Found flags of a whole field, kept small: shapes are painted on rows, pixels lie in compressed strips."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.flags import FOUND_SHIFT, PixelFlag

UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]

STRIP_ROWS = 128
"""Rows of one compressed strip."""


@dataclass(frozen=True)
class Shape:
    """A region of one band with one flag: every pixel within `half_width` of a line segment.

    A segment of length zero is a disc; `square` ends the segment's band at its ends instead of rounding it,
    so that a box is a horizontal segment. Pixels nearer than `hole` to the line are left out, which makes a disc a
    ring. Coordinates and widths are pixels.
    """

    band: int
    flag: PixelFlag
    x0: float
    y0: float
    x1: float
    y1: float
    half_width: float
    square: bool = False
    hole: float = 0.0

    def paint(self, plane: UInt16, top: int) -> None:
        """Set the flag on the pixels of rows `top`, `top` + 1, ... that the region covers.

        Parameters
        ----------
        plane : uint16 (y, x)
            Changed in place.
        top : int
            Row of the field that row 0 of `plane` is.
        """
        reach = self.half_width
        first = max(int(np.floor(min(self.y0, self.y1) - reach)), top)
        last = min(int(np.ceil(max(self.y0, self.y1) + reach)) + 1, top + plane.shape[0])
        if first >= last:
            return
        left, right = self._columns(first, last - 1)
        left, right = max(left, 0), min(right, plane.shape[1])
        if left >= right:
            return
        y = np.arange(first, last, dtype=np.float64)[:, None] - self.y0
        x = np.arange(left, right, dtype=np.float64)[None, :] - self.x0
        dx, dy = self.x1 - self.x0, self.y1 - self.y0
        length = dx * dx + dy * dy
        along = (x * dx + y * dy) / length if length > 0 else np.zeros_like(x * y)
        nearest = np.clip(along, 0.0, 1.0)
        squared = (x - nearest * dx) ** 2 + (y - nearest * dy) ** 2
        inside = (squared <= reach * reach) & (squared >= self.hole * self.hole)
        if self.square and length > 0:
            inside &= (along >= 0.0) & (along <= 1.0)
        plane[first - top : last - top, left:right][inside] |= np.uint16(int(self.flag))

    def _columns(self, first: int, last: int) -> tuple[int, int]:
        """Columns that the region can reach on rows first to last, one past the last."""
        low, high = sorted((self.x0, self.x1))
        dy = self.y1 - self.y0
        if abs(dy) > 1e-9:
            slope = (self.x1 - self.x0) / dy
            slant = self.half_width * float(np.hypot(1.0, slope))
            ends = (self.x0 + (first - self.y0) * slope, self.x0 + (last - self.y0) * slope)
            low, high = max(low, min(ends) - slant), min(high, max(ends) + slant)
        return int(np.floor(low - self.half_width)), int(np.ceil(high + self.half_width)) + 1


@dataclass(frozen=True)
class FoundFlags:
    """The flags that the finders set, for every band and pixel of a field.

    Attributes
    ----------
    strips : tuple of bytes
        zlib of uint16 (band, `STRIP_ROWS` or what is left, nx); PixelFlag bits.
    shape : (band, ny, nx)
    """

    strips: tuple[bytes, ...]
    shape: tuple[int, int, int]

    def rows(self, y0: int, y1: int) -> UInt32:
        """Rows y0 to y1 (exclusive) as uint32 (band, y, x), the flags in bits 16-31."""
        bands, ny, nx = self.shape
        flags = np.zeros((bands, y1 - y0, nx), np.uint32)
        for index in range(y0 // STRIP_ROWS, -(-y1 // STRIP_ROWS)):
            top = index * STRIP_ROWS
            height = min(STRIP_ROWS, ny - top)
            strip = np.frombuffer(zlib.decompress(self.strips[index]), np.uint16).reshape(bands, height, nx)
            first, last = max(y0, top), min(y1, top + height)
            flags[:, first - y0 : last - y0] = strip[:, first - top : last - top]
        flags <<= np.uint32(FOUND_SHIFT)
        return flags


def packed(flags: UInt16) -> bytes:
    """One strip of found flags, uint16 (band, y, x), compressed."""
    return zlib.compress(flags.tobytes(), 1)


def box(band: int, flag: PixelFlag, x0: int, x1: int, y0: int, y1: int) -> Shape:
    """The pixels x0 <= x < x1, y0 <= y < y1 of a band."""
    middle = (y0 + y1 - 1) / 2
    return Shape(band, flag, x0 - 0.5, middle, x1 - 0.5, middle, (y1 - y0) / 2, square=True)


def disc(band: int, flag: PixelFlag, x: float, y: float, radius: float, hole: float = 0.0) -> Shape:
    """The pixels within `radius` of a point, and no nearer than `hole`."""
    return Shape(band, flag, x, y, x, y, radius, hole=hole)
