"""A field that fits in memory is read once, and not once for each step that looks at it.

Masks, detections and cutouts go through a field some seven times between them, in whole or in part. Each read
converts units, and decodes the file where that is compressed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.field import FieldImage, PixelBlock

_BYTES_PER_PIXEL = 12
"""Of one band: image, ivar and mask."""

_SHARE = 0.5
"""Of the memory given that a held field may take; the rest is for what is computed from it."""

_ROWS = 200
"""Rows that are read at a time. The Legacy Surveys' files are compressed in tiles of 100 rows, of which parts would be
decoded twice."""


def held(field_image: FieldImage, memory_mb: float) -> tuple[FieldImage, float]:
    """The same field, read at most once if it takes up to half of the memory, and the memory that is left, MB.

    Pixels are read when they are first asked for, so that what is wrong with a file is told where it was before.
    """
    ny, nx = field_image.shape
    size = _BYTES_PER_PIXEL * len(field_image.bands) * ny * nx / 1e6
    if size > _SHARE * memory_mb:
        return field_image, memory_mb
    return replace(field_image, read=_Held(field_image)), memory_mb - size


class _Held:
    """Rows of a field from memory; what it gives is the caller's to change."""

    def __init__(self, field_image: FieldImage) -> None:
        self._field_image = field_image
        self._planes: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint32]] | None = None

    def __call__(self, y0: int, y1: int) -> PixelBlock:
        if not 0 <= y0 <= y1 <= self._field_image.shape[0]:
            raise ValueError(f"rows {y0}:{y1} are not inside 0:{self._field_image.shape[0]}")
        if self._planes is None:
            self._planes = self._read()
        image, ivar, mask = self._planes
        return PixelBlock(y0, image[:, y0:y1].copy(), ivar[:, y0:y1].copy(), mask[:, y0:y1].copy())

    def _read(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
        shape = (len(self._field_image.bands), *self._field_image.shape)
        image, ivar, mask = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint32)
        for block in self._field_image.blocks(_ROWS):
            rows = slice(block.y0, block.y1)
            image[:, rows], ivar[:, rows], mask[:, rows] = block.image, block.ivar, block.mask
        return image, ivar, mask
