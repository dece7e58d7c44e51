"""Which HEALPix pixels a HATS catalogue is partitioned by, and whose margin a row lies in; nothing but numbers.

As in hats-import: rows are counted in small cells, cells are merged into the largest pixels that hold no more than so
many rows, and a pixel of which only one child holds any is given up for that child. A partition's margin are the rows
outside it whose cell, of a size somewhat above the margin, touches it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cdshealpix.nested
import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

INDEX_ORDER = 29
"""Order of `_healpix_29`."""

COUNT_ORDER = 8
"""Order of the cells that rows are counted in, 14 arcmin wide: no partition is smaller."""

ALL_SKY = 12


@dataclass(frozen=True)
class Pixels:
    """Pixels that do not overlap, in the order of the sky.

    Attributes
    ----------
    order, pixel : int64 (n,)
        Nested HEALPix.
    """

    order: Int64
    pixel: Int64

    def __len__(self) -> int:
        return len(self.order)

    def ranges(self, order: int = INDEX_ORDER) -> tuple[Int64, Int64]:
        """First cell of an order inside each pixel, and the first one behind it; `order` is none of a larger cell."""
        shift = 2 * (order - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift

    def of(self, cells: Int64, order: int = INDEX_ORDER) -> Int64:
        """Number of the pixel that each cell lies in; -1 for one that lies in none."""
        first, behind = self.ranges(order)
        place = np.searchsorted(first, cells, side="right") - 1
        inside = place >= 0
        inside[inside] = cells[inside] < behind[place[inside]]
        return np.where(inside, place, -1).astype(np.int64)


def partitions(cells: Int64, counts: Int64, most: int) -> Pixels:
    """The pixels to partition rows by.

    Parameters
    ----------
    cells : int64 (n,)
        Cells of `COUNT_ORDER` with rows in them, sorted, each once.
    counts : int64 (n,)
        Rows in each.
    most : int
        Rows a pixel may hold; a single cell may hold more, since none is split.

    Returns
    -------
    Pixels
        Each holds rows; every cell lies in one.
    """
    orders, pixels = [], []
    for order in range(COUNT_ORDER + 1):
        if not len(cells):
            break
        parents, start = np.unique(cells >> (2 * (COUNT_ORDER - order)), return_index=True)
        sums = np.add.reduceat(counts, start)
        few = (sums <= most) if order < COUNT_ORDER else np.ones(len(parents), np.bool_)
        last = np.append(start[1:], len(cells)) - 1
        deep = _common_order(cells[start], cells[last])
        orders.append(deep[few])
        pixels.append(cells[start[few]] >> (2 * (COUNT_ORDER - deep[few])))
        keep = np.repeat(~few, np.diff(np.append(start, len(cells))))
        cells, counts = cells[keep], counts[keep]
    return _sorted(_joined(orders), _joined(pixels))


def with_rest_of_sky(pixels: Pixels) -> Pixels:
    """The pixels, and the largest ones that cover the sky around them: those too have margins, of rows near them."""
    deepest = int(pixels.order.max(initial=0))
    orders, found = [pixels.order], [pixels.pixel]
    undecided = np.arange(ALL_SKY, dtype=np.int64)
    for order in range(deepest + 1):
        above = np.unique(pixels.pixel[pixels.order > order] >> (2 * (pixels.order[pixels.order > order] - order)))
        inside = np.isin(undecided, above)
        empty = undecided[~inside & ~np.isin(undecided, pixels.pixel[pixels.order == order])]
        orders.append(np.full(len(empty), order, np.int64))
        found.append(empty)
        undecided = (undecided[inside][:, None] * 4 + np.arange(4)).ravel()
    return _sorted(_joined(orders), _joined(found))


def margin_pairs(cells: Int64, order: int, sky: Pixels) -> tuple[Int64, Int64]:
    """Which rows lie in whose margin.

    Parameters
    ----------
    cells : int64 (n,)
        Cell of `order` that each row lies in.
    order : int
        Above that of every pixel; its cells are wider than the margin.
    sky : Pixels
        Covering the whole sky.

    Returns
    -------
    row, pixel : int64 (pairs,)
        Row `row` lies outside pixel number `pixel` of `sky`, in a cell that touches it. By pixel, then row.
    """
    home = sky.of(cells, order)
    edge = np.flatnonzero(_at_edge(cells, order, sky.order[home]))
    if not len(edge):
        none = np.empty(0, np.int64)
        return none, none
    unique, inverse = np.unique(cells[edge], return_inverse=True)
    around = cdshealpix.nested.neighbours(unique.astype(np.uint64), order).astype(np.int64)
    owners = np.where(around >= 0, sky.of(around.ravel(), order).reshape(around.shape), -1)
    owners[owners == sky.of(unique, order)[:, None]] = -1
    owners = np.sort(owners, axis=1)
    owners[:, 1:][owners[:, 1:] == owners[:, :-1]] = -1
    of_rows = owners[inverse]
    at, slot = np.nonzero(of_rows >= 0)
    row, pixel = edge[at], of_rows[at, slot]
    by = np.lexsort((row, pixel))
    return row[by], pixel[by]


def _at_edge(cells: Int64, order: int, pixel_order: Int64) -> npt.NDArray[np.bool_]:
    """Whether a cell is on the rim of its pixel: x or y, interleaved in its bits, is the first or the last there."""
    bits = (np.int64(1) << (2 * (order - pixel_order))) - 1
    inside = cells & bits
    rim = np.zeros(len(cells), np.bool_)
    for mask in (np.int64(0x5555555555555555), np.int64(0x2AAAAAAAAAAAAAAA)):
        axis = inside & mask
        rim |= (axis == 0) | (axis == (bits & mask))
    return rim


def _common_order(first: Int64, last: Int64) -> Int64:
    """Order of the smallest pixel that holds both of two cells of `COUNT_ORDER`."""
    differ = first ^ last
    order = np.full(len(first), COUNT_ORDER, np.int64)
    for above in range(1, COUNT_ORDER + 1):
        order[differ >> (2 * (above - 1)) > 0] = COUNT_ORDER - above
    return order


def _sorted(order: Int64, pixel: Int64) -> Pixels:
    by = np.argsort(pixel << (2 * (INDEX_ORDER - order)), kind="stable")
    return Pixels(order[by], pixel[by])


def _joined(parts: list[Int64]) -> Int64:
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)
