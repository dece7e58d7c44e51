"""Tables that a person hands in, by columns, whose ids stay integers: CSV or Parquet."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError


def read_columns(path: Path, needed: tuple[str, ...], others: tuple[str, ...] = ()) -> dict[str, list[object]]:
    """Columns of a table as lists, by name: text from CSV, values of their own type from Parquet.

    Parameters
    ----------
    path : Path
        Parquet by its suffix, CSV otherwise (comment lines with `#`).
    needed : tuple of str
    others : tuple of str
        Taken along where they are there.

    Raises
    ------
    ConfigError
        If it can't be read or lacks a column.
    """
    listed = " and ".join(needed) or "a header"
    try:
        columns = _parquet(path, needed + others) if _is_parquet(path) else _csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a CSV or Parquet with {listed}.") from error
    if absent := [name for name in needed if name not in columns]:
        raise ConfigError(
            f"{path}: no column {', '.join(absent)}; it has {', '.join(columns) or 'none'}. Name them so."
        )
    return {name: columns[name] for name in needed + others if name in columns}


def integer(value: object, path: Path, name: str = "objid") -> int:
    """An id as written; raises ConfigError for what is no 64-bit integer, and for a float whatever its value."""
    try:
        if isinstance(value, str | int) and not isinstance(value, bool):
            number = int(value)
            if -(2**63) <= number < 2**63:
                return number
    except ValueError:
        pass
    raise ConfigError(
        f"{path}: {name} {value!r} is no 64-bit integer; write ids as integers (a float has lost their last digits)."
    )


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _csv(path: Path) -> dict[str, list[object]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        # A quoted text may hold a line that begins like a comment, so rows are looked at and not lines.
        rows = [row for row in csv.reader(stream) if row and not row[0].startswith("#")]
    header = [name.strip() for name in rows[0]] if rows else []
    if wrong := [row for row in rows[1:] if len(row) != len(header)]:
        raise ConfigError(f"{path}: row {wrong[0]} has {len(wrong[0])} values for {len(header)} columns; mend it.")
    return {name: [row[place].strip() for row in rows[1:]] for place, name in enumerate(header)}


def _parquet(path: Path, wanted: tuple[str, ...]) -> dict[str, list[object]]:
    table = pq.ParquetFile(path, memory_map=False).read()
    chosen = [name for name in wanted if name in table.column_names]
    return {name: table[name].to_pylist() for name in chosen or table.column_names}
