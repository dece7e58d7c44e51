"""Everything that a query asks of a row, as one object: which row groups can hold any, and which of their rows do.

A person's condition is one expression (`pipeline.catalogue.where`). It runs on an in-memory connection that can open
no file, look up no Python object and change no setting; a table in memory is the only relation there, so that nothing
can be written, in the catalogue or elsewhere.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue.region import Region
from pipeline.catalogue.sources import Source, text_type
from pipeline.catalogue.where import RELATION, check_condition, check_statement
from pipeline.errors import QueryError
from pipeline.flags import VetFlag

_ROW = "__row__"
_connections = threading.local()
_of_parent: list[object] = []
_THREADS = {"threads": 2, "async_threads": 0}
"""Of a connection, of which a server that answers in forty threads has forty. DuckDB 1 has no `async_threads`."""


@dataclass(frozen=True)
class Conditions:
    """What rows must fulfil; every part that is given.

    Attributes
    ----------
    where : str, optional
        A person's expression; checked.
    names : frozenset of str
        Columns that it names.
    region : Region, optional
    fields : tuple of str, optional
        Of a source whose files are no fields.
    barred : frozenset of str
        Fields of which no row is wanted.
    files : frozenset of int, optional
        The only files to look at.
    min_score : float, optional
    absent, present : int
        Vet flags of which none may be set, and which must all be set.
    primary : bool
    """

    where: str | None = None
    names: frozenset[str] = frozenset()
    region: Region | None = None
    fields: tuple[str, ...] | None = None
    barred: frozenset[str] = frozenset()
    files: frozenset[int] | None = None
    min_score: float | None = None
    absent: int = 0
    present: int = 0
    primary: bool = False

    @property
    def columns(self) -> set[str]:
        """Columns that `chosen` looks at."""
        needed = set(self.names)
        needed |= {"ra", "dec"} if self.region is not None else set()
        needed |= {"field_id"} if self.fields is not None or self.barred else set()
        needed |= {"score"} if self.min_score is not None else set()
        needed |= {"vet_flags"} if self.absent or self.present else set()
        return needed | ({"is_primary"} if self.primary else set())

    def groups(self, source: Source) -> npt.NDArray[np.int64]:
        """Row groups of a source that may hold rows, in order, by position on the sky and by their best score."""
        groups = source.groups
        possible = groups.rows > 0
        if self.files is not None:
            possible &= np.isin(groups.file, list(self.files))
        if self.min_score is not None:
            possible &= groups.best >= self._lowest(source.schema.field("score").type)
        ranges = self.region.ranges() if self.region is not None and "_healpix_29" in source.columns else None
        if ranges is not None:
            possible &= _touches(ranges, groups.first, groups.last)
        for box in self.region.boxes() if self.region is not None else ():
            # A field across a border of HEALPix cells of low order spans a wide range; its box is as small as it is.
            possible &= box.touches(groups.box)
        if self.fields is not None:
            wanted = sorted(self.fields)
            possible &= np.array([_between(wanted, first, last) for first, last in groups.fields], bool)
        return np.flatnonzero(possible)

    def chosen(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows of a table fulfil everything; it must have `columns`."""
        keep = np.ones(len(table), bool)
        if self.min_score is not None:
            kind = table["score"].type
            keep &= _true(pc.greater_equal(table["score"], pa.scalar(self._lowest(kind), kind)))
        if self.absent or self.present:
            bits = table["vet_flags"].cast(pa.int64())
            flags = bits.fill_null(-1).to_numpy()
            keep &= (flags >= 0) & (flags & self.absent == 0) & (flags & self.present == self.present)
        if self.primary:
            keep &= _true(table["is_primary"])
        if self.fields is not None:
            keep &= _named(table["field_id"], self.fields)
        if self.barred:
            keep &= ~_named(table["field_id"], sorted(self.barred))
        if self.region is not None:
            at = np.flatnonzero(keep)
            ra, dec = (table[name].to_numpy()[at] for name in ("ra", "dec"))
            keep[at] = self.region.inside(ra, dec)
        if self.where is not None:
            at = np.flatnonzero(keep)
            columns = {name: table[name].take(pa.array(at)) for name in sorted(self.names)}
            keep[at] = _fulfils(self.where, columns, len(at))
        return keep

    def _lowest(self, kind: pa.DataType) -> float:
        """The lowest score as the column holds it: 0.7 in float32 is a score of 0.7."""
        return float(np.float32(self.min_score)) if kind == pa.float32() else float(self.min_score or 0)


