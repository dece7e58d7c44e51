"""A person's table as columns of numbers or text, whatever its format: CSV, TSV, ECSV, FITS, VOTable, Parquet."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import QueryError
from pipeline.io.places import Place

_MASKED = ""


@dataclass(frozen=True)
class TableColumn:
    """One column: float64 with NaN where missing, or a list of text, empty where missing."""

    name: str
    values: npt.NDArray[np.float64] | Sequence[str]
    unit: str = ""
    ucd: str = ""
    written: Sequence[str] | None = None
    """Whole numbers as text, so that no id goes through a float."""

    def text(self) -> npt.NDArray[np.object_]:
        """The values as text (n,), without blanks around, empty where missing."""
        if self.written is not None:
            values: list[str] = list(self.written)
        elif isinstance(self.values, np.ndarray):
            values = ["" if np.isnan(value) else f"{value:g}" for value in self.values]
        else:
            values = [value.strip() for value in self.values]
        answer = np.empty(len(values), object)
        answer[:] = values
        return answer


@dataclass(frozen=True)
class Columns:
    """The columns of a table, in order."""

    columns: tuple[TableColumn, ...]

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, index: int) -> TableColumn:
        return self.columns[index]

    def __iter__(self) -> Iterator[TableColumn]:
        return iter(self.columns)

    @property
    def names(self) -> list[str]:
        """Names as the file has them."""
        return [column.name for column in self.columns]

    def find(self, ucd: str | None, names: Sequence[str]) -> TableColumn | None:
        """The column of a UCD (the main one, if it says so), else of the first of `names` that there is."""
        if ucd is not None:
            wanted = ucd.lower()
            main = [column for column in self.columns if column.ucd.lower() in (wanted, f"{wanted};meta.main")]
            main.sort(key=lambda column: "meta.main" not in column.ucd.lower())
            if main:
                return main[0]
        called = {_plain_name(column.name): column for column in reversed(self.columns)}
        return next((called[name] for name in names if name in called), None)


def read_columns(path: Place) -> Columns:
    """Read a table, in the format that the file's suffix names.

    Raises
    ------
    QueryError
        If the file is missing, not of a known format, holds no table, or can't be read as what it says to be.
    """
    suffix = PurePosixPath(str(path).lower().removesuffix(".gz")).suffix
    if suffix not in _READERS:
        raise QueryError(f"{path}: no format of a table by that suffix; give one of {', '.join(_READERS)}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path}: cannot be read ({error}); name a table of known lenses.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what astropy thinks of others' headers is not this reader's matter
            columns = _READERS[suffix](_unpacked(data))
    except QueryError as error:
        raise QueryError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, pa.ArrowException, csv.Error) as error:
        said = str(error).strip().splitlines()
        raise QueryError(
            f"{path}: not readable as {suffix[1:]} ({said[0] if said else type(error).__name__})."
        ) from error
    return Columns(tuple(columns))


def _unpacked(data: bytes) -> bytes:
    import gzip

    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _plain_name(name: str) -> str:
    """A column's name in small letters, without what stands in brackets, words joined by underscores."""
    bare = re.sub(r"[\[(].*?[\])]", " ", name).strip().lower()
    return re.sub(r"[\s.-]+", "_", bare)


def _from_text(data: bytes) -> list[TableColumn]:
    text = data.decode("utf-8-sig", errors="replace")
    if text.startswith("# %ECSV"):
        return _from_ecsv(data)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise QueryError("the file has no line with names of columns.")
    delimiter = max(",;\t|", key=lines[0].count)
    # Fields may hold line ends within quotes, so the reader has the whole text and not the lines above.
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row and not row[0].startswith("#")]
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise QueryError(f"row {number} has {len(row)} values for {len(header)} columns ({', '.join(header)}).")
    columns = list(zip(*rows[1:], strict=True)) if len(rows) > 1 else [()] * len(header)
    return [TableColumn(name, list(values)) for name, values in zip(header, columns, strict=True)]


def _from_ecsv(data: bytes) -> list[TableColumn]:
    from astropy.table import Table

    table = Table.read(data.decode("utf-8"), format="ascii.ecsv")
    return [_from_astropy(table[name], str((table[name].meta or {}).get("ucd", ""))) for name in table.colnames]


def _from_votable(data: bytes) -> list[TableColumn]:
    from astropy.io.votable import parse_single_table

    found = parse_single_table(io.BytesIO(data))
    table = found.to_table(use_names_over_ids=True)
    return [
        _from_astropy(table[name], field.ucd or "") for name, field in zip(table.colnames, found.fields, strict=True)
    ]


def _from_fits(data: bytes) -> list[TableColumn]:
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(io.BytesIO(data)) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU))]
        tables = [hdu for hdu in tables if not isinstance(hdu, fits.CompImageHDU)]
        if not tables:
            raise QueryError("no HDU of the file is a table.")
        hdu = tables[0]
        table = Table.read(hdu)
        ucds = [str(hdu.header.get(f"TUCD{number}", "")) for number in range(1, len(table.colnames) + 1)]
        return [_from_astropy(table[name], ucd) for name, ucd in zip(table.colnames, ucds, strict=True)]


def _from_parquet(data: bytes) -> list[TableColumn]:
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_nested(kind):
            continue
        columns.append(_column(field.name, column.cast(kind).to_pylist(), said.get("unit", ""), said.get("ucd", "")))
    return columns


def _from_astropy(column: Any, ucd: str) -> TableColumn:
    if getattr(column, "ndim", 1) != 1:
        return TableColumn(column.name, [_MASKED] * len(column), ucd=ucd)
    unit = str(column.unit) if getattr(column, "unit", None) is not None else ""
    mask = np.ma.getmaskarray(np.ma.asarray(column))
    values = [None if missing else value for value, missing in zip(column.tolist(), mask.tolist(), strict=True)]
    return _column(column.name, values, unit, ucd)


def _column(name: str, values: Sequence[Any], unit: str, ucd: str) -> TableColumn:
    """Numbers as float64 with their writing kept where whole, anything else as text."""
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        whole = all(value is None or isinstance(value, int) for value in values)
        written = ["" if value is None else str(value) for value in values] if whole else None
        numbers = np.array([np.nan if value is None else float(value) for value in values], np.float64)
        return TableColumn(name, numbers, unit, ucd, written)
    texts = [
        _MASKED if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in values
    ]
    return TableColumn(name, texts, unit, ucd)


_READERS: Mapping[str, Callable[[bytes], list[TableColumn]]] = MappingProxyType(
    {
        ".csv": _from_text,
        ".tsv": _from_text,
        ".txt": _from_text,
        ".dat": _from_text,
        ".ecsv": _from_text,
        ".fits": _from_fits,
        ".fit": _from_fits,
        ".vot": _from_votable,
        ".votable": _from_votable,
        ".xml": _from_votable,
        ".parquet": _from_parquet,
        ".pq": _from_parquet,
    }
)
"""Suffix of a file -> what makes columns of its bytes."""
