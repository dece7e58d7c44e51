"""Query a catalogue: conditions in SQL, a part of the sky, flags, the best scores. Needs neither torch nor Dask.

Row groups that can hold no row wanted are passed over by what their footers say. Of the others the columns that decide
are read first, and the rest only where a row is left. A process remembers footers, which never change, and which
files are live, which is looked at again for every query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from pipeline.catalogue.best_index import best_of, every_one
from pipeline.catalogue.conditions import Conditions, conditions, known
from pipeline.catalogue.region import Region, region_of
from pipeline.catalogue.rows import best_rows_of_fields, rows_as_they_lie
from pipeline.catalogue.sources import Source, open_source
from pipeline.errors import QueryError
from pipeline.io.live_listing import forget_listings
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place

Answer = TypeVar("Answer")

MOST = 2**62
"""Rows wanted beyond which a number says no more than all of them."""

_FAILED = (OSError, duckdb.Error, pa.ArrowException)

_TRIES = 5


def query(
    path: str | Path | ObjectPath,
    where: str | None = None,
    *,
    cone: tuple[float, float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
    polygon: Sequence[tuple[float, float]] | None = None,
    moc: str | Path | None = None,
    field: str | Sequence[str] | None = None,
    min_score: float | None = None,
    without: Sequence[str] = (),
    with_flags: Sequence[str] = (),
    top: int | None = None,
    top_per_field: int | None = None,
    primary: bool = False,
    all: bool = False,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of a catalogue that fulfil every condition given, best score first.

    Parameters
    ----------
    path : str, Path or ObjectPath
        A scan's output folder, a published HATS catalogue, or Parquet of the same columns (a file, or a folder of
        files).
    where : str, optional
        One SQL expression over the columns, such as ``score > 0.9 AND mag_i < 21``;
        ``flag(vet_flags, 'SEAM')`` tells whether a vet flag is set.
    cone : (ra, dec, radius), optional
        Degrees, ICRS; the edge is inside.
    box : (ra_min, ra_max, dec_min, dec_max), optional
        Degrees, edges inside; it goes east from ra_min, across 0 where ra_max is smaller.
    polygon : sequence of (ra, dec), optional
        Three corners or more, in degrees, joined by great circles; within a hemisphere.
    moc : str or Path, optional
        A file with a MOC that rows must lie in, by their HEALPix cell of order 29.
    field : str or sequence of str, optional
        Only these fields.
    min_score : float, optional
        Lowest score; rows without one are left out.
    without, with_flags : sequence of str
        Names of vet flags of which none may be set, and which must all be set.
    top : int, optional
        At most so many rows.
    top_per_field : int, optional
        At most so many rows of each field, in order of fields.
    primary : bool
        Each object of overlapping fields once.
    all : bool
        Every score of a scan instead of its candidates.
    columns : sequence of str, optional
        Columns of the answer, in order; all if None.

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
    if top is not None and top_per_field is not None:
        raise QueryError("top and top_per_field: give one of them.")
    for name, number in (("top", top), ("top_per_field", top_per_field)):
        if number is not None and number < 0:
            raise QueryError(f"{name}: {number} is negative; give the number of rows wanted.")
    top, top_per_field = (None if number is None else min(number, MOST) for number in (top, top_per_field))
    fields = _fields(field)
    region = region_of(cone, box, polygon, moc)

    def answer() -> pa.Table:
        source, asked, chosen = _asked(
            path, where, region, fields, min_score, without, with_flags, primary, all, columns
        )
        if top is not None:
            return best_of(source, asked, chosen, top)
        if top_per_field is not None:
            return best_rows_of_fields(source, asked, chosen, top_per_field)
        return every_one(source, asked, chosen)

    try:
        return _insisting(answer)
    except _FAILED as error:
        raise QueryError(f"{path}: the query failed: {str(error).splitlines()[0]}") from error


def stream(
    path: str | Path | ObjectPath,
    where: str | None = None,
    *,
    cone: tuple[float, float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
    polygon: Sequence[tuple[float, float]] | None = None,
    moc: str | Path | None = None,
    field: str | Sequence[str] | None = None,
    min_score: float | None = None,
    without: Sequence[str] = (),
    with_flags: Sequence[str] = (),
    primary: bool = False,
    all: bool = False,
    columns: Sequence[str] | None = None,
) -> pa.RecordBatchReader:
    """The rows that `query` gives as they lie in the files, field by field and by HEALPix, a part at a time.

    Never more than some hundred thousand rows are in memory. What is live is decided when this is called: should a
    file be replaced before its turn comes, reading on raises `QueryError`. Parameters as `query`.
    """
    fields = _fields(field)
    region = region_of(cone, box, polygon, moc)
    source, asked, chosen = _insisting(
        lambda: _asked(path, where, region, fields, min_score, without, with_flags, primary, all, columns)
    )
    schema = pa.schema([source.schema.field(name) for name in chosen])

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for table in rows_as_they_lie(source, asked, chosen):
                yield from table.unify_dictionaries().combine_chunks().to_batches()
        except _FAILED as error:
            raise QueryError(f"{path}: the query failed: {str(error).splitlines()[0]}") from error

    return pa.RecordBatchReader.from_batches(schema, batches())


def _fields(field: str | Sequence[str] | None) -> Sequence[str] | None:
    fields = [field] if isinstance(field, str) else field
    if fields is not None and not len(fields):
        raise QueryError("field: none is named; leave it out for all fields.")
    return fields


def _asked(
    path: str | Path | ObjectPath,
    where: str | None,
    region: Region | None,
    fields: Sequence[str] | None,
    min_score: float | None,
    without: Sequence[str],
    with_flags: Sequence[str],
    primary: bool,
    every_score: bool,
    columns: Sequence[str] | None,
) -> tuple[Source, Conditions, list[str]]:
    """The catalogue as it is now, what is asked of its rows, and which columns of them."""
    source = open_source(place(path), fields, every_score=every_score)
    chosen = list(columns) if columns is not None else source.columns
    if not chosen:
        raise QueryError(f"columns: none is named; choose from {', '.join(source.columns)}, or leave them out for all.")
    known(chosen, source)
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if twice:
        raise QueryError(f"columns: {', '.join(twice)} more than once; name each column once.")
    return source, conditions(source, where, region, fields, min_score, without, with_flags, primary), chosen


def _insisting(answer: Callable[[], Answer]) -> Answer:
    """Ask again where it fails: reruns of fields remove files, perhaps between our listing and reading.

    Where files go on going, as in a scan that is run again as a whole, it is asked some times more.
    """
    for _ in range(_TRIES - 1):
        try:
            return answer()
        except FileNotFoundError:
            forget_listings()
        except _FAILED:
            break
    forget_listings()
    return answer()
