"""Where rows go that come field by field: a Parquet file as they come, any other format when all are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.io.places import Place
    from pipeline.schema import Column


@contextmanager
def row_sink(
    scanned: Place, target: Place, added: Sequence[Column], every: bool
) -> Iterator[Callable[[pa.Table], None]]:
    """Take tables of a catalogue's rows with some columns more, and write them as one file.

    Parameters
    ----------
    scanned : Path or ObjectPath
        The catalogue, which says what columns its fields have between them.
    target : Path or ObjectPath
        The file; its suffix says the format.
    added : sequence of Column
        Columns that the tables have besides.
    every : bool
        Rows are all scores, not candidates.

    Raises
    ------
    ConfigError
        For a suffix of no format.
    QueryError
        If there is no catalogue.
    """
    import pyarrow as pa

    from pipeline.catalogue.sources import open_source
    from pipeline.schema import arrow_schema

    schema = open_source(scanned, every_score=every).schema
    names = {column.name for column in added}
    fields = [field for field in schema if field.name not in names]
    with schema_sink(target, pa.schema([*fields, *arrow_schema(added)])) as keep:
        yield keep


@contextmanager
def schema_sink(target: Place, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """The same for tables of a schema that is known."""
    from pipeline.io.exports import FORMATS, SUFFIXES
    from pipeline.io.row_file import RowFile
    from pipeline.io.writing import atomic_write

    form = SUFFIXES.get(PurePosixPath(str(target)).suffix.lower())
    if form is None:
        raise ConfigError(f"--output {target}: give a suffix of {', '.join(SUFFIXES)}.")
    if form == "parquet":
        with RowFile(target, schema) as file:
            yield file.append
        return
    import pyarrow as pa

    tables: list[pa.Table] = []
    yield tables.append
    plain = pa.schema([field.with_type(_text(field.type)) for field in schema])
    whole = pa.concat_tables(
        [plain.empty_table(), *(_as_text(table) for table in tables)], promote_options="default"
    ).select(schema.names)
    atomic_write(target, FORMATS[form](whole.cast(plain)))


def refuse_within(target: Place, *inputs: Place, option: str = "--output") -> None:
    """Refuse to write where something is read from: a scan's products are its own, and so is a person's table.

    Parameters
    ----------
    target, *inputs : Path or ObjectPath
    option : str
        That the target was given as.

    Raises
    ------
    ConfigError
        If the target is one of the inputs, or lies in a folder that is one.
    """
    for given in inputs:
        if isinstance(target, Path) and isinstance(given, Path):
            within = target.resolve().is_relative_to(given.resolve())
        else:
            within = f"{target}/".startswith(f"{given}/")
        if within:
            raise ConfigError(f"{option} {target} would write into {given}, which is read; name another place.")


def _as_text(table: pa.Table) -> pa.Table:
    from pipeline.io.tables import plain

    return plain(table)


def _text(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind
