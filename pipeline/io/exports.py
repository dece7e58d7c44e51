"""A catalogue table in the formats that others read; units, UCDs and descriptions go along where a format has room."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.io.tables import parquet_bytes, plain

IDS = ("objid", "_healpix_29")
"""64-bit columns that JSON carries as strings: a browser reads numbers as float64, which would change them."""


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
    """A VOTable 1.4 with units, UCDs and descriptions; missing values are masked, text is Unicode."""
    from astropy.io.votable import from_table
    from astropy.table import MaskedColumn, Table

    filled = Table(masked=True)
    for field, column in zip(table.schema, plain(table).columns, strict=True):
        values, missing = _filled(column)
        if values.dtype == np.uint32:
            values = values.astype(np.int64)  # VOTable has no unsigned int
        said = _metadata(field)
        filled[field.name] = MaskedColumn(
            values, mask=missing, unit=said["unit"] or None, description=said["description"] or None
        )
        if said["ucd"]:
            filled[field.name].meta["ucd"] = said["ucd"]
    document = from_table(filled)
    for field in document.get_first_table().fields:
        field.ucd = filled[field.name].meta.get("ucd")
    sink = io.BytesIO()
    document.to_xml(sink)
    return sink.getvalue()


def fits_bytes(table: pa.Table) -> bytes:
    r"""A FITS binary table: units in TUNIT, UCDs in TUCD, descriptions in TCOMM.

    A missing float is NaN, a missing integer TNULL, missing text empty; a boolean column with missing values
    becomes a 16-bit one. FITS text is ASCII: other letters are written as `\xNN`, `\uNNNN`.
    """
    from astropy.io import fits

    hdu = fits.BinTableHDU.from_columns(
        [_fits_column(name, column) for name, column in zip(table.column_names, plain(table).columns, strict=True)]
    )
    hdu.header["EXTNAME"] = "CATALOGUE"
    for number, field in enumerate(table.schema, start=1):
        said = _metadata(field)
        for keyword, key in (("TUNIT", "unit"), ("TUCD", "ucd"), ("TCOMM", "description")):
            if said[key]:
                hdu.header[f"{keyword}{number}"] = said[key].encode("ascii", "backslashreplace").decode()
    sink = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(sink)
    return sink.getvalue()


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


def _metadata(field: pa.Field) -> dict[str, str]:
    """Unit, UCD and description that a column came with; empty where it has none."""
    said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    return {key: said.get(key, "") for key in ("unit", "ucd", "description")}


def _filled(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values without nulls, and where they were: 0, False, NaN or empty text stands in."""
    missing = column.is_null().to_numpy()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.fill_null("").to_pylist(), dtype=np.str_), missing
    if pa.types.is_floating(column.type):
        return column.fill_null(float("nan")).to_numpy(), missing
    return column.fill_null(pa.scalar(0).cast(column.type)).to_numpy(), missing


def _fits_column(name: str, column: pa.ChunkedArray) -> Any:
    from astropy.io import fits

    values, missing = _filled(column)
    if values.dtype.kind == "U":
        text = np.char.encode(values, "ascii", "backslashreplace")
        return fits.Column(name, f"{max(1, text.dtype.itemsize)}A", array=text)
    if values.dtype.kind == "f":
        return fits.Column(name, "E" if values.dtype.itemsize == 4 else "D", array=values)
    if missing.any():
        # An unsigned column's TNULL would be the stored form of a real value, so it is widened.
        values = values.astype(np.int16 if values.dtype.kind == "b" else np.int64)
        null = int(np.iinfo(values.dtype).min)
        values[missing] = null
        return fits.Column(name, "I" if values.dtype == np.int16 else "K", array=values, null=null)
    if values.dtype.kind == "b":
        return fits.Column(name, "L", array=values)
    if values.dtype == np.uint32:
        return fits.Column(name, "J", array=values, bzero=2**31)
    return fits.Column(name, {1: "I", 2: "I", 4: "J", 8: "K"}[values.dtype.itemsize], array=values)
