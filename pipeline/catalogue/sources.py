"""Which Parquet files a catalogue is: live tables of a scan's output, a HATS catalogue, or Parquet of another kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.catalogue.footers import Footer, Groups, all_groups, read_footers
from pipeline.catalogue.hats_files import hats_files
from pipeline.errors import QueryError
from pipeline.io import objects
from pipeline.io.arrow_objects import file_system, name_in
from pipeline.io.live_listing import Listing, LiveProduct, live_listing, live_product
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place, each

NEEDED = ("objid", "ra", "dec", "score")
"""Columns without which a Parquet file is no catalogue of ours."""

_KINDS: Mapping[str, tuple[str, Callable[[pa.DataType], bool]]] = MappingProxyType(
    {
        "objid": ("a whole number", pa.types.is_integer),
        "vet_flags": ("a whole number", pa.types.is_integer),
        "is_primary": ("true or false", pa.types.is_boolean),
        **dict.fromkeys(("ra", "dec", "score"), ("a floating-point number", pa.types.is_floating)),
    }
)
"""What must be of one kind, or it is no catalogue of ours: an id that went through a float is another object's."""

STAGE = "candidates"

_CATALOGUES = ("scan.json", "collection.properties", "hats.properties")
"""Files that make a folder a whole catalogue: a scan's output, or HATS."""

_FEW = 64
"""Fields up to which each one's manifest is looked up by itself."""


@dataclass(frozen=True, eq=False)
class Source:
    """A catalogue's files, opened no further than footers.

    Attributes
    ----------
    files : tuple of Path or ObjectPath
    fields : tuple of str, or None
        The field of each file, in order; None where a file is no field's.
    footers : tuple of Footer
    schema : pyarrow.Schema
        Union of the files' columns by name, with types and metadata as written; a column that some file lacks
        is nullable.
    output : Path or ObjectPath, optional
        The scan's output, where all of its candidates are the source.
    """

    files: tuple[Place, ...]
    fields: tuple[str, ...] | None
    footers: tuple[Footer, ...]
    schema: pa.Schema
    output: Place | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.schema.names)

    @cached_property
    def groups(self) -> Groups:
        """Row groups of all files, in order."""
        return all_groups(self.footers)

    @cached_property
    def dataset(self) -> ds.Dataset:
        """The same columns for pyarrow, with dictionaries as text."""
        text = pa.schema([field.with_type(text_type(field.type)) for field in self.schema])
        system, form = file_system(self.files[0]), ds.ParquetFileFormat()
        fragments = [form.make_fragment(name_in(file), filesystem=system) for file in self.files]
        return ds.FileSystemDataset(fragments, text, form, system)


def open_source(path: Place, fields: Sequence[str] | None = None, *, every_score: bool = False) -> Source:
    """Open the live candidates (or scores) of a scan's output, or Parquet files exported from one.

    Parameters
    ----------
    path : Path or ObjectPath
        A scan's output folder, a HATS catalogue or collection, a Parquet file, or a folder of Parquet files that is
        no part of a scan's output.
    fields : sequence of str, optional
        Only these; of a scan's output no other field's file is opened. Rows of other sources are left to the query.
    every_score : bool
        The scores of every detection instead of the candidates; only for a scan's output.

    Raises
    ------
    QueryError
        If there is nothing to query, a field named does not exist, or files disagree about a column's type.
    """
    if (path / "scan.json").is_file():
        return _scan(path, fields, "scores.parquet" if every_score else "candidates.parquet")
    if every_score:
        raise QueryError(f"{path} is not a scan's output: only that has scores besides its candidates.")
    found = _exported(path)
    source = _source([file for file, _ in found], [token for _, token in found], None)
    if fields is not None and "field_id" not in source.columns:
        raise QueryError(f"{path} has no column field_id to choose fields by.")
    return source


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
        If two tables hold a column of one name and different types, or one table holds two of one name.
    """
    _each_once(schemas[0], names[0])
    fields = {field.name: field for field in schemas[0]}
    order, seen = list(fields), [schemas[0]]
    for schema, name in zip(schemas[1:], names[1:], strict=True):
        if any(schema.equals(other) for other in seen):
            continue
        _each_once(schema, name)
        seen.append(schema)
        place = 0
        for field in schema:
            if field.name not in fields:
                fields[field.name] = field
                order.insert(place, field.name)
            elif text_type(fields[field.name].type) != text_type(field.type):
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


def _each_once(schema: pa.Schema, name: str) -> None:
    twice = sorted({column for column in schema.names if schema.names.count(column) > 1})
    if twice:
        raise QueryError(f"{name}: more than one column {', '.join(twice)}; give each a name of its own.")


def text_type(kind: pa.DataType) -> pa.DataType:
    """A dictionary's values' type; any other type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


_whole: dict[tuple[str, str], tuple[Listing, Source]] = {}
_lock = threading.Lock()


