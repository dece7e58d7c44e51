"""A catalogue field by field: some columns of one field's rows at a time, of a scan's output or of exported Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.catalogue.sources import STAGE, open_source
from pipeline.errors import ProductMismatch, QueryError
from pipeline.io import ownership, products
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place
from pipeline.io.products import Manifest
from pipeline.provenance import STAGES
from pipeline.schema import SCORES, arrow_schema

SCORES_FILE = "scores.parquet"
CANDIDATES_FILE = "candidates.parquet"


@dataclass(frozen=True)
class FieldRows:
    """One field.

    Attributes
    ----------
    field_id : str
    live : mapping of str to Manifest
        Of its stages; empty for exported Parquet.
    done : bool
        Whether it has a catalogue: in a scan that is going on, or for a field in quarantine, it may have none.
    read : callable
        `(columns, every)` gives the rows of the candidates, or where `every` of all scores; the columns asked for that
        the file has, all of them for None. A field without coverage has no rows.
    """

    field_id: str
    live: Mapping[str, Manifest]
    done: bool
    read: Callable[[Sequence[str] | None, bool], pa.Table]


class Catalogue(Protocol):
    """What gives fields."""

    path: Place

    @property
    def is_scan(self) -> bool:
        """Whether it is a scan's output, with every score, provenance and footprints."""
        ...

    @property
    def survey(self) -> str | None:
        """Name of the survey, None where the rows don't say."""
        ...

    def fields(self) -> list[str]:
        """Names of all fields that are known of, sorted."""
        ...

    def each(self, fields: Sequence[str]) -> Iterator[FieldRows]:
        """These fields in turn, in this order; one that the catalogue doesn't know is not `done`."""
        ...


def open_catalogue(path: Place) -> Catalogue:
    """Open a scan's output or exported Parquet.

    Raises
    ------
    QueryError
        If it is neither.
    ProductMismatch
        If a scan's output can't be read.
    """
    return ScanCatalogue(path) if (path / "scan.json").is_file() else ExportedCatalogue(path)


class ScanCatalogue:
    """A scan's output."""

    is_scan = True

    def __init__(self, path: Place) -> None:
        self.path = path
        self.survey: str | None = str(ownership.identity(path).get("survey"))

    def fields(self) -> list[str]:
        """Fields of which any stage is published, or that are in quarantine."""
        return sorted({*products.listing(self.path), *products.failures(self.path)})

    def each(self, fields: Sequence[str]) -> Iterator[FieldRows]:
        """See `Catalogue`."""
        for field_id, live in products.live_by_field(self.path, fields, STAGES):
            yield FieldRows(field_id, live, STAGE in live, self._reader(field_id, live.get(STAGE)))

    def _reader(self, field_id: str, manifest: Manifest | None) -> Callable[[Sequence[str] | None, bool], pa.Table]:
        def read(columns: Sequence[str] | None, every: bool) -> pa.Table:
            name = SCORES_FILE if every else CANDIDATES_FILE
            if manifest is None or name not in manifest.files:
                return no_rows(columns)
            try:
                return read_some(self.path / manifest.place / name, columns)
            except ProductMismatch:
                # A field's rerun removes the files that it has replaced, perhaps between our listing and reading.
                later = products.live_manifest(self.path, field_id, STAGE)
                if later is None or later.place == manifest.place or name not in later.files:
                    raise
                return read_some(self.path / later.place / name, columns)

        return read


class ExportedCatalogue:
    """Parquet files that a scan's rows were exported to."""

    is_scan = False

    def __init__(self, path: Place) -> None:
        self.path = path
        self._source = open_source(path)
        self._names = self._source.columns

    @property
    def survey(self) -> str | None:
        """The survey that the rows name; None if they name none."""
        found = self._values("survey")
        if len(found) > 1:
            raise QueryError(f"{self.path} holds rows of several surveys ({', '.join(found)}); export them apart.")
        return found[0] if found else None

    def fields(self) -> list[str]:
        """Fields that rows are of; one with an empty name where the rows don't say."""
        return self._values("field_id") if "field_id" in self._names else [""]

    def each(self, fields: Sequence[str]) -> Iterator[FieldRows]:
        """See `Catalogue`."""
        there = set(self.fields())
        for field_id in fields:
            yield FieldRows(field_id, {}, field_id in there, self._reader(field_id))

    def _values(self, column: str) -> list[str]:
        if column not in self._names:
            return []
        found: set[str] = set()
        for batch in self._source.dataset.to_batches(columns=[column]):
            found.update(value for value in pc.unique(batch.column(0)).to_pylist() if value is not None)
        return sorted(found)

    def _reader(self, field_id: str) -> Callable[[Sequence[str] | None, bool], pa.Table]:
        def read(columns: Sequence[str] | None, every: bool) -> pa.Table:
            # What was exported is all there is, whether candidates or scores.
            chosen = None if columns is None else [name for name in columns if name in self._names]
            wanted = pc.field("field_id") == field_id if "field_id" in self._names else None
            return self._source.dataset.to_table(columns=chosen, filter=wanted)

        return read


def no_rows(columns: Sequence[str] | None) -> pa.Table:
    """A table of scores without a row."""
    chosen = [column for column in SCORES if columns is None or column.name in columns]
    return arrow_schema(chosen).empty_table()


def read_some(path: Place, columns: Sequence[str] | None) -> pa.Table:
    """Some columns of a Parquet file, those that it has.

    Raises
    ------
    ProductMismatch
        If it is missing, or half written, or else unreadable.
    StoreUnavailable
        If an object store does not give it.
    """
    try:
        source = pa.BufferReader(path.read_bytes()) if isinstance(path, ObjectPath) else path
        file = pq.ParquetFile(source, memory_map=False)
        there = file.schema_arrow.names
        return file.read(columns=None if columns is None else [name for name in columns if name in there])
    except StoreUnavailable:
        raise
    except (OSError, pa.ArrowException) as error:
        raise ProductMismatch(f"{path}: not a readable Parquet file ({error}); rerun its field.") from error
