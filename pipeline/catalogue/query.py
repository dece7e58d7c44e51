"""Query a catalogue: conditions in SQL, a part of the sky, flags, the best scores. Needs neither torch nor Dask.

A person's condition is one expression (`pipeline.catalogue.where`). It runs on an in-memory connection that can open
no file, look up no Python object and change no setting; the catalogue is the only relation there, handed over as a
stream of Arrow batches, so that nothing can be written, in the catalogue or elsewhere.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue.region import Both, Cone, Region, read_footprint
from pipeline.catalogue.sources import Source, open_source
from pipeline.catalogue.where import RELATION, check_condition, check_statement
from pipeline.errors import QueryError
from pipeline.flags import VetFlag
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place


def query(
    path: str | Path | ObjectPath,
    where: str | None = None,
    *,
    cone: tuple[float, float, float] | None = None,
    field: str | Sequence[str] | None = None,
    min_score: float | None = None,
    without: Sequence[str] = (),
    with_flags: Sequence[str] = (),
    top: int | None = None,
    primary: bool = False,
    all: bool = False,
    columns: Sequence[str] | None = None,
    moc: str | Path | None = None,
) -> pa.Table:
    """Rows of a catalogue that fulfil every condition given, best score first.

    Parameters
    ----------
    path : str, Path or ObjectPath
        A scan's output folder, or Parquet exported from one (a file, or a folder of files).
    where : str, optional
        One SQL expression over the columns, such as ``score > 0.9 AND mag_i < 21``;
        ``flag(vet_flags, 'SEAM')`` tells whether a vet flag is set.
    cone : (ra, dec, radius), optional
        Degrees, ICRS; the edge is inside.
    field : str or sequence of str, optional
        Only these fields.
    min_score : float, optional
        Lowest score; rows without one are left out.
    without, with_flags : sequence of str
        Names of vet flags of which none may be set, and which must all be set.
    top : int, optional
        At most so many rows.
    primary : bool
        Each object of overlapping fields once.
    all : bool
        Every score of a scan instead of its candidates.
    columns : sequence of str, optional
        Columns of the answer, in order; all if None.
    moc : str or Path, optional
        A file with a MOC that rows must lie in, by their HEALPix cell of order 29.

    Returns
    -------
    pyarrow.Table
        By score from high to low, rows without a score last, then by field and objid. Types and metadata are
        those of the files, also where there is no row.

    Raises
    ------
    QueryError
        If the condition is not one expression over the columns, or an argument names what is not there.
    ProductMismatch
        If a manifest of the scan can't be read.
    """
    fields = [field] if isinstance(field, str) else field
    region = _region(cone, moc)

    def answer() -> pa.Table:
        source = open_source(place(path), fields, every_score=all)
        conditions = _conditions(source, min_score, without, with_flags, primary)
        return _answer(source, where, conditions, region, top, columns)

    failed = (OSError, duckdb.Error, pa.ArrowException)
    try:
        try:
            return answer()
        except failed:
            # A field's rerun removes the files that it has replaced, perhaps between our listing and reading.
            return answer()
    except failed as error:
        raise QueryError(f"{path}: the query failed: {str(error).splitlines()[0]}") from error


def _answer(
    source: Source,
    where: str | None,
    conditions: list[str],
    region: Region | None,
    top: int | None,
    columns: Sequence[str] | None,
) -> pa.Table:
    """Check, assemble, check again, run."""
    if top is not None and top < 0:
        raise QueryError(f"top: {top} is negative; give the number of rows wanted.")
    chosen = list(columns) if columns is not None else source.columns
    if not chosen:
        raise QueryError(f"columns: none is named; choose from {', '.join(source.columns)}, or leave them out for all.")
    _known(chosen, source)
    condition = where if where is not None and where.strip() else None
    order = [name for name in ("field_id", "objid") if name in source.columns]
    connection = locked_connection()
    try:
        named = check_condition(connection, condition, source.columns) if condition is not None else frozenset()
        statement = _statement(chosen, condition, conditions, order, top)
        check_statement(connection, statement, condition, source.columns)
        if region is None:
            connection.register(RELATION, source.dataset)
        else:
            mentioned = {name for name in source.columns if any(_quoted(name) in part for part in conditions)}
            needed = {*chosen, *named, *mentioned, *order, "ra", "dec", "score"}
            connection.register(RELATION, _inside(source, region, [name for name in source.columns if name in needed]))
        found = connection.sql(statement).to_arrow_table()
    except duckdb.Error as error:
        if condition is None or isinstance(error, duckdb.IOException):
            raise
        said = str(error).split("\n\nLINE ")[0].strip().rstrip(".")
        raise QueryError(f"condition {condition!r}: {said}. Columns: {', '.join(source.columns)}.") from None
    finally:
        connection.close()
    schema = pa.schema([source.schema.field(name) for name in chosen])
    return pa.Table.from_arrays([found[name].cast(schema.field(name).type) for name in chosen], schema=schema)


def locked_connection() -> duckdb.DuckDBPyConnection:
    """An in-memory connection that reaches nothing outside, can't be told to, and knows `flag(bits, name)`."""
    connection = duckdb.connect(":memory:")
    bits = " ".join(f"WHEN '{flag.name}' THEN {flag.value}" for flag in VetFlag)
    connection.execute(f"CREATE MACRO flag(bits, name) AS (bits & CASE name {bits} END) <> 0")
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "temp_directory = ''",
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _statement(
    columns: Sequence[str], condition: str | None, conditions: Sequence[str], order: Sequence[str], top: int | None
) -> str:
    """One SELECT; the person's condition stands first, in brackets of its own."""
    parts = [f"(\n{condition}\n)"] if condition is not None else []
    parts += conditions
    text = f"SELECT {', '.join(map(_quoted, columns))} FROM {RELATION}"
    text += f" WHERE {' AND '.join(parts)}" if parts else ""
    text += f" ORDER BY {', '.join(['score DESC NULLS LAST', *map(_quoted, order)])}"
    return text + (f" LIMIT {int(top)}" if top is not None else "")


