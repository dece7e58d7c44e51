"""A Parquet file that is written table by table and appears when all of it is there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ProductMismatch
from pipeline.io.places import Place
from pipeline.io.tables import ROW_GROUP
from pipeline.io.writing import sync_folder


class RowFile:
    """A file that rows are appended to, as a context: an error within leaves no file, or the one that was there.

    Parameters
    ----------
    path : Path or ObjectPath
        An object is sent when all rows are there, by way of a temporary file.
    schema : pyarrow.Schema
        What is written; a column that an appended table lacks is null.
    """

    def __init__(self, path: Place, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.rows = 0
        folder = path.parent if isinstance(path, Path) else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        handle, self._temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        self._writer: Any = pq.ParquetWriter(
            self._temporary, schema, compression="zstd", version="2.6", write_statistics=True
        )

    def append(self, table: pa.Table) -> None:
        """Add rows.

        Raises
        ------
        ProductMismatch
            If the table has a column of another type, or one that the file does not have.
        """
        extra = [name for name in table.column_names if name not in self.schema.names]
        if extra:
            raise ProductMismatch(f"{self.path}: no column {', '.join(extra)} in the file; write these rows apart.")
        try:
            columns = [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pa.nulls(len(table), field.type)
                for field in self.schema
            ]
        except pa.ArrowException as error:
            raise ProductMismatch(f"{self.path}: rows of other types than the file's ({error}).") from error
        whole = pa.Table.from_arrays(columns, schema=self.schema)
        self._writer.write_table(whole, row_group_size=ROW_GROUP)
        self.rows += len(table)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        temporary = Path(self._temporary)
        try:
            self._writer.close()
            if kind is None:
                self._publish(temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path) -> None:
        if not isinstance(self.path, Path):
            self.path.write_bytes(temporary.read_bytes())
            return
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, self.path)
        sync_folder(self.path.parent)
