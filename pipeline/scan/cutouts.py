"""Stamps around detections, cut by plain slicing from row blocks of a field.

**Rounding rule.** The pixel of a position is `floor(x + 0.5)`, halves up, in x and in y. A stamp of `size`
pixels covers `pixel - size // 2` to `pixel - size // 2 + size - 1`: an odd stamp has its pixel in the middle,
an even one has it at index `size / 2`, half a pixel above the stamp's centre. That is `Cutout2D`'s rule for
positions that are whole pixels.

**Order.** Stamps are numbered (`row`) by the detections' pixel row, then pixel column, so that one sequential
pass over the field cuts them all; a shard is consecutive rows of that numbering. Tables sorted otherwise join
by `objid`.

Images are background-subtracted with the field's mesh, found flags are in the mask, and where the survey has
no weight the noise map gives `ivar` (see `pipeline.scan.masks.calibrated`). Pixels off the image are NaN with
`ivar` 0 and NODATA, as pixels without data are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.field import FieldImage
from pipeline.flags import PixelFlag
from pipeline.scan.cutouts_stats import StampStats, stamp_stats
from pipeline.scan.detect import Detections
from pipeline.scan.masks import FieldMasks, calibrated
from pipeline.scan_config import CutoutsConfig, VetConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]

_BYTES_PER_PIXEL = 24
"""Of one band of a block: image, ivar, mask, and the flags and maps on their way in."""


@dataclass(frozen=True)
class Cutouts:
    """The stamps of one shard.

    Attributes
    ----------
    shard : int
        Number of the shard within the field, from 0.
    rows : int64 (n,)
        Row of each stamp in the field's cutout arrays: consecutive.
    index : int64 (n,)
        Row of each stamp's detection in the `Detections` that were cut.
    objid : int64 (n,)
    image : float32 (n, band, y, x), nJy
    ivar : float32 (n, band, y, x), nJy^-2
    mask : uint32 (n, band, y, x); see `pipeline.flags`
    stats : StampStats
    """

    shard: int
    rows: Int64
    index: Int64
    objid: Int64
    image: Float32
    ivar: Float32
    mask: UInt32
    stats: StampStats

    def __len__(self) -> int:
        return len(self.rows)


def cut(
    field_image: FieldImage,
    masks: FieldMasks,
    detections: Detections,
    config: CutoutsConfig,
    vet: VetConfig,
    memory_mb: float,
    only: Sequence[int] | None = None,
) -> Iterator[Cutouts]:
    """Cut every detection of a field, shard by shard, in one pass down the field.

    Parameters
    ----------
    field_image : FieldImage
    masks : FieldMasks
        Of the same field.
    detections : Detections
        On the same grid.
    config : CutoutsConfig
    vet : VetConfig
        `centre_radius` says which pixels are the centre in the statistics.
    memory_mb : float
        What the rows in hand may take, MB; a shard's own arrays come on top. It changes no value.
    only : sequence of int, optional
        Numbers of the shards to cut; all by default.

    Yields
    ------
    Cutouts
        Of `config.shard` stamps each, the last of what is left; nothing for no detections.
    """
    size = config.stamp_pixels(field_image.pixel_scale)
    pixel_x, pixel_y = nearest_pixel(detections.x), nearest_pixel(detections.y)
    order = cutting_order(detections)
    bands, (ny, nx) = len(field_image.bands), field_image.shape
    height = max(2 * size, int(memory_mb * 1e6 / (_BYTES_PER_PIXEL * bands * nx)))
    window = _Window(field_image, masks, height)
    centre_pix = vet.centre_radius / field_image.pixel_scale
    for shard, start in enumerate(range(0, len(order), config.shard)):
        if only is not None and shard not in only:
            continue
        index = order[start : start + config.shard]
        shape = (len(index), bands, size, size)
        image = np.empty(shape, np.float32)
        ivar = np.empty(shape, np.float32)
        mask = np.empty(shape, np.uint32)
        for part in _by_block(pixel_y[index], size, height):
            rows = index[part]
            first = max(0, int(pixel_y[rows[0]]) - size // 2)
            last = min(ny, int(pixel_y[rows[-1]]) - size // 2 + size)
            block_y0, planes = window.holding(first, last)
            x, y = pixel_x[rows], pixel_y[rows] - block_y0
            slice_stamps(planes[0], x, y, np.float32(np.nan), image[part])
            slice_stamps(planes[1], x, y, np.float32(0.0), ivar[part])
            slice_stamps(planes[2], x, y, np.uint32(PixelFlag.NODATA), mask[part])
        yield Cutouts(
            shard,
            np.arange(start, start + len(index), dtype=np.int64),
            index,
            detections.objid[index],
            image,
            ivar,
            mask,
            stamp_stats(mask, centre_pix),
        )


def nearest_pixel(position: Float64) -> Int64:
    """The pixel that a coordinate lies in: floor(position + 0.5); int64."""
    return np.floor(np.asarray(position, np.float64) + 0.5).astype(np.int64)


def cutting_order(detections: Detections) -> Int64:
    """Detections in the order of the cutouts' rows: by pixel row, pixel column, then `objid`; int64 (n,)."""
    return np.lexsort((detections.objid, nearest_pixel(detections.x), nearest_pixel(detections.y))).astype(np.int64)