def conditions(
    source: Source,
    where: str | None,
    region: Region | None,
    fields: Sequence[str] | None,
    min_score: float | None,
    without: Sequence[str],
    with_flags: Sequence[str],
    primary: bool,
) -> Conditions:
    """What a query asks, checked against the columns that there are.

    Raises
    ------
    QueryError
        If the condition is not one expression over the columns, or something names what is not there.
    """
    if min_score is not None and not np.isfinite(min_score):
        raise QueryError(f"min_score: {min_score} is not a number between 0 and 1.")
    known(["vet_flags"] if without or with_flags else [], source)
    known(["is_primary"] if primary else [], source)
    text = where if where is not None and where.strip() else None
    names: frozenset[str] = frozenset()
    if text is not None:
        names = check_condition(locked_connection(), text, source.columns)
        check_statement(locked_connection(), _statement(text), text, [*source.columns, _ROW])
        try:
            # A row of nulls, so that what makes no sense for any row is told now, with the columns that there are.
            _fulfils(text, {name: pa.nulls(1, source.schema.field(name).type) for name in sorted(names)}, 1)
        except QueryError as error:
            raise QueryError(f"{error} Columns: {', '.join(source.columns)}.") from None
    return Conditions(
        where=text,
        names=names,
        region=region,
        fields=tuple(fields) if fields is not None and source.fields is None else None,
        min_score=float(min_score) if min_score is not None else None,
        absent=flag_bits(without),
        present=flag_bits(with_flags),
        primary=primary,
    )


def known(names: Sequence[str], source: Source) -> None:
    """Raise QueryError if a source lacks one of these columns."""
    unknown = [name for name in names if name not in source.columns]
    if unknown:
        raise QueryError(f"no column {', '.join(unknown)}; columns: {', '.join(source.columns)}.")


def flag_bits(names: Sequence[str]) -> int:
    """Bits of vet flags by name, in upper or lower case; raises QueryError for one that there is not."""
    bits = 0
    for name in names:
        try:
            bits |= VetFlag[name.strip().upper()].value
        except KeyError:
            raise QueryError(f"no vet flag {name!r}; flags: {', '.join(str(flag.name) for flag in VetFlag)}.") from None
    return bits


def locked_connection() -> duckdb.DuckDBPyConnection:
    """The thread's in-memory connection: it reaches nothing outside, can't be told to, and knows `flag(bits, name)`.

    It takes longer to open than to ask, and holds nothing between two questions.
    """
    connection: duckdb.DuckDBPyConnection | None = getattr(_connections, "mine", None)
    if connection is None:
        connection = _connections.mine = _locked()
    return connection


def _after_fork() -> None:
    """Leave the parent's connection alone, whose threads are not here; to close it would wait for them."""
    _of_parent.append(_connections.__dict__.pop("mine", None))


os.register_at_fork(after_in_child=_after_fork)


def _locked() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    bits = " ".join(f"WHEN '{flag.name}' THEN {flag.value}" for flag in VetFlag)
    connection.execute(f"CREATE MACRO flag(bits, name) AS (bits & CASE name {bits} END) <> 0")
    for name, number in _THREADS.items():
        with suppress(duckdb.CatalogException):
            connection.execute(f"SET {name} = {number}")
    for setting in (
        "enable_progress_bar = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "temp_directory = ''",
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _statement(where: str) -> str:
    """One SELECT; the person's condition stands alone in brackets of its own."""
    return f'SELECT "{_ROW}" FROM {RELATION} WHERE (\n{where}\n)'


def _fulfils(where: str, columns: Mapping[str, Any], rows: int) -> npt.NDArray[np.bool_]:
    """Which rows fulfil an expression that was checked; null is no."""
    plain = {name: column.cast(text_type(column.type)) for name, column in columns.items()}
    connection = locked_connection()
    connection.register(RELATION, pa.table({**plain, _ROW: pa.array(np.arange(rows, dtype=np.int64))}))
    try:
        found = connection.sql(_statement(where)).to_arrow_table()[_ROW].to_numpy()
    except duckdb.Error as error:
        said = str(error).split("\n\nLINE ")[0].strip().rstrip(".")
        raise QueryError(f"condition {where!r}: {said}.") from None
    finally:
        connection.unregister(RELATION)
    keep = np.zeros(rows, bool)
    keep[found] = True
    return keep


def _touches(
    ranges: npt.NDArray[np.int64], first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Which intervals [first, last] share a cell with any of the sorted ranges (end excluded)."""
    if not len(ranges):
        return np.zeros(len(first), bool)
    # The first range that ends behind an interval's start is the only one that need be looked at.
    at = np.searchsorted(ranges[:, 1], first, side="right")
    inside = at < len(ranges)
    touches: npt.NDArray[np.bool_] = inside & (ranges[np.minimum(at, len(ranges) - 1), 0] <= last)
    return touches


def _between(wanted: Sequence[str], first: str | None, last: str | None) -> bool:
    """Whether any of some sorted names lies between two others, both included; so where those are not known."""
    if first is None or last is None:
        return True
    at = bisect_left(wanted, first)
    return at < len(wanted) and wanted[at] <= last


def _named(column: pa.ChunkedArray, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    text = column.cast(text_type(column.type))
    return _true(pc.is_in(text, pa.array(names, text.type)))


def _true(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return column.fill_null(False).to_numpy()  # type: ignore[no-any-return]
