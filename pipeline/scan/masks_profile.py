"""First pass over a field: everything that the finders need to see whole, measured block by block.

It keeps meshes of background and noise, mean profiles of columns and rows inside each row or column of
cells, and a binned picture of the signal to noise; at 20,000 x 20,000 pixels in four bands that is some
400 MB, and the pixels themselves are never held beyond one row of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadSurveyData, NoCoverage
from pipeline.field import FieldImage
from pipeline.flags import FATAL_MASK, PixelFlag, has
from pipeline.notes import note
from pipeline.scan.background import Mesh, cell_edges, measure_cells, smooth_mesh
from pipeline.scan.masks_lines import CLIP_SIGMA, filled, measure_lines
from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

BINNED_SIDE = 2000
"""The binned picture has at most about this many bins a side."""


@dataclass(frozen=True)
class FieldProfile:
    """What one pass over a field measures.

    Attributes
    ----------
    background, noise : Mesh
        nJy; smoothed and without holes.
    scatter : float32 (band, cell_y, cell_x), nJy
        The noise without what uneven light in a cell adds to it (`masks_lines`); smoothed and without holes.
    y_edges, x_edges : int64 (cells + 1,)
        Pixel edges of the cells.
    columns, columns_error : float32 (band, cell_y, nx), nJy
        Clipped mean of each column within each row of cells, and its standard error; NaN for no data.
    rows, rows_error : float32 (band, ny, cell_x), nJy
        The same of each row within each column of cells.
    columns_spread, rows_spread : float32, shaped as `columns` and `rows`, nJy
        Standard deviation of the same pixels.
    bin : int
        Side of a bin, pixels.
    binned : float32 (band, ny/bin, nx/bin)
        Mean signal to noise of the pixels, each cut at +-CLIP_SIGMA; NaN where a bin has no data.
    light : float32 (band, ny/bin, nx/bin), nJy
        Mean of the pixels as they are, background and all; NaN where a bin has no data.
    empty : float32 (band, ny/bin, nx/bin)
        Share of a bin's pixels without data for which the survey's mask gives no other reason.
    peak : float32 (band, ny/bin, nx/bin), nJy
        Largest background-subtracted pixel of a bin; 0 where there is none.
    saturated : bool (band, ny/bin, nx/bin)
        Bins with a pixel that the survey's mask calls saturated.
    plateaus : tuple of float32 (n,), nJy
        Per band, the values of pixels with flat and very bright surroundings: saturated cores.
    """

    background: Mesh
    noise: Mesh
    scatter: Float32
    y_edges: Int
    x_edges: Int
    columns: Float32
    columns_error: Float32
    rows: Float32
    rows_error: Float32
    columns_spread: Float32
    rows_spread: Float32
    bin: int
    binned: Float32
    light: Float32
    empty: Float32
    peak: Float32
    saturated: Bool
    plateaus: tuple[Float32, ...]


def profile(
    field_image: FieldImage, box_pix: float, plateau_snr: float = 2000.0, flatness: float = 0.88
) -> FieldProfile:
    """Go through a field once, one row of cells at a time.

    Parameters
    ----------
    field_image : FieldImage
    box_pix : float
        Side of a background cell, pixels.
    plateau_snr, flatness : float
        Smallest signal to noise of a saturated pixel, and how flat its surroundings are (see `plateau`).

    Raises
    ------
    NoCoverage
        If no band has a valid pixel.
    BadSurveyData
        If one band has none while others do, unless the survey allows that, or a band's pixels are all equal.
    """
    ny, nx = field_image.shape
    bands = len(field_image.bands)
    y_edges, x_edges = cell_edges(ny, box_pix), cell_edges(nx, box_pix)
    cells = (len(y_edges) - 1, len(x_edges) - 1)
    side = max(2, -(-max(ny, nx) // BINNED_SIDE))
    bins = (-(-ny // side), -(-nx // side))
    background = np.full((bands, *cells), np.nan, np.float32)
    noise = np.full((bands, *cells), np.nan, np.float32)
    scatter = np.full((bands, *cells), np.nan, np.float32)
    columns = np.full((3, bands, cells[0], nx), np.nan, np.float32)
    rows = np.full((3, bands, ny, cells[1]), np.nan, np.float32)
    total = np.zeros((bands, *bins), np.float32)
    light = np.zeros((bands, *bins), np.float32)
    count = np.zeros((bands, *bins), np.int32)
    empty = np.zeros((bands, *bins), np.int32)
    saturated = np.zeros((bands, *bins), np.int32)
    peak = np.zeros((bands, *bins), np.float32)
    plateaus: list[list[Float32]] = [[] for _ in range(bands)]
    extremes = np.array([[np.inf, -np.inf]] * bands)
    for cell, (y0, y1) in enumerate(pairwise(y_edges)):
        block = field_image.read(int(y0), int(y1))
        for band in range(bands):
            image, usable, low, high = _usable(block.image[band], block.mask[band], FATAL_MASK)
            _count(saturated[band], has(block.mask[band], PixelFlag.SATURATED), int(y0), side)
            _count(empty[band], block.mask[band] == np.uint32(PixelFlag.NODATA), int(y0), side)
            if low > high:
                continue
            extremes[band] = min(extremes[band, 0], low), max(extremes[band, 1], high)
            level, sigma = measure_cells(image, usable, x_edges)
            background[band, cell], noise[band, cell] = level, sigma
            widths = np.diff(x_edges)
            excess = image - np.repeat(filled(level), widths)[None, :]
            scale = np.repeat(filled(sigma), widths)
            lines = measure_lines(excess, usable, x_edges, level, sigma)
            columns[:, band, cell], rows[:, band, int(y0) : int(y1)] = lines.columns, lines.rows
            scatter[band, cell] = lines.scatter
            # Plateaus cut by the border of a row of cells are seen in part, which is enough for their level.
            plateaus[band].append(excess[plateau(excess, plateau_snr * scale[None, :], flatness)])
            planes = total[band], light[band], peak[band], count[band]
            _bin(*planes, image, excess, np.where(scale > 0, scale, np.float32(np.inf)), usable, int(y0), side)
    _refuse_empty(field_image, extremes)
    area = _bin_area(ny, nx, side)
    with np.errstate(invalid="ignore", divide="ignore"):
        binned, light = (np.where(count > 0, sums / count, np.nan).astype(np.float32) for sums in (total, light))
    return FieldProfile(
        Mesh(np.stack([smooth_mesh(mesh) for mesh in background]), field_image.shape),
        Mesh(np.stack([_positive(smooth_mesh(mesh)) for mesh in noise]), field_image.shape),
        np.stack([_positive(smooth_mesh(mesh)) for mesh in scatter]),
        y_edges,
        x_edges,
        columns[0],
        columns[1],
        rows[0],
        rows[1],
        columns[2],
        rows[2],
        side,
        binned,
        light,
        (empty / area).astype(np.float32),
        peak,
        saturated > 0,
        tuple(np.concatenate([np.empty(0, np.float32), *parts]) for parts in plateaus),
    )


def plateau(excess: Float32, threshold: Float32 | float, flatness: float) -> Bool:
    """Pixels whose 3 x 3 surroundings are all above `threshold` and flat.

    Flat means that the faintest of the nine is more than `flatness` of the brightest; for a PSF of FWHM 5
    pixels it is at most 0.80. NaN is never flat. The outermost pixels of the array are never found.
    """
    flat = np.zeros(excess.shape, bool)
    bright = excess > threshold
    if not bright.any() or min(excess.shape) < 3:
        return flat
    y, x = np.nonzero(bright[1:-1, 1:-1])
    around = np.stack([excess[y + dy, x + dx] for dy in range(3) for dx in range(3)])
    with np.errstate(invalid="ignore"):
        keep = around.min(axis=0) > flatness * around.max(axis=0)
    flat[y[keep] + 1, x[keep] + 1] = True
    return flat


@native
def _usable(image: Float32, mask: npt.NDArray[np.uint32], fatal: np.uint32) -> tuple[Float32, Bool, float, float]:
    """A band's rows with zeros where there is no data, which pixels carry sky, and the least and largest of those."""
    clean = np.empty(image.shape, np.float32)
    usable = np.empty(image.shape, np.bool_)
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = image[y, x]
            good = np.isfinite(value) and (mask[y, x] & fatal) == 0
            usable[y, x] = good
            clean[y, x] = value if good else np.float32(0.0)
            low, high = (min(low, value), max(high, value)) if good else (low, high)
    return clean, usable, np.float64(low), np.float64(high)


