"""A catalogue table in the formats that others read; units, UCDs and descriptions go along where a format has room."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.io.fits_table import fits_parts
from pipeline.io.tables import parquet_bytes, plain
from pipeline.io.votable import votable_parts

IDS = ("objid", "_healpix_29")
"""64-bit columns that JSON carries as strings: a browser reads numbers as float64, which would change them."""

BATCH = 20_000
"""Rows that are turned into text or records at a time."""


def csv_bytes(table: pa.Table) -> bytes:
    """CSV with a header line, UTF-8; a missing value is an empty cell, text is quoted."""
    sink = io.BytesIO()
    pa_csv.write_csv(plain(table), sink)
    return sink.getvalue()


def json_bytes(table: pa.Table) -> bytes:
    """A JSON array with one object, on one line, a row; a missing value is null, ids are strings (see `IDS`)."""
    rows = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in json_rows(table)]
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode() if rows else b"[]\n"


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as plain values fit for JSON: ids as strings, float32 as the shortest number that gives it, NaN as null."""
    columns = {}
    for name, column in zip(table.column_names, plain(table).columns, strict=True):
        if name in IDS:
            values = column.cast(pa.string())
        elif pa.types.is_floating(column.type):
            # By way of text, 0.1 stays 0.1 and does not become 0.10000000149011612.
            finite = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
            values = finite.cast(pa.string()).cast(pa.float64())
        else:
            values = column
        columns[name] = values.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def votable_bytes(table: pa.Table) -> bytes:
    """A VOTable 1.4 with units, UCDs and descriptions; see `votable_parts`."""
    flat = plain(table)
    batches = flat.to_batches(max_chunksize=BATCH)
    return b"".join(votable_parts(flat.schema, batches, rows=len(flat)))


def fits_bytes(table: pa.Table) -> bytes:
    """A FITS binary table with units, UCDs and descriptions; see `fits_table`."""
    flat = plain(table)
    return b"".join(fits_parts(flat.schema, lambda: flat.to_batches(max_chunksize=BATCH), rows=len(flat)))


FORMATS: Mapping[str, Callable[[pa.Table], bytes]] = MappingProxyType(
    {"csv": csv_bytes, "json": json_bytes, "parquet": parquet_bytes, "votable": votable_bytes, "fits": fits_bytes}
)
"""Name of a format -> what gives a table as its bytes."""

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        ".csv": "csv",
        ".json": "json",
        ".parquet": "parquet",
        ".pq": "parquet",
        ".vot": "votable",
        ".votable": "votable",
        ".xml": "votable",
        ".fits": "fits",
        ".fit": "fits",
    }
)
"""Suffix of a file -> the format that it asks for."""
