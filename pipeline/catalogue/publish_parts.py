"""What there is to publish: the live files of a scan, field by field, or exported ones; counted and checked.

Each file is looked at once, its keys and cells alone, so that a survey of any size fits. A file that is not there, not
whole, or not what its manifest says stops the publication before anything is written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline.catalogue.hats_pixels import COUNT_ORDER, INDEX_ORDER
from pipeline.catalogue.sources import STAGE, open_source, union_schema
from pipeline.errors import ProductMismatch, QueryError
from pipeline.io.arrow_objects import file_system, name_in
from pipeline.io.places import Place, each
from pipeline.io.products import Manifest, failures, listing, live_by_field

Int64 = npt.NDArray[np.int64]

KEY = ("field_id", "objid")
INDEX = "_healpix_29"
MOC_ORDER = 10
"""Order of the cells, 3.4 arcmin wide, of the map of where rows are."""

_AT_ONCE = 64
_SCAN = ("survey", "release", "scan_id")
_NEEDED = (*KEY, INDEX, "ra", "dec")
_MOC_SHIFT = 2 * (INDEX_ORDER - MOC_ORDER)
_COUNT_SHIFT = 2 * (INDEX_ORDER - COUNT_ORDER)


@dataclass(frozen=True)
class Part:
    """One file to publish.

    Attributes
    ----------
    name : str
        The field, or the file of an exported table.
    file : Path or ObjectPath
    field_id : str or None
        The field that every row is of; None where there may be several.
    rows, size : int or None
        What the manifest says; None where there is none.
    """

    name: str
    file: Place
    field_id: str | None
    rows: int | None = None
    size: int | None = None


@dataclass(frozen=True)
class Material:
    """Everything to publish, and where it comes from.

    Attributes
    ----------
    parts : tuple of Part
    provenance : tuple of mapping
        What the manifests say of how rows were made, each different one once, with the number of its fields.
    failed : tuple of str
        Fields in quarantine: nothing newer of them is published than what they had before.
    """

    parts: tuple[Part, ...]
    provenance: tuple[Mapping[str, Any], ...] = ()
    failed: tuple[str, ...] = ()


@dataclass
class Tally:
    """Rows of a field and the sum of their objid modulo 2^64: equal tallies mean the same ids, to all intents."""

    rows: int = 0
    objid: int = 0

    def add(self, objid: Int64) -> None:
        """Count some rows."""
        self.rows += len(objid)
        self.objid = (self.objid + int(objid.view(np.uint64).sum(dtype=np.uint64))) % 2**64


@dataclass(frozen=True)
class Counted:
    """What one look at every file gives.

    Attributes
    ----------
    schema : pyarrow.Schema
        Columns of all files, dictionaries as text.
    parts : tuple of Part
        The files with rows to publish.
    cells, counts, part : int64 (n,)
        Cells of `COUNT_ORDER` that hold rows to publish, sorted, how many, and the number in `parts` of the file that
        holds them; a cell stands once for every file.
    moc : int64 (m,)
        Cells of `MOC_ORDER` that hold rows to publish, sorted, each once.
    fields : mapping
        field_id -> `Tally` of the rows to publish.
    scans : mapping
        (survey, release, scan_id) -> rows to publish; empty where files don't say.
    read : int
        Rows in the files, chosen or not.
    """

    schema: pa.Schema
    parts: tuple[Part, ...]
    cells: Int64
    counts: Int64
    part: Int64
    moc: Int64
    fields: Mapping[str, Tally]
    scans: Mapping[tuple[str, ...], int]
    read: int

    @property
    def rows(self) -> int:
        """Rows to publish."""
        return int(self.counts.sum())

    def in_cells(self) -> tuple[Int64, Int64]:
        """Cells that hold rows, each once, and how many rows each holds."""
        cells, start = np.unique(self.cells, return_index=True)
        return cells, np.add.reduceat(self.counts, start) if len(cells) else self.counts


def material(catalogue: Place, *, every_score: bool) -> Material:
    """The live files of a scan's output, or exported Parquet files.

    Raises
    ------
    QueryError
        If there is nothing to publish.
    ProductMismatch
        If a field's manifest names no such file.
    """
    if not (catalogue / "scan.json").is_file():
        source = open_source(catalogue, every_score=every_score)
        return Material(tuple(Part(str(file), file, None) for file in source.files))
    name = "scores.parquet" if every_score else "candidates.parquet"
    parts, made = [], Counter[str]()
    fields = sorted(field_id for field_id, stages in listing(catalogue).items() if STAGE in stages)
    for field_id, live in live_by_field(catalogue, fields, [STAGE]):
        manifest = live[STAGE]
        made[json.dumps(manifest.provenance, sort_keys=True)] += 1
        if name in manifest.files:
            parts.append(_part(catalogue, manifest, name))
        elif manifest.rows:
            raise ProductMismatch(f"field {field_id} has no {name}; {_rerun(field_id)}.")
    if not parts:
        raise QueryError(
            f"{catalogue} holds no candidates: run or finish its scan first (a scan without an ensemble has none)."
        )
    provenance = tuple({**json.loads(text), "fields": number} for text, number in made.most_common())
    return Material(tuple(parts), provenance, tuple(sorted(failures(catalogue))))


def count(parts: Sequence[Part], *, primary: bool) -> Counted:
    """Look at every file once: rows against the manifest, keys, cells.

    Parameters
    ----------
    parts : sequence of Part
    primary : bool
        Only rows with `is_primary` count.

    Raises
    ------
    ProductMismatch
        If a file is missing, can't be read, or holds other rows than its manifest says; if a key stands twice in it,
        or a row of another field.
    QueryError
        If a column is missing, or two files disagree about one's type.
    """
    schemas: list[tuple[pa.Schema, str]] = []
    fields: dict[str, Tally] = {}
    scans: Counter[tuple[str, ...]] = Counter()
    chosen, cells_of, counts_of = [], [], []
    moc: list[Int64] = []
    read = 0
    for part, schema, every in _all_looked_at(parts):
        if primary and "is_primary" not in schema.names:
            raise QueryError(f"{part.file} has no column is_primary to choose rows by.")
        if not any(schema.equals(other) for other, _ in schemas):
            schemas.append((schema, part.name))
        read += len(every)
        table = every.filter(every["is_primary"]) if primary else every
        if not len(table):
            continue
        _tally(table, fields, scans)
        index = table[INDEX].to_numpy()
        cells, counts = np.unique(index >> _COUNT_SHIFT, return_counts=True)
        chosen.append(part)
        cells_of.append(cells)
        counts_of.append(counts)
        moc = _merged([*moc, np.unique(index >> _MOC_SHIFT)])
    part_of = [np.full(len(cells), number, np.int64) for number, cells in enumerate(cells_of)]
    cells, counts, part_number = (_joined(arrays) for arrays in (cells_of, counts_of, part_of))
    by = np.argsort(cells, kind="stable")
    return Counted(
        schema=_flat(union_schema([schema for schema, _ in schemas], [name for _, name in schemas])),
        parts=tuple(chosen),
        cells=cells[by],
        counts=counts[by],
        part=part_number[by],
        moc=np.unique(_joined(moc)),
        fields=fields,
        scans=dict(scans),
        read=read,
    )


def rows_between(counted: Counted, first: int, behind: int, *, primary: bool) -> pa.Table:
    """Rows of all files with `first` <= `_healpix_29` < `behind`, in order of cell, field and objid.

    Of each file the row groups that may hold some are read; files without any aren't opened.

    Raises
    ------
    ProductMismatch
        If a file is gone or can't be read any more.
    QueryError
        If a row stands in two files.
    """
    low, high = np.searchsorted(counted.cells, [first >> _COUNT_SHIFT, ((behind - 1) >> _COUNT_SHIFT) + 1])
    files = [counted.parts[number].file for number in np.unique(counted.part[low:high])]
    cell = pc.field(INDEX)
    wanted = (cell >= first) & (cell < behind)
    if primary:
        wanted &= pc.field("is_primary")
    system, form = file_system(files[0]), ds.ParquetFileFormat()
    fragments = [form.make_fragment(name_in(file), filesystem=system) for file in files]
    try:
        table = ds.FileSystemDataset(fragments, counted.schema, form, system).to_table(filter=wanted)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ProductMismatch(f"{reason}; was a field run again meanwhile? Publish again.") from error
    rank = _ranks(table)
    order = np.lexsort((table["objid"].to_numpy(), rank, table[INDEX].to_numpy()))
    table = table.take(pa.array(order))
    _check_once(table, rank[order])
    return table


def checked_against(found: Mapping[str, Tally], expected: Mapping[str, Tally], where: str) -> None:
    """Refuse rows that are not those expected, field by field.

    Raises
    ------
    ProductMismatch
        Naming up to eight fields whose rows or ids differ.
    """
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if wrong:
        told = [f"{name} ({_rows(found.get(name))} instead of {_rows(expected.get(name))})" for name in wrong[:8]]
        raise ProductMismatch(
            f"{where} does not hold the rows of the per-field files: {', '.join(told)}; "
            "was a field run again meanwhile? Publish again."
        )


def tallied(batches: Iterator[pa.RecordBatch]) -> dict[str, Tally]:
    """Tallies by field of rows as they stand, of the columns `KEY`."""
    fields: dict[str, Tally] = {}
    for batch in batches:
        _tally(pa.Table.from_batches([batch]), fields)
    return fields


def _part(output: Place, manifest: Manifest, name: str) -> Part:
    rows = manifest.rows if name == "scores.parquet" else manifest.counts.get("candidates")
    return Part(manifest.field_id, output / manifest.place / name, manifest.field_id, rows, manifest.files[name])


def _all_looked_at(parts: Sequence[Part]) -> Iterator[tuple[Part, pa.Schema, pa.Table]]:
    """Every part with what a look at it gives; those in a store are looked at some at a time."""
    waiting = iter(parts)
    while some := list(islice(waiting, _AT_ONCE)):
        for part, (schema, table) in zip(some, each(_looked_at, some, some[0].file), strict=True):
            yield part, schema, table


def _looked_at(part: Part) -> tuple[pa.Schema, pa.Table]:
    """Schema of a file, and the columns of its rows that tell them apart."""
    try:
        system, form = file_system(part.file), ds.ParquetFileFormat()
        if part.size is not None and (size := _size(part.file)) != part.size:
            raise ProductMismatch(
                f"{part.file} has {size} bytes, its manifest says {part.size}; {_rerun(part.field_id)}."
            )
        fragment = form.make_fragment(name_in(part.file), filesystem=system)
        schema = fragment.physical_schema
        absent = [name for name in _NEEDED if name not in schema.names]
        if absent:
            raise QueryError(f"{part.file} can't be published: it has no column {', '.join(absent)}.")
        names = [*_NEEDED[:3], *(name for name in ("is_primary", *_SCAN) if name in schema.names)]
        table = fragment.to_table(schema=_flat(schema), columns=names)
    except FileNotFoundError as error:
        raise ProductMismatch(f"{part.file} is missing; {_rerun(part.field_id)}.") from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ProductMismatch(f"{part.file} can't be read ({reason}); {_rerun(part.field_id)}.") from error
    _check(part, table)
    return schema, table


def _check(part: Part, table: pa.Table) -> None:
    if part.rows is not None and len(table) != part.rows:
        raise ProductMismatch(
            f"field {part.name}: {part.file} holds {len(table):,} rows, its manifest says {part.rows:,}; "
            f"{_rerun(part.field_id)}."
        )
    for name in (*KEY, INDEX):
        if table[name].null_count:
            raise ProductMismatch(f"{part.file}: column {name} has missing values; {_rerun(part.field_id)}.")
    if part.field_id is None:
        return
    others = [name for name in pc.unique(table["field_id"]).to_pylist() if name != part.field_id]
    if others:
        raise ProductMismatch(f"{part.file} holds rows of field {others[0]}; {_rerun(part.field_id)}.")
    if pc.count_distinct(table["objid"]).as_py() != len(table):
        raise ProductMismatch(f"field {part.name}: an objid stands twice in {part.file}; {_rerun(part.field_id)}.")


def _tally(table: pa.Table, fields: dict[str, Tally], scans: Counter[tuple[str, ...]] | None = None) -> None:
    ids = table["objid"].to_numpy()
    coded = table["field_id"].combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    for number, name in enumerate(coded.dictionary.to_pylist()):
        fields.setdefault(name, Tally()).add(ids[codes == number])
    if scans is not None and all(name in table.column_names for name in _SCAN):
        for row in table.group_by(list(_SCAN)).aggregate([([], "count_all")]).to_pylist():
            scans[tuple(row[name] for name in _SCAN)] += row["count_all"]


def _ranks(table: pa.Table) -> Int64:
    """Place of each row's field among the names of fields, sorted."""
    coded = table["field_id"].combine_chunks().dictionary_encode()
    names = coded.dictionary.to_pylist()
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    ranks: Int64 = rank[coded.indices.to_numpy()]
    return ranks


