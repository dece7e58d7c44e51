"""A stream of rows in the formats that can be written as it comes; only a part of it is ever in memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.io.exports import json_rows
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place
from pipeline.io.tables import ROW_GROUP, plain
from pipeline.io.writing import whole_file


def csv_stream(reader: pa.RecordBatchReader, sink: IO[bytes]) -> int:
    """CSV as `pipeline.io.exports.csv_bytes` writes it; the number of rows."""
    schema = plain(reader.schema.empty_table()).schema
    rows = 0
    with pa_csv.CSVWriter(sink, schema) as writer:
        for batch in reader:
            writer.write_table(plain(pa.Table.from_batches([batch])))
            rows += len(batch)
    return rows


def json_stream(reader: pa.RecordBatchReader, sink: IO[bytes]) -> int:
    """A JSON array as `pipeline.io.exports.json_bytes` writes it; the number of rows."""
    rows = 0
    for batch in reader:
        for row in json_rows(pa.Table.from_batches([batch])):
            sink.write(b",\n" if rows else b"[\n")
            sink.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode())
            rows += 1
    sink.write(b"\n]\n" if rows else b"[]\n")
    return rows


def parquet_stream(reader: pa.RecordBatchReader, sink: IO[bytes]) -> int:
    """Parquet with the columns' metadata, in row groups of at most `ROW_GROUP`; the number of rows."""
    rows = 0
    with pq.ParquetWriter(sink, reader.schema, compression="zstd", version="2.6") as writer:
        for batch in reader:
            writer.write_batch(batch, row_group_size=ROW_GROUP)
            rows += len(batch)
    return rows


STREAMS: Mapping[str, Callable[[pa.RecordBatchReader, IO[bytes]], int]] = MappingProxyType(
    {"csv": csv_stream, "json": json_stream, "parquet": parquet_stream}
)
"""Name of a format -> what writes a stream of rows in it, and counts them."""


def write_stream(path: Place, reader: pa.RecordBatchReader, form: str) -> int:
    """Write a stream of rows to a file, which is there when all of it is.

    Parameters
    ----------
    path : Path or ObjectPath
        For an object the file is put together in the folder for temporary files first.
    reader : pyarrow.RecordBatchReader
    form : str
        One of `STREAMS`.

    Returns
    -------
    int
        Rows written.
    """
    if isinstance(path, ObjectPath):
        with tempfile.TemporaryDirectory() as folder:
            rows = write_stream(Path(folder) / "rows", reader, form)
            path.upload(Path(folder) / "rows")
        return rows
    with whole_file(path) as sink:
        return STREAMS[form](reader, sink)
