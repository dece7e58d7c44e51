"""What the footers of a catalogue's files say: columns, and where the rows of each group lie and how good they are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import QueryError
from pipeline.io import objects
from pipeline.io.arrow_objects import FIRST
from pipeline.io.object_file import ObjectFile
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place

READERS = 4
"""Files read at a time here: reading waits for the disk now and then, decoding uses every core."""

_WIDE = (-np.inf, np.inf)
_MOST = 200_000
"""Footers remembered in a process, some hundred bytes each."""


@dataclass(frozen=True, kw_only=True)
class RowGroups:
    """What footers say of row groups.

    Attributes
    ----------
    rows : int64, (group,)
    first, last : int64, (group,)
        Smallest and largest `_healpix_29`; the whole range of int64 where the file does not say.
    box : float64, (group, 4)
        Smallest and largest ra, smallest and largest dec, in degrees; infinitely wide where the file does not say.
    best : float64, (group,)
        Largest score; -inf where no row has one, inf where the file does not say.
    fields : object, (group, 2)
        First and last `field_id` in order of the alphabet; None where the file does not say.
    """

    rows: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    box: npt.NDArray[np.float64]
    best: npt.NDArray[np.float64]
    fields: npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Footer(RowGroups):
    """One file's columns, as written with their metadata, and its row groups."""

    schema: pa.Schema


@dataclass(frozen=True, kw_only=True)
class Groups(RowGroups):
    """Row groups of many files, one after another: of which file each is, and which of its groups; int32, (group,)."""

    file: npt.NDArray[np.int32]
    number: npt.NDArray[np.int32]


_remembered: dict[tuple[Any, ...], Footer] = {}
_schemas: dict[bytes, pa.Schema] = {}
_lock = threading.Lock()


def read_footers(files: Sequence[Place], tokens: Sequence[Any]) -> list[Footer]:
    """The footers of files; those read before in this process are not read again.

    Parameters
    ----------
    files : sequence of Path or ObjectPath
    tokens : sequence
        What tells a file from another that takes its place, such as its size and time.

    Raises
    ------
    QueryError
        If a file is no readable Parquet file.
    OSError
        If it is not there.
    """
    keys = [(str(file), token) for file, token in zip(files, tokens, strict=True)]
    with _lock:
        there = {key: _remembered[key] for key in keys if key in _remembered}
    absent = [(key, file) for key, file in zip(keys, files, strict=True) if key not in there]
    if len(absent) > 1:
        if isinstance(absent[0][1], ObjectPath):
            found = objects.in_parallel(lambda item: _footer(item[1]), absent)
        else:
            with ThreadPoolExecutor(READERS) as threads:
                found = list(threads.map(lambda item: _footer(item[1]), absent, chunksize=16))
    else:
        found = [_footer(file) for _, file in absent]
    fresh = {key: footer for (key, _), footer in zip(absent, found, strict=True)}
    with _lock:
        if fresh and len(_remembered) + len(fresh) > _MOST:
            _remembered.clear()
        _remembered.update(fresh)
    there.update(fresh)
    return [there[key] for key in keys]


def all_groups(footers: Sequence[Footer]) -> Groups:
    """Row groups of files in order."""
    counts = [len(footer.rows) for footer in footers]
    return Groups(
        file=np.repeat(np.arange(len(footers), dtype=np.int32), counts),
        number=_joined([np.arange(count, dtype=np.int32) for count in counts], np.int32),
        rows=_joined([footer.rows for footer in footers], np.int64),
        first=_joined([footer.first for footer in footers], np.int64),
        last=_joined([footer.last for footer in footers], np.int64),
        box=_joined([footer.box for footer in footers], np.float64).reshape(-1, 4),
        best=_joined([footer.best for footer in footers], np.float64),
        fields=_joined([footer.fields for footer in footers], np.object_).reshape(-1, 2),
    )


def opened(file: Place) -> Any:
    """A file as `pyarrow.parquet.ParquetFile` takes it; of an object only what is asked for is fetched."""
    return pa.PythonFile(ObjectFile(file, FIRST), mode="r") if isinstance(file, ObjectPath) else file


def _joined(parts: list[npt.NDArray[Any]], kind: type) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _footer(file: Place) -> Footer:
    if isinstance(file, Path) and file.is_dir():
        raise QueryError(f"{file} is a folder, not a Parquet file.")
    try:
        metadata = pq.read_metadata(opened(file))
        schema = _schema(metadata)
    except pa.ArrowInvalid as error:
        raise QueryError(f"{file} is not a readable Parquet file ({error}).") from error
    names = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
    whole = np.iinfo(np.int64)
    rows, first, last, box, best, fields = [], [], [], [], [], []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows.append(group.num_rows)
        low, high = _range(group, names.get("_healpix_29"))
        first.append(low if low is not None else whole.min)
        last.append(high if high is not None else whole.max)
        sides = [_range(group, names.get(axis)) for axis in ("ra", "dec")]
        box.append([side if side is not None else edge for two in sides for side, edge in zip(two, _WIDE, strict=True)])
        best.append(_best(group, names.get("score")))
        fields.append([name if isinstance(name, str) else None for name in _range(group, names.get("field_id"))])
    return Footer(
        schema=schema,
        rows=np.array(rows, np.int64),
        first=np.array(first, np.int64),
        last=np.array(last, np.int64),
        box=np.array(box, np.float64).reshape(-1, 4),
        best=np.array(best, np.float64),
        fields=np.array(fields, np.object_).reshape(-1, 2),
    )


def _schema(metadata: Any) -> pa.Schema:
    """Files of one scan have one schema: it is taken apart once."""
    said = metadata.metadata or {}
    key = said.get(b"ARROW:schema")
    if key is None:
        return metadata.schema.to_arrow_schema()
    known = _schemas.get(key)
    if known is None:
        known = _schemas[key] = metadata.schema.to_arrow_schema()
    return known


def _range(group: Any, column: int | None) -> tuple[Any, Any]:
    found = group.column(column).statistics if column is not None else None
    return (found.min, found.max) if found is not None and found.has_min_max else (None, None)


def _best(group: Any, column: int | None) -> float:
    found = group.column(column).statistics if column is not None else None
    if found is None:
        return np.inf
    if found.has_min_max:
        # A writer that lets NaN into its statistics says nothing by them, nor does a column that holds no numbers.
        return float(found.max) if isinstance(found.max, (int, float)) and np.isfinite(found.max) else np.inf
    return -np.inf if found.has_null_count and found.null_count == group.num_rows else np.inf
