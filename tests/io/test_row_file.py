"""A Parquet file written table by table: there when all of it is, with nulls for what a table lacks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ProductMismatch
from pipeline.io.row_file import RowFile
from pipeline.io.writing import atomic_write

SCHEMA = pa.schema([pa.field("objid", pa.int64(), metadata={"ucd": "meta.id"}), pa.field("name", pa.string())])


def test_rows_appear_in_order_when_all_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.parquet"
    with RowFile(path, SCHEMA) as file:
        file.append(pa.table({"objid": [2**62, 2], "name": ["a", "b"]}))
        assert not path.exists()
        file.append(pa.table({"objid": [3]}))
        assert file.rows == 3
    table = pq.read_table(path)
    assert table.to_pydict() == {"objid": [2**62, 2, 3], "name": ["a", "b", None]}
    assert table.schema.field("objid").metadata[b"ucd"] == b"meta.id"
    assert [entry.name for entry in path.parent.iterdir()] == ["t.parquet"]


def test_a_dictionary_is_written_as_the_schema_says(tmp_path: Path) -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    with RowFile(tmp_path / "t.parquet", pa.schema([pa.field("field_id", kind)])) as file:
        for name in ("a", "b"):
            file.append(pa.table({"field_id": pa.array([name]).dictionary_encode()}))
    assert pq.read_table(tmp_path / "t.parquet")["field_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("wrong", [{"objid": ["text"]}, {"objid": [1], "extra": [2]}])
def test_rows_that_do_not_fit_leave_the_file_that_was_there(tmp_path: Path, wrong: dict[str, list[object]]) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"older")
    with pytest.raises(ProductMismatch, match=r"t\.parquet"), RowFile(path, SCHEMA) as file:
        file.append(pa.table(wrong))
    assert path.read_bytes() == b"older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]


def test_a_disk_that_is_full_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: pq.ParquetWriter) -> None:
        writer.is_open = False
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "close", full)
    with pytest.raises(OSError, match="No space left"), RowFile(tmp_path / "t.parquet", SCHEMA) as file:
        file.append(SCHEMA.empty_table())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_told_with_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*t\.csv'"):
        atomic_write(tmp_path / "t.csv", b"a")
    assert list(tmp_path.iterdir()) == []
