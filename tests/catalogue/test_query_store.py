"""Queries of a catalogue in an object store: what they see, what they fetch, and that they write nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue import best_index
from pipeline.catalogue.best_index import write_best_index
from pipeline.catalogue.query import query, stream
from pipeline.io import objects, products
from pipeline.io.export_stream import write_stream
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place
from pipeline.io.tables import plain
from tests.object_store import client

Make = Callable[..., pa.Table]
Publish = Callable[..., None]


@pytest.fixture
def remote(bucket: str, make_table: Make, publish_field: Publish) -> ObjectPath:
    """Six fields, a degree wide each, of 50 rows, in a store."""
    output, random = ObjectPath(bucket, "scans/six"), np.random.default_rng(3)
    for number in range(6):
        table = make_table(
            f"f/{number}",
            random.permutation(50),
            20 + number + random.random(50),
            10 + random.random(50),
            random.random(50),
        )
        publish_field(output, f"f/{number}", table, table)
    return output


def keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["field_id"].to_pylist(), table["objid"].to_pylist(), strict=True))


def fetched(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """An answer, and the keys of the tables of which parts were fetched for it."""
    found: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("read_part", "read_range", "read"):
            real = getattr(objects, name)

            def counted(bucket: str, key: str, *more: Any, real: Any = real) -> Any:
                found.append(key)
                return real(bucket, key, *more)

            patch.setattr(objects, name, counted)
        return call(), sorted({key for key in found if key.endswith(".parquet")})


def test_a_cone_fetches_the_files_that_it_touches_once_footers_are_known(
    remote: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = query(remote)
    assert len(everything) == 300
    found, files = fetched(monkeypatch, lambda: query(str(remote), cone=(22.5, 10.5, 0.2)))
    near = np.hypot(everything["ra"].to_numpy() - 22.5, everything["dec"].to_numpy() - 10.5) < 0.2
    assert len(found) > 0
    assert set(keys(found)) == {key for key, close in zip(keys(everything), near, strict=True) if close}
    assert len(files) == 1
    one, files = fetched(monkeypatch, lambda: query(remote, field="f/4"))
    assert set(one["field_id"].to_pylist()) == {"f/4"}
    assert len(files) == 1


def test_what_is_published_is_seen_by_the_next_query(
    remote: ObjectPath, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(query(remote)) == 300
    again = make_table("f/2", [1], [22.5], [10.5], [1.0])
    publish_field(remote, "f/2", again, again, name="f2")
    products.sweep(remote, "f/2", ("candidates",))
    found, _ = fetched(monkeypatch, lambda: query(remote))
    assert len(found) == 251
    assert keys(found)[0] == ("f/2", 1)


def test_the_best_rows_kept_together_are_one_object(remote: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_index, "SMALLEST", 10)
    monkeypatch.setattr(best_index, "LEAST", 60)
    slow = query(remote, top=20)
    assert write_best_index(remote) == 59
    quick, files = fetched(monkeypatch, lambda: query(remote, top=20))
    assert plain(quick).equals(plain(slow))
    assert files == ["scans/six/index/best.parquet"]


def test_a_stream_goes_from_a_store_to_a_store_and_leaves_nothing_here(
    remote: ObjectPath, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    target = place(f"s3://{bucket}/exports/all.parquet")
    assert write_stream(target, stream(remote), "parquet") == 300
    assert sorted(keys(pq.read_table(pa.BufferReader(target.read_bytes())))) == sorted(keys(query(remote)))
    assert list(tmp_path.iterdir()) == []


def test_queries_write_nothing(remote: ObjectPath, bucket: str, store_url: str) -> None:
    def listed() -> list[tuple[str, str]]:
        found = client(store_url).list_objects_v2(Bucket=bucket)["Contents"]
        return [(item["Key"], item["ETag"]) for item in found]

    before = listed()
    query(remote, "score > 0.5", top=3)
    query(remote, cone=(21, 10, 1), without=["SEAM"])
    list(stream(remote))
    for text in ("read_text('s3://x/y') IS NOT NULL", "1 = 1); COPY catalogue TO 's3://x/y'", "score > (SELECT 1)"):
        with pytest.raises(Exception, match=r"not allowed|one expression|semicolon"):
            query(remote, text)
    assert listed() == before
