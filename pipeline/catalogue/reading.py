"""Columns of row groups, read by several threads, in one shape whichever file they come from."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue.footers import READERS, opened
from pipeline.catalogue.sources import Source
from pipeline.io import objects
from pipeline.io.object_path import ObjectPath

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_threads: list[ThreadPoolExecutor] = []
_lock = threading.Lock()
# Threads don't go with a fork: a child begins its own.
os.register_at_fork(after_in_child=_threads.clear)


def read_group(source: Source, group: int, columns: Sequence[str]) -> pa.Table:
    """Some columns of a row group, in the order given and of the types of the source; null where the file has none.

    Parameters
    ----------
    source : Source
    group : int
        Index into `source.groups`.
    columns : sequence of str

    Raises
    ------
    OSError, pyarrow.ArrowException
        If the file is gone or broken.
    """
    file = int(source.groups.file[group])
    there = set(source.footers[file].schema.names)
    wanted = [name for name in columns if name in there]
    try:
        parquet = pq.ParquetFile(opened(source.files[file]))
        found = parquet.read_row_group(int(source.groups.number[group]), columns=wanted, use_threads=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise pa.ArrowInvalid(f"{source.files[file]} is not a readable Parquet file ({error})") from error
    return _shaped(source, found, columns, int(source.groups.rows[group]))


def nothing(source: Source, columns: Sequence[str]) -> pa.Table:
    """A table of these columns without rows."""
    return pa.schema([source.schema.field(name) for name in columns]).empty_table()


def each_of(source: Source, call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Call with each item, several at a time; answers in order."""
    if len(items) < 2:
        return [call(item) for item in items]
    if isinstance(source.files[0], ObjectPath):
        return objects.in_parallel(call, items)
    with _lock:
        if not _threads:
            _threads.append(ThreadPoolExecutor(READERS, thread_name_prefix="catalogue"))
    return list(_threads[0].map(call, items))


def in_waves(groups: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], most: int) -> Iterator[npt.NDArray[np.int64]]:
    """Groups in order, cut into stretches of at most `most` rows, or of one group."""
    while len(groups):
        wave = first_wave(groups, rows, most)
        yield wave
        groups = groups[len(wave) :]


def first_wave(groups: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """The first groups that have at most `most` rows together; one at least."""
    return groups[: max(1, int(np.searchsorted(np.cumsum(rows[groups]), most, side="right")))]


def _shaped(source: Source, found: pa.Table, columns: Sequence[str], rows: int) -> pa.Table:
    fields = [source.schema.field(name) for name in columns]
    arrays = []
    for field in fields:
        if field.name not in found.column_names:
            arrays.append(pa.nulls(rows, field.type))
        else:
            column = found[field.name]
            arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
