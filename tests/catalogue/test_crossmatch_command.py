"""The command `crossmatch`: what it writes, prints and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from astropy.io import fits
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.io.tables import write_table
from tests.object_store import upload
from workflows.crossmatch import crossmatch

app = typer.Typer()
app.command()(crossmatch)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """One lens on each field's best row, one elsewhere; a name with markup."""
    path = tmp_path / "known.csv"
    path.write_text("name,ra,dec,grade\n<i>[bold]one</i>,10.0,0.0,A\ntwo,10.05,0.0,B\nfar,200,5,B\nnowhere,,,B\n")
    return path


def test_a_folder_gets_marked_rows_lenses_shares_and_a_plot(scan: Path, known: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = run("--known", known, "--output", out, "--min-score", 0.4, scan)
    assert answer.exit_code == 0, answer.output
    assert sorted(path.name for path in out.iterdir()) == [
        "candidates.parquet",
        "known.csv",
        "new.csv",
        "recovered.csv",
        "recovered.svg",
    ]
    marked = query(out, with_flags=["KNOWN_LENS"], columns=["objid", "known_name", "known_grade"])
    assert {row["objid"]: row["known_name"] for row in marked.to_pylist()} == {2**53 + 1: "<i>[bold]one</i>", -5: "two"}
    new = list(csv.DictReader((out / "new.csv").read_text().splitlines()))
    assert [(row["field_id"], row["objid"]) for row in new] == [("A/1", "14"), ("B", "12")]
    assert "2 of 5 rows are known lenses" in answer.stdout
    assert "1 entries have no position" in answer.stdout


def test_columns_that_one_field_alone_has_are_null_in_the_others(scan: Path, known: Path, tmp_path: Path) -> None:
    assert run("--known", known, "--output", tmp_path / "m.parquet", scan).exit_code == 0
    table = pq.read_table(tmp_path / "m.parquet")
    assert (
        table.filter(table["field_id"].cast("string").to_numpy(zero_copy_only=False) == "A/1")["score_vit"].null_count
        == 3
    )
    assert table["objid"].type == "int64"


def test_one_file_has_the_marked_rows_in_the_format_of_its_suffix(scan: Path, known: Path, tmp_path: Path) -> None:
    assert run("--known", known, "--output", tmp_path / "m.fits", "--all", scan).exit_code == 0
    with fits.open(tmp_path / "m.fits") as hdus:
        assert len(hdus[1].data) == 6
        assert "<i>[bold]one</i>" in hdus[1].data["known_name"].tolist()


def test_one_json_object_tells_states_shares_and_what_is_new(scan: Path, known: Path) -> None:
    answer = run("--known", known, "--json", scan)
    told = json.loads(answer.stdout)
    assert told["known"] == {"file": str(known), "listed": 4, "unplaced": 1, "chosen": 3}
    assert (told["systems"], told["rows"], told["marked"]) == (3, 5, 2)
    assert sum(told["states"]["all"].values()) == 3
    assert told["new_candidates"][0]["objid"] == "14"


def test_the_scan_and_the_list_are_never_written_into(scan: Path, known: Path) -> None:
    before = sorted(path.relative_to(scan) for path in scan.rglob("*"))
    for target in (scan, scan / "marked", scan / "candidates" / "m.parquet", known):
        answer = run("--known", known, "--output", target, "--json", scan)
        assert answer.exit_code == 2
        assert "which is read" in json.loads(answer.stdout)["error"]
    assert sorted(path.relative_to(scan) for path in scan.rglob("*")) == before
    assert known.read_text().startswith("name,ra,dec")


def test_no_file_of_a_folder_of_results_takes_the_place_of_what_is_read(
    scan: Path, known: Path, tmp_path: Path
) -> None:
    write_table(tmp_path / "candidates.parquet", query(scan))
    before = {path.name: path.read_bytes() for path in (known, tmp_path / "candidates.parquet")}
    for read in (scan, tmp_path / "candidates.parquet"):
        answer = run("--known", known, "--output", tmp_path, "--json", read)
        assert answer.exit_code == 2
        assert "which is read" in json.loads(answer.stdout)["error"]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_the_lowest_score_of_what_is_new_must_be_a_number(scan: Path, known: Path) -> None:
    answer = run("--known", known, "--min-score", "nan", "--json", scan)
    assert answer.exit_code == 2
    assert "min_score: nan is not a number" in json.loads(answer.stdout)["error"]


def test_a_list_without_positions_is_refused_and_leaves_nothing(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_text("name,x\na,1\n")
    answer = run("--known", tmp_path / "k.csv", "--output", tmp_path / "out", scan)
    assert answer.exit_code == 2
    assert "Columns: name, x" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_half_written_table_leaves_no_output(scan: Path, known: Path, tmp_path: Path) -> None:
    broken = next(scan.glob("candidates/B/*/candidates.parquet"))
    broken.write_bytes(broken.read_bytes()[:1500])
    answer = run("--known", known, "--output", tmp_path / "out", scan)
    assert answer.exit_code == 2
    assert not list(tmp_path.glob("out/*"))


def test_what_is_no_catalogue_is_refused(known: Path, tmp_path: Path) -> None:
    answer = run("--known", known, "--json", tmp_path / "nothing")
    assert answer.exit_code == 2
    assert "does not exist" in json.loads(answer.stdout)["error"]


def test_a_scan_in_a_store_gives_what_one_on_disk_gives(
    scan: Path, known: Path, tmp_path: Path, bucket: str, store_url: str
) -> None:
    upload(store_url, bucket, scan, "scans/a scan")
    here = run("--known", known, "--output", tmp_path / "out", scan)
    there = run("--known", known, "--output", f"s3://{bucket}/out", f"s3://{bucket}/scans/a scan")
    assert (here.exit_code, there.exit_code) == (0, 0), there.output
    marked = query(f"s3://{bucket}/out")
    assert marked.equals(query(tmp_path / "out"))
    assert marked["known_name"].null_count == 3