def _check_once(table: pa.Table, rank: Int64) -> None:
    """Of sorted rows, the copies of one stand together."""
    same = (np.diff(table["objid"].to_numpy()) == 0) & (np.diff(rank) == 0)
    if same.any():
        row = table.slice(int(np.argmax(same)), 1).to_pylist()[0]
        raise QueryError(
            f"objid {row['objid']} of field {row['field_id']} stands twice in what is published; "
            "name one file, or files that share no row."
        )


def _merged(parts: list[Int64]) -> list[Int64]:
    """Sorted cells in few arrays: those of a size are joined, as in a merge sort."""
    while len(parts) > 1 and len(parts[-2]) <= 2 * len(parts[-1]):
        parts = [*parts[:-2], np.unique(np.concatenate(parts[-2:]))]
    return parts


def _joined(arrays: list[Int64]) -> Int64:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.empty(0, np.int64)


def _flat(schema: pa.Schema) -> pa.Schema:
    """Dictionaries as text; what a file says of itself as a whole is left out."""
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def _size(file: Place) -> int:
    return file.stat().st_size if isinstance(file, Path) else file.info().size


def _rerun(field_id: str | None) -> str:
    if field_id is None:
        return "export it again"
    return f"run its field again (lensscan field SCAN.toml {field_id!r} --from candidates)"


def _rows(tally: Tally | None) -> str:
    return f"{tally.rows:,} rows" if tally is not None else "none"
