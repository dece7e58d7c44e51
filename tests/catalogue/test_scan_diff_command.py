"""The command `diff`: what it writes, prints and refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.io.tables import write_table
from tests.catalogue.scans import MadeScan
from tests.object_store import upload
from workflows.diff import diff

app = typer.Typer()
app.command()(diff)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def scans(make_table: Callable[..., pa.Table], tmp_path: Path) -> tuple[Path, Path]:
    """A candidate gone, one moved by its calibration, and a field that the second scan has not done."""
    first = MadeScan(make_table, objid=(2**53 + 1, 2, 3))
    second = first.but(score=(0.8, 0.04, 0.05), versions={"candidates": "2"})
    places = first.write(tmp_path / "a"), second.write(tmp_path / "b")
    first.but(field_id="<i>[B]</i>").write(places[0])
    return places


def test_a_folder_gets_rows_fields_and_a_plot(scans: tuple[Path, Path], tmp_path: Path) -> None:
    answer = run(*scans, "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["diff.parquet", "diff.svg", "fields.csv"]
    rows = pq.read_table(tmp_path / "out" / "diff.parquet")
    assert rows["kind"].to_pylist() == ["gone", "moved"]
    assert rows["objid_a"].to_pylist() == [2, 2**53 + 1]
    assert rows.schema.field("separation").metadata[b"unit"] == b"arcsec"
    fields = list(csv.DictReader((tmp_path / "out" / "fields.csv").read_text().splitlines()))
    assert [(row["field_id"], row["state"]) for row in fields] == [("<i>[B]</i>", "only a"), ("A/1", "compared")]
    for word in ("calibration 1", "with a catalogue in A alone: <i>[B]</i>", "largest moves"):
        assert word in answer.stdout


def test_one_json_object_has_ids_as_text(scans: tuple[Path, Path]) -> None:
    told = json.loads(run(*scans, "--json").stdout)
    assert told["counts"] == {"new": 0, "gone": 1, "moved": 1, "reflagged": 0, "same": 0}
    assert told["fields"] == {"compared": 1, "same": 0, "only_a": ["<i>[B]</i>"], "only_b": [], "in_neither": []}
    assert [row["objid_a"] for row in told["largest_moves"]] == ["2", str(2**53 + 1)]
    assert {"kind": "moved", "reason": "calibration", "rows": 1} in told["reasons"]


@pytest.mark.parametrize("form", ["csv", "fits", "vot", "parquet", "json"])
def test_one_file_has_the_rows_in_the_format_of_its_suffix(scans: tuple[Path, Path], tmp_path: Path, form: str) -> None:
    answer = run(*scans, "--output", tmp_path / f"d.{form}", "--json")
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / f"d.{form}").stat().st_size > 100
    assert json.loads(answer.stdout)["output"] == {"rows": str(tmp_path / f"d.{form}")}


def test_a_scan_against_itself_writes_no_row(scans: tuple[Path, Path], tmp_path: Path) -> None:
    answer = run(scans[0], scans[0], "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    assert pq.read_table(tmp_path / "out" / "diff.parquet").num_rows == 0
    assert "2 of one fingerprint" in answer.stdout


def test_neither_scan_is_written_into(scans: tuple[Path, Path]) -> None:
    for place in scans:
        answer = run(*scans, "--output", place / "diff", "--json")
        assert answer.exit_code == 2
        assert "which is read" in json.loads(answer.stdout)["error"]


def test_the_rows_never_take_the_place_of_a_table_that_is_read(scans: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "tables" / "diff.parquet"
    write_table(table, query(scans[0]))
    before = table.read_bytes()
    answer = run(table, scans[1], "--output", table.parent, "--json")
    assert answer.exit_code == 2
    assert "which is read" in json.loads(answer.stdout)["error"]
    assert table.read_bytes() == before


def test_a_narrow_screen_cuts_no_number(scans: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    moves = run(*scans).stdout.partition("largest moves:")[2].split()
    for word in (str(2**53 + 1), "10.000000", "0.000000", "0.9", "0.8", "moved"):
        assert word in moves


def test_a_half_written_scan_leaves_no_output(scans: tuple[Path, Path], tmp_path: Path) -> None:
    broken = next(scans[1].glob("candidates/**/scores.parquet"))
    broken.write_bytes(b"PAR1")
    answer = run(*scans, "--output", tmp_path / "out")
    assert answer.exit_code == 2
    assert "scores.parquet" in answer.stderr
    assert not list(tmp_path.glob("out/*"))


def test_what_is_no_catalogue_is_refused(scans: tuple[Path, Path], tmp_path: Path) -> None:
    answer = run(scans[0], tmp_path / "nothing", "--json")
    assert answer.exit_code == 2
    assert "does not exist" in json.loads(answer.stdout)["error"]


def test_scans_in_a_store_differ_as_they_do_on_disk(
    scans: tuple[Path, Path], tmp_path: Path, bucket: str, store_url: str
) -> None:
    for place in scans:
        upload(store_url, bucket, place, f"scans/{place.name}")
    here = json.loads(run(*scans, "--json").stdout)
    answer = run(f"s3://{bucket}/scans/a", f"s3://{bucket}/scans/b", "--output", f"s3://{bucket}/out", "--json")
    there = json.loads(answer.stdout)
    for key in ("counts", "reasons", "fields", "largest_moves"):
        assert there[key] == here[key]
    assert there["output"]["diff_svg"] == f"s3://{bucket}/out/diff.svg"
