"""Background and noise of a field as small meshes, evaluated for any rows.

A field is divided into cells of about `background_box`; each cell gives a sigma-clipped background and
noise (Bertin & Arnouts 1996, section 3), holes are filled from the nearest measured cell, a 3 x 3 median
takes out cells under bright objects, and a bilinear surface through the cell centres gives the map. The
surface at a pixel depends on that pixel's place alone, never on the rows asked for together with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

SAMPLE_PIX = 6000
"""A cell's statistics are taken from at most about this many pixels, evenly spread."""

MIN_VALID_FRACTION = 0.25
"""A cell with a smaller share of usable pixels is filled from its neighbours."""


@dataclass(frozen=True)
class Mesh:
    """A map of a field known at the centres of cells.

    Attributes
    ----------
    values : float32 (band, cell_y, cell_x)
        Finite everywhere. The unit is that of what was measured, nJy for background and noise.
    shape : (ny, nx)
        Of the field, pixels.
    """

    values: Float32
    shape: tuple[int, int]

    def rows(self, y0: int, y1: int) -> Float32:
        """The map on rows y0 to y1 (exclusive): float32 (band, y, x), C-contiguous."""
        return np.stack([self.band_rows(band, y0, y1) for band in range(self.values.shape[0])])

    def band_rows(self, band: int, y0: int, y1: int) -> Float32:
        """One band of the map on rows y0 to y1 (exclusive): float32 (y, x).

        Beyond the outermost cell centres the map is constant. Every step works pixel by pixel, so a row
        has the same bits whichever block it is evaluated in.
        """
        mesh = self.values[band]
        low_y, part_y = _between_centres(self.shape[0], mesh.shape[0], y0, y1)
        low_x, part_x = _between_centres(self.shape[1], mesh.shape[1], 0, self.shape[1])
        surface = np.empty((y1 - y0, self.shape[1]), np.float32)
        _bilinear(surface, mesh, low_y, part_y, low_x, part_x)
        return surface


@native
def _bilinear(surface: Float32, mesh: Float32, low_y: Int, part_y: Float32, low_x: Int, part_x: Float32) -> None:
    """Fill in the surface through the cells of a mesh."""
    cells = mesh.shape[1]
    starts = np.searchsorted(low_x, np.arange(cells + 1))
    for y in range(surface.shape[0]):
        below, above = mesh[low_y[y]], mesh[min(low_y[y] + 1, mesh.shape[0] - 1)]
        line = below + part_y[y] * (above - below)
        for cell in range(cells):
            left = line[cell]
            rise = line[min(cell + 1, cells - 1)] - left
            for x in range(starts[cell], starts[cell + 1]):
                surface[y, x] = part_x[x] * rise + left


def cell_edges(length: int, box: float) -> Int:
    """Pixel edges of the cells along one axis: int64 (cells + 1), first 0, last `length`.

    The number of cells is `length / box` rounded, at least one; cells differ by at most one pixel.
    """
    cells = max(1, round(length / box))
    return (np.arange(cells + 1, dtype=np.int64) * length) // cells


def cell_statistics(pixels: Float32) -> tuple[float, float]:
    """Background and noise of one cell, clipped at three sigma about the median until stable.

    Parameters
    ----------
    pixels : float32 (n,)
        Finite values; their order does not matter.

    Returns
    -------
    background, noise : float
        The mode estimated as 2.5 median - 1.5 mean where the clipped distribution is nearly symmetric
        (|mean - median| < 0.3 noise), else the median (Bertin & Arnouts 1996), and the clipped standard
        deviation. NaN for no pixels.
    """
    if pixels.size == 0:
        return float("nan"), float("nan")
    return _clipped(np.sort(pixels))


