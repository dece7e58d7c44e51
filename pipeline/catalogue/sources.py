"""Which Parquet files a catalogue is, as one dataset that is read only as far as a query needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline.errors import QueryError
from pipeline.io.arrow_objects import file_system, name_in
from pipeline.io.places import Place, each
from pipeline.io.products import live_files

NEEDED = ("objid", "ra", "dec", "score")
"""Columns without which a Parquet file is no catalogue of ours."""

STAGE = "candidates"


@dataclass(frozen=True)
class Source:
    """A catalogue's files.

    Attributes
    ----------
    files : tuple of Path or ObjectPath
    schema : pyarrow.Schema
        Union of the files' columns by name, with types and metadata as written; a column that some file lacks
        is nullable.
    dataset : pyarrow.dataset.Dataset
        The same columns with dictionaries as text, opened no further than footers.
    """

    files: tuple[Place, ...]
    schema: pa.Schema
    dataset: ds.Dataset

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.schema.names)


def open_source(path: Place, fields: Sequence[str] | None = None, *, every_score: bool = False) -> Source:
    """Open the live candidates (or scores) of a scan's output, or Parquet files exported from one.

    Parameters
    ----------
    path : Path or ObjectPath
        A scan's output folder, a Parquet file, or a folder of Parquet files that is no part of a scan's output.
    fields : sequence of str, optional
        Only these; of a scan's output no other field's file is opened.
    every_score : bool
        The scores of every detection instead of the candidates; only for a scan's output.

    Raises
    ------
    QueryError
        If there is nothing to query, a field named does not exist, or files disagree about a column's type.
    """
    if (path / "scan.json").is_file():
        return _dataset(_live(path, fields, "scores.parquet" if every_score else "candidates.parquet"))
    if every_score:
        raise QueryError(f"{path} is not a scan's output: only that has scores besides its candidates.")
    source = _dataset(_exported(path))
    if fields is None:
        return source
    if "field_id" not in source.columns:
        raise QueryError(f"{path} has no column field_id to choose fields by.")
    chosen = source.dataset.filter(pc.field("field_id").isin(list(fields)))
    return Source(source.files, source.schema, chosen)


def union_schema(schemas: Sequence[pa.Schema], names: Sequence[str]) -> pa.Schema:
    """Columns of several tables by name: a new one stands behind the one that it follows in its own table.

    Parameters
    ----------
    schemas : sequence of pyarrow.Schema
    names : sequence of str
        What each is called in an error.

    Raises
    ------
    QueryError
        If two tables hold a column of one name and different types.
    """
    fields = {field.name: field for field in schemas[0]}
    order, seen = list(fields), [schemas[0]]
    for schema, name in zip(schemas[1:], names[1:], strict=True):
        if any(schema.equals(other) for other in seen):
            continue
        seen.append(schema)
        place = 0
        for field in schema:
            if field.name not in fields:
                fields[field.name] = field
                order.insert(place, field.name)
            elif _text(fields[field.name].type) != _text(field.type):
                raise QueryError(
                    f"{name}: column {field.name} is {field.type}, but {fields[field.name].type} in {names[0]}; "
                    "query the fields apart."
                )
            place = order.index(field.name) + 1
    return pa.schema(
        [
            fields[name].with_nullable(any(name not in schema.names or schema.field(name).nullable for schema in seen))
            for name in order
        ]
    )


def _live(output: Place, fields: Sequence[str] | None, name: str) -> list[Place]:
    files = live_files(output, STAGE, name)
    if not files:
        raise QueryError(
            f"{output} holds no candidates: run or finish its scan first (a scan without an ensemble has none)."
        )
    if fields is None:
        return list(files.values())
    unknown = [field for field in fields if field not in files]
    if unknown:
        shown = ", ".join(list(files)[:8]) + (" ..." if len(files) > 8 else "")
        raise QueryError(f"{output} has no candidates of field {', '.join(map(repr, unknown))}; fields: {shown}.")
    return [files[field] for field in dict.fromkeys(fields)]


def _exported(path: Place) -> list[Place]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise QueryError(f"{path} does not exist; name a scan's output folder or a Parquet file.")
    owner = next((parent for parent in path.resolve().parents if (parent / "scan.json").is_file()), None)
    if owner is not None:
        raise QueryError(f"{path} is a part of a scan's output and may hold what is no longer live; query {owner}.")
    every: list[Place] = sorted(path.rglob("*.parquet"), key=_parts)
    files = [file for file in every if not file.name.startswith((".", "_", "data_thumbnail"))]
    if not files:
        raise QueryError(f"{path} is neither a scan's output (no scan.json) nor a folder of Parquet files.")
    return files


def _dataset(files: Sequence[Place]) -> Source:
    system, form = file_system(files[0]), ds.ParquetFileFormat()

    def opened(file: Place) -> tuple[ds.Fragment, pa.Schema]:
        fragment = form.make_fragment(name_in(file), filesystem=system)
        try:
            return fragment, fragment.physical_schema
        except pa.ArrowInvalid as error:
            raise QueryError(f"{file} is not a readable Parquet file ({error}).") from error

    fragments, schemas = zip(*each(opened, files, files[0]), strict=True)
    schema = union_schema(schemas, [str(file) for file in files])
    absent = [name for name in NEEDED if name not in schema.names]
    if absent:
        raise QueryError(f"{files[0]} is no catalogue: it has no column {', '.join(absent)}.")
    text = pa.schema([field.with_type(_text(field.type)) for field in schema])
    return Source(tuple(files), schema, ds.FileSystemDataset(list(fragments), text, form, system))


def _parts(file: Place) -> tuple[str, ...]:
    return Path(str(file)).parts


def _text(kind: pa.DataType) -> pa.DataType:
    """A dictionary's values' type; any other type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