@native
def _count(binned: Int32, plane: Bool, y0: int, side: int) -> None:
    """Add to a binned picture how many pixels of a plane of rows `y0`, ... are set."""
    for y in range(plane.shape[0]):
        found = False
        for x in range(plane.shape[1]):
            found |= plane[y, x]
        for x in range(plane.shape[1] if found else 0):
            binned[(y0 + y) // side, x // side] += plane[y, x]


@native
def _bin(
    total: Float32,
    light: Float32,
    peak: Float32,
    count: Int32,
    image: Float32,
    excess: Float32,
    scale: Float32,
    usable: Bool,
    y0: int,
    side: int,
) -> None:
    """Add rows that start at `y0` to the binned pictures, which their bins may share with other rows.

    Rows of a bin come first and then its columns, so that whole lines are added at once.
    """
    height, width = image.shape
    clip = np.float32(CLIP_SIGMA)
    signals, lights, peaks = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    counts = np.empty(width, np.int32)
    top = 0
    while top < height:
        bottom = min(((y0 + top) // side + 1) * side - y0, height)
        for y in range(top, bottom):
            for x in range(width):
                signal = min(max(excess[y, x] / scale[x], -clip), clip) if usable[y, x] else np.float32(0.0)
                bright = excess[y, x] if usable[y, x] else np.float32(0.0)
                first = y == top
                signals[x] = signal if first else signals[x] + signal
                lights[x] = image[y, x] if first else lights[x] + image[y, x]
                peaks[x] = bright if first else max(peaks[x], bright)
                counts[x] = usable[y, x] if first else counts[x] + usable[y, x]
        row = (y0 + top) // side
        for place in range(total.shape[1]):
            left = place * side
            signal, bright, brightest, number = signals[left], lights[left], peaks[left], counts[left]
            for x in range(left + 1, min(left + side, width)):
                signal += signals[x]
                bright += lights[x]
                brightest = max(brightest, peaks[x])
                number += counts[x]
            total[row, place] += signal
            light[row, place] += bright
            peak[row, place] = max(peak[row, place], brightest)
            count[row, place] += number
        top = bottom


def _bin_area(ny: int, nx: int, side: int) -> Int:
    heights = np.minimum(side, ny - np.arange(0, ny, side))
    widths = np.minimum(side, nx - np.arange(0, nx, side))
    area: Int = heights[:, None] * widths[None, :]
    return area


def _positive(noise: Float32) -> Float32:
    """A noise mesh in which a cell without scatter takes the median of the others."""
    good = noise[noise > 0]
    return np.where(noise > 0, noise, np.float32(np.median(good) if good.size else 1.0)).astype(np.float32)


def _refuse_empty(field_image: FieldImage, extremes: npt.NDArray[np.float64]) -> None:
    name = field_image.field.field_id
    if not np.isfinite(extremes).any():
        raise NoCoverage(
            f"field {name}: no usable pixel in any of the bands {', '.join(field_image.bands)}: "
            "each is without data, or fatally flagged by the survey's mask."
        )
    for band, (low, high) in zip(field_image.bands, extremes, strict=True):
        paths = sorted(set(field_image.field.planes.get(band, {}).values()))
        where = f" ({', '.join(paths)})" if paths else ""
        if not np.isfinite(low):
            unusable = f"band {band}{where} has no usable pixel (without data, or fatally flagged by the survey's mask)"
            if field_image.may_lack_bands:
                note(f"field {name}: {unusable}; its rows are flagged MISSING_BAND if the ensemble needs it.")
                continue
            raise BadSurveyData(
                f"field {name}: {unusable}, while other bands have some; mend the file, "
                'leave the band out of the scan, or set fields.missing_band = "empty" in the survey\'s TOML.'
            )
        if low == high:
            raise BadSurveyData(
                f"field {name}: every valid pixel of band {band}{where} is {low:g} nJy; "
                "mend the file or leave the band out of the scan."
            )