@native
def _clipped(ordered: Float32) -> tuple[float, float]:
    """Background and noise of sorted values."""
    size = ordered.size
    centre = np.float64(ordered[size // 2])
    sums, squares = np.zeros(size + 1), np.zeros(size + 1)
    for k in range(size):
        value = np.float64(ordered[k])
        sums[k + 1] = sums[k] + value
        # Squares about the median, because large offsets would cost the variance its digits.
        squares[k + 1] = squares[k] + (value - centre) ** 2
    low, high = 0, size
    mean = median = noise = 0.0
    for _ in range(12):
        number = high - low
        mean = (sums[high] - sums[low]) / number
        median = 0.5 * (np.float64(ordered[(low + high - 1) // 2]) + np.float64(ordered[(low + high) // 2]))
        noise = np.sqrt(max((squares[high] - squares[low]) / number - (mean - centre) ** 2, 0.0))
        new_low = _first(ordered, median - 3 * noise, False)
        new_high = _first(ordered, median + 3 * noise, True)
        if (new_low == low and new_high == high) or new_high <= new_low:
            break
        low, high = new_low, new_high
    background = 2.5 * median - 1.5 * mean if abs(mean - median) < 0.3 * noise else median
    return background, noise


@native
def _first(ordered: Float32, value: float, above: bool) -> int:
    """Index of the first of sorted values that is at least `value`, or `above` it."""
    low, high = 0, ordered.size
    while low < high:
        half = (low + high) // 2
        if ordered[half] < value or (above and ordered[half] == value):
            low = half + 1
        else:
            high = half
    return low


def measure_cells(image: Float32, usable: Bool, x_edges: Int) -> tuple[Float32, Float32]:
    """Background and noise of one row of cells in one band.

    Parameters
    ----------
    image, usable : (y, x)
        The rows of the cells; only pixels where `usable` is True count.
    x_edges : (cells + 1,)

    Returns
    -------
    background, noise : float32 (cells,)
        NaN where less than `MIN_VALID_FRACTION` of a cell is usable.
    """
    cells = len(x_edges) - 1
    background = np.full(cells, np.nan, np.float32)
    noise = np.full(cells, np.nan, np.float32)
    for cell in range(cells):
        part = slice(int(x_edges[cell]), int(x_edges[cell + 1]))
        pixels = _sample(image[:, part], usable[:, part])
        if pixels.size:
            background[cell], noise[cell] = cell_statistics(pixels)
    return background, noise


@native
def _sample(image: Float32, usable: Bool) -> Float32:
    """An even sample of the usable pixels of a cell, row by row; none of a cell that is too empty."""
    height, width = image.shape
    number = 0
    for y in range(height):
        for x in range(width):
            number += usable[y, x]
    if number < max(MIN_VALID_FRACTION * (height * width), 1):
        return np.empty(0, np.float32)
    stride = max(1, number // SAMPLE_PIX)
    pixels = np.empty(-(-number // stride), np.float32)
    seen = taken = 0
    for y in range(height):
        for x in range(width):
            if usable[y, x]:
                if seen == taken * stride:
                    pixels[taken] = image[y, x]
                    taken += 1
                seen += 1
    return pixels


def smooth_mesh(values: Float32) -> Float32:
    """Fill a mesh's holes from the nearest measured cell and take a 3 x 3 median.

    Parameters
    ----------
    values : float32 (cell_y, cell_x)
        NaN where a cell could not be measured.

    Returns
    -------
    float32 (cell_y, cell_x)
        Edge cells use the neighbours that exist. All NaN in gives all NaN out.
    """
    hole = ~np.isfinite(values)
    if hole.all():
        return values
    if hole.any():
        nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
        values = values[tuple(nearest)]
    padded = np.pad(values, 1, constant_values=np.nan)
    height, width = values.shape
    around = np.stack([padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)])
    smoothed: Float32 = np.nanmedian(around, axis=0).astype(np.float32)
    return smoothed


def _between_centres(length: int, cells: int, start: int, stop: int) -> tuple[Int, Float32]:
    """Index of the cell centre at or before each pixel, and the share of the way to the next."""
    edges = (np.arange(cells + 1, dtype=np.int64) * length) // cells
    centres = (edges[:-1] + edges[1:] - 1) / 2
    pixels = np.arange(start, stop)
    low = np.clip(np.searchsorted(centres, pixels, side="right") - 1, 0, max(cells - 2, 0))
    if cells == 1:
        return np.zeros(len(pixels), np.int64), np.zeros(len(pixels), np.float32)
    part = np.clip((pixels - centres[low]) / (centres[low + 1] - centres[low]), 0.0, 1.0)
    return low.astype(np.int64), part.astype(np.float32)