def _scan(output: Place, fields: Sequence[str] | None, name: str) -> Source:
    """Live tables of a scan; the source of all fields is kept until something is published."""
    if fields is not None and len(fields) <= _FEW:
        chosen = [live_product(output, field, STAGE) for field in dict.fromkeys(fields)]
        if all(product is not None and name in product.sizes for product in chosen):
            return _of_products([product for product in chosen if product is not None], name)
    listing = live_listing(output, STAGE)
    key = (str(output if isinstance(output, ObjectPath) else output.resolve()), name)
    with _lock:
        known = _whole.get(key)
    if fields is None and known is not None and known[0] is listing:
        return known[1]
    live = {field: product for field, product in listing.products.items() if name in product.sizes}
    if not live:
        raise QueryError(
            f"{output} holds no candidates: run or finish its scan first (a scan without an ensemble has none)."
        )
    if fields is not None:
        unknown = [field for field in fields if field not in live]
        if unknown:
            shown = ", ".join(list(live)[:8]) + (" ..." if len(live) > 8 else "")
            raise QueryError(f"{output} has no candidates of field {', '.join(map(repr, unknown))}; fields: {shown}.")
        return _of_products([live[field] for field in dict.fromkeys(fields)], name)
    source = _of_products(list(live.values()), name, output)
    with _lock:
        _whole[key] = (listing, source)
    return source


def _of_products(products: Sequence[LiveProduct], name: str, output: Place | None = None) -> Source:
    return _source(
        [product.place / name for product in products],
        [(product.sizes[name], product.sequence) for product in products],
        [product.field_id for product in products],
        output,
    )


def _exported(path: Place) -> list[tuple[Place, Any]]:
    """Files that are no scan's output, each with what changes when it is replaced."""
    if path.is_file():
        return _with_tokens([path])
    if not path.is_dir():
        raise QueryError(f"{path} does not exist; name a scan's output folder or a Parquet file.")
    owner = next((parent for parent in path.resolve().parents if (parent / "scan.json").is_file()), None)
    if owner is not None:
        raise QueryError(f"{path} is a part of a scan's output and may hold what is no longer live; query {owner}.")
    listed = hats_files(path)
    if listed is not None:
        return listed
    if isinstance(path, ObjectPath):
        below = objects.below(path.bucket, path.key)
        found: list[tuple[Place, Any]] = [(ObjectPath(path.bucket, key), info.etag) for key, info in below]
        files = [(file, token) for file, token in found if _is_table(file)]
        is_file: Callable[[Any], bool] = {file for file, _ in found}.__contains__
    else:
        every: list[Place] = sorted(path.rglob("*.parquet"), key=lambda file: Path(str(file)).parts)
        files, is_file = _with_tokens([file for file in every if _is_table(file)]), Path.is_file
    if not files:
        raise QueryError(f"{path} is neither a scan's output (no scan.json) nor a folder of Parquet files.")
    whole = next(_catalogues_above(path, [file for file, _ in files], is_file), None)
    if whole is not None:
        raise QueryError(
            f"{path} is no catalogue, but {whole} in it is one: its files may hold copies of rows, and what is no "
            "longer live; name a catalogue itself."
        )
    return files


def _catalogues_above(path: Place, files: Sequence[Place], is_file: Callable[[Any], bool]) -> Iterator[Place]:
    """Folders between a folder and the Parquet files in it that are catalogues of their own."""
    above: list[Place] = []
    for file in files:
        above += takewhile(lambda parent: parent != path, file.parents)
    for folder in dict.fromkeys(above):
        if any(is_file(folder / name) for name in _CATALOGUES):
            yield folder


def _is_table(file: Place) -> bool:
    return file.name.endswith(".parquet") and not file.name.startswith((".", "_", "data_thumbnail"))


def _with_tokens(files: Sequence[Place]) -> list[tuple[Place, Any]]:
    def token(file: Place) -> Any:
        if isinstance(file, ObjectPath):
            return file.info().etag
        found = file.stat()
        return (found.st_size, found.st_mtime_ns)

    return list(zip(files, each(token, files, files[0]), strict=True)) if files else []


def _source(
    files: Sequence[Place], tokens: Sequence[Any], fields: Sequence[str] | None, output: Place | None = None
) -> Source:
    footers = read_footers(files, tokens)
    schema = union_schema([footer.schema for footer in footers], [str(file) for file in files])
    absent = [name for name in NEEDED if name not in schema.names]
    if absent:
        raise QueryError(f"{files[0]} is no catalogue: it has no column {', '.join(absent)}.")
    for name, (words, fits) in _KINDS.items():
        if name in schema.names and not fits(schema.field(name).type):
            kind = schema.field(name).type
            raise QueryError(f"{files[0]} is no catalogue: column {name} is {kind}, and must be {words}.")
    return Source(tuple(files), tuple(fields) if fields is not None else None, tuple(footers), schema, output)
