"""Columns of a table, whatever it is stored as: FITS, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.errors import BadSurveyData
from pipeline.io.fits import read_table
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place, place

_PARQUET = (".parquet", ".parq", ".pq")


def read_columns(
    path: str, columns: Sequence[str], hdu: int | str | None = None, exact: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Named columns of one file, told apart by its suffix: CSV, Parquet, else FITS.

    Numbers that are missing are NaN. That makes floats of integers, so a missing value in one of the columns `exact`
    is an error.

    Raises
    ------
    BadSurveyData
        If the file is missing or unreadable, or lacks a column; the message lists those that it has.
    """
    where = place(path)
    name = where.name.lower()
    if not where.is_file():
        raise BadSurveyData(f"{path}: no such file; restore it, mend the path in the survey's TOML or leave it out.")
    if name.endswith((".csv", ".csv.gz")):
        return from_arrow(_read_csv(where), columns, path, exact)
    if name.endswith(_PARQUET):
        try:
            file = _source(where)
            check_columns(columns, pq.read_schema(file).names, path)
            return from_arrow(pq.read_table(file, columns=list(columns)), columns, path, exact)
        except StoreUnavailable:
            raise
        except (OSError, pa.ArrowException) as error:
            raise BadSurveyData(f"{path}: not a readable Parquet file ({error}); fetch it again.") from error
    return read_table(path, hdu, list(columns))


def check_columns(columns: Sequence[str], present: Sequence[str], path: str) -> None:
    """Raise BadSurveyData, with the columns there are, if one is missing."""
    absent = [name for name in columns if name not in present]
    if absent:
        raise BadSurveyData(f"{path}: no column {', '.join(absent)}; it has {', '.join(present)}.")


def _source(path: Place) -> Any:
    """What pyarrow takes for a table that is read whole."""
    return pa.BufferReader(path.read_bytes()) if isinstance(path, ObjectPath) else str(path)


def _read_csv(path: Place) -> pa.Table:
    try:
        source = _source(path)
        if isinstance(path, ObjectPath) and path.suffix.lower() == ".gz":
            source = pa.CompressedInputStream(source, "gzip")
        return pa_csv.read_csv(source)
    except StoreUnavailable:
        raise
    except (OSError, pa.ArrowException) as error:
        raise BadSurveyData(f"{path}: not a readable CSV file ({error}); fetch it again.") from error


def from_arrow(
    table: pa.Table, columns: Sequence[str], path: str, exact: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Columns of an Arrow table as NumPy arrays; text as objects; `exact` as in `read_columns`."""
    check_columns(columns, table.column_names, path)
    arrays = {}
    for name in columns:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count and name in exact:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise BadSurveyData(f"{path}: column {name} is empty in row {row}; fill it in or leave the row out.")
        arrays[name] = column.to_numpy()
    return arrays