def _conditions(
    source: Source, min_score: float | None, without: Sequence[str], with_flags: Sequence[str], primary: bool
) -> list[str]:
    """The arguments that are not a person's SQL, as SQL."""
    conditions = []
    if min_score is not None:
        if not np.isfinite(min_score):
            raise QueryError(f"min_score: {min_score} is not a number between 0 and 1.")
        conditions.append(f'("score" >= {float(min_score)!r})')
    if without:
        _known(["vet_flags"], source)
        conditions.append(f'(("vet_flags" & {_bits(without)}) = 0)')
    if with_flags:
        _known(["vet_flags"], source)
        bits = _bits(with_flags)
        conditions.append(f'(("vet_flags" & {bits}) = {bits})')
    if primary:
        _known(["is_primary"], source)
        conditions.append('"is_primary"')
    return conditions


def _bits(names: Sequence[str]) -> int:
    bits = 0
    for name in names:
        try:
            bits |= VetFlag[name.strip().upper()].value
        except KeyError:
            raise QueryError(f"no vet flag {name!r}; flags: {', '.join(str(flag.name) for flag in VetFlag)}.") from None
    return bits


def _known(names: Sequence[str], source: Source) -> None:
    unknown = [name for name in names if name not in source.columns]
    if unknown:
        raise QueryError(f"no column {', '.join(unknown)}; columns: {', '.join(source.columns)}.")


def _region(cone: tuple[float, float, float] | None, moc: str | Path | None) -> Region | None:
    regions: list[Region] = []
    if cone is not None:
        regions.append(Cone(*map(float, cone)))
    if moc is not None:
        regions.append(read_footprint(Path(moc)))
    return Both(regions[0], regions[1]) if len(regions) == 2 else regions[0] if regions else None


def _inside(source: Source, region: Region, columns: Sequence[str]) -> pa.RecordBatchReader:
    """A stream of the rows in a region: row groups are skipped by `_healpix_29`, then each row is measured."""
    ranges = region.ranges() if "_healpix_29" in source.columns else None
    cell = pc.field("_healpix_29")
    wanted: Any = None
    if ranges is not None:
        parts = [(cell >= int(first)) & (cell < int(last)) for first, last in ranges]
        wanted = functools.reduce(operator.or_, parts) if parts else pc.scalar(False)
    scanner = source.dataset.scanner(columns=list(columns), filter=wanted)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in scanner.to_batches():
            ra, dec = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
            yield batch.filter(pa.array(region.inside(ra, dec)))

    return pa.RecordBatchReader.from_batches(scanner.projected_schema, batches())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
