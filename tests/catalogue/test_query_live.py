"""Queries of a catalogue that changes meanwhile, and in processes and threads of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue.query import query, stream
from pipeline.catalogue.reading import read_group
from pipeline.catalogue.sources import Source
from pipeline.errors import QueryError
from pipeline.io import products

Make = Callable[..., pa.Table]
Publish = Callable[..., None]


def ids(table: pa.Table) -> list[int]:
    found: list[int] = table["objid"].to_pylist()
    return found


def test_a_process_sees_what_is_published_while_it_lives(
    scan: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.io.live_listing.SETTLES", 0)
    assert ids(query(scan, top=1)) == [-5]
    for number in range(5):
        again = make_table("B", [100 + number], [1.0], [1.0], [0.99])
        publish_field(scan, "B", again, again, name=f"g{number}")
        products.sweep(scan, "B", ("candidates",))
        assert ids(query(scan, top=1)) == [100 + number]
    new = make_table("C", [7], [1.0], [1.0], [0.999])
    publish_field(scan, "C", new, new)
    assert ids(query(scan, top=1)) == [7]


def test_a_manifest_swept_between_listing_and_reading_is_looked_for_again(
    scan: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = products.field_listing
    calls = []

    def slow(output: Path, field_id: str) -> dict[str, list[str]]:
        names = real(output, field_id)
        calls.append(field_id)
        if len(calls) == 1:
            again = make_table("B", [77], [1.0], [1.0], [0.99])
            publish_field(scan, "B", again, again, name="f2")
            products.sweep(scan, "B", ("candidates",))
        return names

    monkeypatch.setattr(products, "field_listing", slow)
    assert ids(query(scan, field="B")) == [77]


def test_a_run_killed_before_it_told_of_a_new_manifest_is_seen_when_files_are_gone(
    scan: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of manifests keeps its time, as if the process had ended before it touched the folder."""
    monkeypatch.setattr("pipeline.io.live_listing.SETTLES", 0)
    assert ids(query(scan, top=1)) == [-5]
    touched = (scan / "manifests").stat().st_mtime_ns
    again = make_table("B", [77], [1.0], [1.0], [0.99])
    publish_field(scan, "B", again, again, name="f2")
    products.sweep(scan, "B", ("candidates",))
    os.utime(scan / "manifests", ns=(touched, touched))
    assert ids(query(scan, "score < 1", top=1)) == [77]


def test_nan_in_a_table_from_elsewhere_stands_behind_every_score(tmp_path: Path, make_table: Make) -> None:
    for name, scores in {"a": [np.nan] * 5, "b": [0.7, 0.3, np.nan, 0.9, 0.1]}.items():
        table = make_table(name, [1, 2, 3, 4, 5], [1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5, [0.5] * 5)
        at = table.schema.get_field_index("score")
        table = table.set_column(at, pa.field("score", pa.float32()), pa.array(np.array(scores, np.float32)))
        (tmp_path / "foreign").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "foreign" / f"{name}.parquet", row_group_size=1)
    for top in range(10):
        found = query(tmp_path / "foreign", top=top)["score"].to_numpy()
        np.testing.assert_array_equal(found, np.array([0.9, 0.7, 0.3, 0.1, *[np.nan] * 6], np.float32)[:top])


def test_no_field_at_all_is_refused(scan: Path) -> None:
    for ask in (query, stream):
        with pytest.raises(QueryError, match="field: none is named; leave it out for all fields"):
            ask(scan, field=[])  # type: ignore[operator]


def test_a_query_while_one_field_after_another_is_run_again_finds_what_is_live_in_the_end(
    scan: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = read_group, iter(range(3))

    def late(source: Source, group: int, columns: Sequence[str]) -> pa.Table:
        mine = "B" in source.files[int(source.groups.file[group])].parts
        number = next(times, None) if mine else None
        if number is not None:
            again = make_table("B", [100 + number], [1.0], [1.0], [0.99])
            publish_field(scan, "B", again, again, name=f"g{number}")
            products.sweep(scan, "B", ("candidates",))
        return real(source, group, columns)

    monkeypatch.setattr("pipeline.catalogue.rows.read_group", late)
    assert 102 in ids(query(scan))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_process_that_is_forked_off_asks_for_itself(scan: Path) -> None:
    """Threads don't go with a fork: whoever waits for those of the parent waits for ever."""
    code = f"""
import multiprocessing
from pipeline.catalogue.query import query
def ask(*_):
    return len(query({str(scan)!r}, "score > 0"))
if __name__ == "__main__":
    here = ask()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(here == pool.apply_async(ask).get(timeout=60))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.split() == ["True"], ended.stderr
