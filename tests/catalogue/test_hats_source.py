"""A HATS catalogue or collection is queried by its list of partitions, never its margins or copies of footers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.catalogue.query import query
from pipeline.errors import QueryError
from pipeline.io.tables import write_table

Make = Callable[..., pa.Table]


@pytest.fixture
def collection(tmp_path: Path, make_table: Make) -> Path:
    """Two partitions, a margin with a copy of a row, and files that are no rows at all."""
    root = tmp_path / "published"
    main = root / "main"
    write_table(main / "dataset/Norder=1/Dir=0/Npix=3.parquet", make_table("A", [1, 2], [10, 11], [0, 0], [0.5, 0.9]))
    write_table(main / "dataset/Norder=5/Dir=10000/Npix=10001.parquet", make_table("B", [3], [20], [0], [0.7]))
    write_table(main / "dataset/data_thumbnail.parquet", make_table("A", [1], [10], [0], [0.5]))
    write_table(main / "dataset/Norder=1/Dir=0/Npix=4.parquet", make_table("C", [9], [30], [0], [1.0]))  # not listed
    (main / "dataset/_metadata").write_bytes(b"footers")
    (main / "hats.properties").write_text("#HATS catalog\nobs_collection=main\n")
    (main / "partition_info.csv").write_text("Norder,Npix,num_rows\n1,3,2\n5,10001,1\n")
    write_table(root / "margin/dataset/Norder=1/Dir=0/Npix=3.parquet", make_table("B", [3], [20], [0], [0.7]))
    (root / "margin/hats.properties").write_text("dataproduct_type=margin\n")
    (root / "collection.properties").write_text("obs_collection = all\nhats_primary_table_url = main\n")
    return root


@pytest.mark.parametrize("part", ["", "main"])
def test_a_collection_and_its_catalogue_have_the_rows_of_the_listed_partitions(collection: Path, part: str) -> None:
    assert query(collection / part)["objid"].to_pylist() == [2, 3, 1]
    assert query(collection / part, field="B")["objid"].to_pylist() == [3]
    assert query(collection / part, cone=(11, 0, 0.1))["objid"].to_pylist() == [2]


def test_a_catalogue_written_anew_is_seen(collection: Path, make_table: Make) -> None:
    assert len(query(collection)) == 3
    write_table(collection / "main/dataset/Norder=1/Dir=0/Npix=3.parquet", make_table("A", [7], [10], [0], [0.2]))
    listed = collection / "main/partition_info.csv"
    listed.write_text("Norder,Npix,num_rows\n1,3,1\n")
    os.utime(listed, ns=(0, listed.stat().st_mtime_ns + 1))
    assert query(collection)["objid"].to_pylist() == [7]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("main/partition_info.csv", None, "without a readable partition_info.csv"),
        ("main/partition_info.csv", "Norder,Npix\n", "it lists no partition"),
        ("main/partition_info.csv", "Norder,Npix\none,two\n", "without a readable partition_info.csv"),
        ("main/partition_info.csv", "a,b\n1,2\n", "without a readable partition_info.csv"),
        ("main/partition_info.csv", "Norder,Npix\n1,99\n", "No such file"),
        ("collection.properties", "obs_collection=all\n", "names no catalogue inside its folder"),
        ("collection.properties", "hats_primary_table_url=../../elsewhere\n", "names no catalogue inside its folder"),
    ],
)
def test_a_broken_catalogue_is_told(collection: Path, file: str, text: str | None, message: str) -> None:
    (collection / file).unlink()
    if text is not None:
        (collection / file).write_text(text)
    with pytest.raises(QueryError, match=message):
        query(collection)


def test_another_version_with_as_many_rows_is_seen(collection: Path, make_table: Make) -> None:
    """A store's list of partitions has the same ETag then, as here the same size and time."""
    assert query(collection, min_score=0.8)["objid"].to_pylist() == [2]
    write_table(collection / "main/dataset/Norder=5/Dir=10000/Npix=10001.parquet", make_table("B", [3], [20], [0], [1]))
    (collection / "main/hats.properties").write_text("#HATS catalog\nobs_collection=main\nhats_creation_date=2026\n")
    assert query(collection, min_score=0.8)["objid"].to_pylist() == [3, 2]
