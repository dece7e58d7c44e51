"""Tables in memory and as Parquet: built against the schema, written whole, with bytes that depend on the rows alone.

Missing numbers are null from here on: a NaN sorts above every real score in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ProductMismatch
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place
from pipeline.io.writing import atomic_write
from pipeline.schema import Column, arrow_schema

ROW_GROUP = 20_000
"""Rows a row group: small enough for a cone to skip most of a field, large enough to compress."""


def build_table(columns: Sequence[Column], values: Mapping[str, Any]) -> pa.Table:
    """A table of exactly these columns, in their order.

    Parameters
    ----------
    columns : sequence of Column
    values : mapping
        name -> array or list, all of one length. Integers must come as integers: an id that has been through
        a float is refused, whatever its value. NaN, None and masked values become null in nullable columns.
        float64 may be rounded to float32, but not the other way about.

    Raises
    ------
    ValueError
        If a column is missing, too many or of another length; if a value does not fit its type; or if a
        column that is not nullable has a missing number, or any has an infinite one.
    """
    names = [column.name for column in columns]
    absent, extra = [name for name in names if name not in values], [name for name in values if name not in names]
    if absent or extra:
        raise ValueError(f"columns missing: {absent}; columns that the schema does not have: {extra}")
    lengths = {name: len(values[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}")
    return pa.Table.from_arrays(
        [_array(column, values[column.name]) for column in columns], schema=arrow_schema(columns)
    )


def write_table(path: Place, table: pa.Table) -> None:
    """Write a table as Parquet, all of it or nothing.

    The same rows give the same bytes, however the table was put together in memory; sorting is the caller's.
    A reader sees the old file or the new one.

    Parameters
    ----------
    path : Path or ObjectPath
        Its folder is made if need be.
    table : pyarrow.Table
    """
    atomic_write(path, parquet_bytes(table))


def parquet_bytes(table: pa.Table, row_group: int | None = None) -> bytes:
    """A table as the bytes of a Parquet file: zstd, statistics, the schema's metadata; `ROW_GROUP` rows in a group."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        _one_chunk(table),
        sink,
        compression="zstd",
        row_group_size=row_group or ROW_GROUP,
        version="2.6",
        write_statistics=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_table(path: Place, columns: Sequence[Column] | None = None) -> pa.Table:
    """Read a Parquet file that `write_table` wrote.

    Parameters
    ----------
    path : Path or ObjectPath
    columns : sequence of Column, optional
        What the table must hold, by name and type, in any order; it comes back in this order. Other columns
        are left out, and not read.

    Raises
    ------
    ProductMismatch
        If the file is missing or unreadable, or lacks a column or has one of another type.
    StoreUnavailable
        If an object store does not give it.
    """
    try:
        # Memory-mapped pages would outlive a file that a rerun replaces, so the file is read.
        source = pa.BufferReader(path.read_bytes()) if isinstance(path, ObjectPath) else path
        file = pq.ParquetFile(source, memory_map=False)
        there = file.schema_arrow
        wanted = None if columns is None else [column.name for column in columns if column.name in there.names]
        table = file.read(columns=wanted)
    except StoreUnavailable:
        raise
    except (OSError, pa.ArrowException) as error:
        raise ProductMismatch(f"{path}: not a readable Parquet file ({error}); rerun its field.") from error
    if columns is None:
        return table
    for column in columns:
        if column.name not in there.names:
            raise ProductMismatch(f"{path}: no column {column.name}; it has {', '.join(there.names)}.")
        kind = there.field(column.name).type
        if kind != column.type:
            raise ProductMismatch(f"{path}: column {column.name} is {kind}, not {column.type}; rerun its field.")
    return table.select([column.name for column in columns])


def plain(table: pa.Table) -> pa.Table:
    """The table with its dictionary columns as text, which every format can hold; metadata stays."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def _one_chunk(table: pa.Table) -> pa.Table:
    """Rows in one chunk with dictionaries in order of first use, so that bytes don't tell how a table was joined."""
    arrays = []
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            text = column.cast(column.type.value_type).combine_chunks()
            arrays.append(text.dictionary_encode().cast(column.type))
        else:
            arrays.append(column.combine_chunks())
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _array(column: Column, given: Any) -> pa.Array:
    missing = np.ma.getmaskarray(given) if isinstance(given, np.ma.MaskedArray) else None
    data = given.data if isinstance(given, np.ma.MaskedArray) else given
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind):
        array = _text(column, data, missing)
    elif pa.types.is_floating(kind):
        array = _floats(column, data, missing)
    else:
        array = _whole(column, data, missing)
    if array.null_count and not column.nullable:
        row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"column {column.name} may not be null, but row {row} is")
    return array.dictionary_encode() if pa.types.is_dictionary(column.type) else array


def _text(column: Column, data: Any, missing: npt.NDArray[np.bool_] | None) -> pa.Array:
    values = data.tolist() if isinstance(data, np.ndarray) else list(data)
    wrong = next((value for value in values if value is not None and not isinstance(value, str)), None)
    if wrong is not None:
        raise ValueError(f"column {column.name} is text; {wrong!r} is {type(wrong).__name__}")
    return pa.array(values, pa.string(), mask=missing)


def _floats(column: Column, data: Any, missing: npt.NDArray[np.bool_] | None) -> pa.Array:
    values = np.asarray([np.nan if value is None else value for value in data] if isinstance(data, list) else data)
    if values.size == 0:
        values = values.astype(np.float64)
    if values.dtype.kind != "f":
        raise ValueError(f"column {column.name} is {column.type}; {values.dtype} does not go into it unasked")
    target = np.dtype(column.type.to_pandas_dtype())
    if values.dtype.itemsize < target.itemsize:
        raise ValueError(f"column {column.name} is {column.type}; {values.dtype} has lost its precision already")
    with np.errstate(over="ignore"):
        stored = values.astype(target)
    empty = np.isnan(stored) if missing is None else np.isnan(stored) | missing
    infinite = np.flatnonzero(np.isinf(stored) & ~empty)
    if len(infinite):
        row = int(infinite[0])
        raise ValueError(f"column {column.name} must be finite or missing; row {row} is {values[row]}")
    return pa.array(stored, column.type, mask=empty)


def _whole(column: Column, data: Any, missing: npt.NDArray[np.bool_] | None) -> pa.Array:
    """Integers and booleans, exactly or not at all."""
    boolean = pa.types.is_boolean(column.type)
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in ("b" if boolean else "iu") and data.size:
            raise ValueError(f"column {column.name} is {column.type}; {data.dtype} does not go into it unasked")
        data = data.tolist() if data.dtype.kind not in "biu" else data
    else:
        data = list(data)
        allowed = (bool, np.bool_) if boolean else (int, np.integer)
        for value in data:
            if value is not None and (not isinstance(value, allowed) or (not boolean and isinstance(value, bool))):
                raise ValueError(f"column {column.name} is {column.type}; {value!r} is {type(value).__name__}")
    try:
        exact = pa.array(data, mask=missing)
        return pa.array([], column.type) if pa.types.is_null(exact.type) else exact.cast(column.type)
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"column {column.name} is {column.type}: {error}") from error
