from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.field import FieldImage, PixelBlock
from pipeline.scan.held import held


def counted(field: FieldImage) -> tuple[FieldImage, list[tuple[int, int]]]:
    reads: list[tuple[int, int]] = []

    def read(y0: int, y1: int) -> PixelBlock:
        reads.append((y0, y1))
        return field.read(y0, y1)

    return replace(field, read=read), reads


def test_a_field_that_fits_is_read_once_and_gives_the_same_rows(
    make_field: Callable[..., FieldImage], make_sky: Callable[..., tuple[np.ndarray, np.ndarray]]
) -> None:
    field, reads = counted(make_field(make_sky()[0]))
    inside, left = held(field, 100.0)
    assert (reads, left) == ([], 100.0 - 12 * 2 * 400 * 500 / 1e6)
    for y0, y1 in ((0, 400), (37, 251), (399, 400)):
        there, expected = inside.read(y0, y1), field.read(y0, y1)
        for name in ("image", "ivar", "mask"):
            np.testing.assert_array_equal(getattr(there, name), getattr(expected, name))
        there.image[:] = 0.0  # It is the caller's to change.
    assert reads[:2] == [(0, 200), (200, 400)]
    assert len(reads) == 2 + 3


def test_a_field_that_does_not_fit_is_read_as_before(
    make_field: Callable[..., FieldImage], make_sky: Callable[..., tuple[np.ndarray, np.ndarray]]
) -> None:
    field = make_field(make_sky()[0])
    assert held(field, 9.0) == (field, 9.0)
