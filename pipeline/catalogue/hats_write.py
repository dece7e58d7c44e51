"""The Parquet files of a HATS catalogue and of its margin cache, one partition in memory at a time.

Rows at the rim of a partition lie in the margin of others. They are set aside in one Arrow file a partition, a batch
for each margin that they belong to, and every margin is put together from its batches at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from pipeline.catalogue.hats_pixels import INDEX_ORDER, Pixels, margin_pairs
from pipeline.io.tables import ROW_GROUP

Int64 = npt.NDArray[np.int64]

INDEX = "_healpix_29"
COMPRESSION_LEVEL = 3
"""Of zstd: HATS's own default of 15 takes three times as long and saves a twentieth of such columns."""


class Margins:
    """Rows set aside for the margins of a catalogue's pixels and of the sky around them.

    Parameters
    ----------
    folder : Path
        For what is set aside; made here, and empty again after `tables`.
    sky : Pixels
        The catalogue's pixels and those around them, covering the whole sky.
    order : int
        Of the cells that margins are made of.
    """

    def __init__(self, folder: Path, sky: Pixels, order: int) -> None:
        folder.mkdir(parents=True)
        self._folder, self._sky, self._order = folder, sky, order
        self._batches: dict[int, list[tuple[Path, int]]] = {}

    def set_aside(self, number: int, table: pa.Table) -> None:
        """Keep the rows of partition `number` that lie in some margin."""
        cells = table[INDEX].to_numpy() >> (2 * (INDEX_ORDER - self._order))
        row, pixel = margin_pairs(cells, self._order, self._sky)
        if not len(row):
            return
        path = self._folder / f"{number}.arrow"
        with ipc.new_file(path, table.schema) as writer:
            owners, start = np.unique(pixel, return_index=True)
            for count, (owner, rows) in enumerate(zip(owners, np.split(row, start[1:]), strict=True)):
                writer.write_batch(table.take(pa.array(rows)).combine_chunks().to_batches()[0])
                self._batches.setdefault(int(owner), []).append((path, count))

    def tables(self) -> Iterator[tuple[int, int, pa.Table]]:
        """Order, pixel and rows of every margin with any, in order of the sky; rows in order of cell, field, objid."""
        for number in sorted(self._batches):
            batches = [_batch(path, count) for path, count in self._batches[number]]
            # Partitions were set aside in the order of the sky, so their rows are sorted one behind the other.
            yield int(self._sky.order[number]), int(self._sky.pixel[number]), pa.Table.from_batches(batches)
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()


def write_partitions(
    catalogue: Path, pixels: Pixels, rows: Callable[[int, int], pa.Table], margins: Margins
) -> Iterator[tuple[int, int]]:
    """Write the partitions of a catalogue one after the other.

    Parameters
    ----------
    catalogue : Path
    pixels : Pixels
    rows : callable
        First cell of order 29 and the one behind the last -> the rows there, sorted by cell.
    margins : Margins

    Yields
    ------
    order, pixel
        Of each as it is written.
    """
    first, behind = pixels.ranges()
    for number, (order, pixel) in enumerate(zip(pixels.order.tolist(), pixels.pixel.tolist(), strict=True)):
        table = rows(int(first[number]), int(behind[number]))
        write_partition(catalogue, order, pixel, table)
        margins.set_aside(number, table)
        yield order, pixel


def write_partition(catalogue: Path, order: int, pixel: int, table: pa.Table) -> None:
    """Write the rows of one pixel where HATS looks for them."""
    from hats.io.file_io.file_io import get_parquet_write_table_kwargs

    path = partition_file(catalogue, order, pixel)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = get_parquet_write_table_kwargs(
        table.schema, write_table_kwargs={"row_group_size": ROW_GROUP, "compression_level": COMPRESSION_LEVEL}
    )
    pq.write_table(table, path, **options)


def partition_file(catalogue: Path, order: int, pixel: int) -> Path:
    """Where HATS looks for a pixel's rows."""
    folder = catalogue / "dataset" / f"Norder={order}" / f"Dir={pixel // 10_000 * 10_000}"
    return folder / f"Npix={pixel}.parquet"


def partition_files(catalogue: Path, pixels: Pixels) -> list[Path]:
    """The same of all pixels, in order of the sky."""
    pairs = zip(pixels.order.tolist(), pixels.pixel.tolist(), strict=True)
    return [partition_file(catalogue, order, pixel) for order, pixel in pairs]


def _batch(path: Path, number: int) -> pa.RecordBatch:
    with ipc.open_file(path) as reader:
        return reader.get_batch(number)