def slice_stamps(
    planes: npt.NDArray[np.generic],
    x: Int64,
    y: Int64,
    fill: np.generic,
    out: npt.NDArray[np.generic],
) -> None:
    """Copy stamps out of planes.

    Parameters
    ----------
    planes : (band, y, x)
        Array or memory map, of any byte order.
    x, y : int64 (n,)
        Pixels of the stamps by the rounding rule; they may lie off the planes.
    fill : scalar
        For pixels off the planes.
    out : (n, band, size, size)
        Filled in place.
    """
    size = out.shape[2]
    ny, nx = planes.shape[1:]
    left, top = x - size // 2, y - size // 2
    inside = (left >= 0) & (top >= 0) & (left + size <= nx) & (top + size <= ny)
    for stamp, x0, y0 in zip(np.flatnonzero(inside).tolist(), left[inside].tolist(), top[inside].tolist(), strict=True):
        out[stamp] = planes[:, y0 : y0 + size, x0 : x0 + size]
    for stamp in np.flatnonzero(~inside).tolist():
        x0, y0 = int(left[stamp]), int(top[stamp])
        low_x, high_x = min(max(x0, 0), nx), max(min(x0 + size, nx), 0)
        low_y, high_y = min(max(y0, 0), ny), max(min(y0 + size, ny), 0)
        out[stamp] = fill
        if low_x < high_x and low_y < high_y:
            out[stamp, :, low_y - y0 : high_y - y0, low_x - x0 : high_x - x0] = planes[:, low_y:high_y, low_x:high_x]


class _Window:
    """Rows of a field in memory that move down it."""

    def __init__(self, field_image: FieldImage, masks: FieldMasks, height: int) -> None:
        self._field_image = field_image
        self._masks = masks
        self._height = height
        self._y0 = 0
        self._y1 = 0
        self._planes: tuple[Float32, Float32, UInt32] | None = None

    def holding(self, first: int, last: int) -> tuple[int, tuple[Float32, Float32, UInt32]]:
        """First row in memory and (image, ivar, mask) of a stretch that holds rows first to last, exclusive."""
        if self._planes is None or first < self._y0 or last > self._y1:
            # The old rows go first: two blocks at once would double the memory.
            self._planes = None
            self._y0, self._y1 = first, min(max(first + self._height, last), self._field_image.shape[0])
            block = calibrated(self._field_image, self._masks, self._y0, self._y1)
            self._planes = (block.image, block.ivar, block.mask)
        return self._y0, self._planes


def _by_block(pixel_y: Int64, size: int, height: int) -> Iterator[slice]:
    """Runs of stamps, sorted by y, that fit in `height` rows."""
    start = 0
    while start < len(pixel_y):
        stop = int(np.searchsorted(pixel_y, pixel_y[start] + height - size, side="right"))
        yield slice(start, stop)
        start = stop
