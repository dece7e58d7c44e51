"""The commands `query` and `report`: formats, files, one JSON object, exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from astropy.io import fits
from astropy.io.votable import parse_single_table
from typer.testing import CliRunner

from pipeline.io.tables import write_table
from workflows import catalogue
from workflows.similar import similar

app = typer.Typer()
app.command()(catalogue.query)
app.command()(catalogue.report)
app.command()(similar)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_shows_flags_by_name_and_how_many_rows(scan: Path) -> None:
    answer = run("query", scan, "score < 0.6")
    assert answer.exit_code == 0
    assert "seam" in answer.stdout
    assert "2 rows" in answer.stdout


def test_a_narrow_screen_cuts_no_id(scan: Path, make_table: Callable[..., pa.Table], tmp_path: Path) -> None:
    objid = -9223372036854775807
    table = make_table("a field with a long name", [objid], [359.123456], [-89.123456], [0.5], [0b111111])
    write_table(tmp_path / "t.parquet", table)
    answer = run("query", tmp_path / "t.parquet")
    for word in (str(objid), "359.123456", "-89.123456", "bright_star"):
        assert word in answer.stdout


def test_brackets_in_names_of_fields_and_files_are_shown(make_table: Callable[..., pa.Table], tmp_path: Path) -> None:
    folder = tmp_path / "my [sky]"
    folder.mkdir()
    write_table(folder / "t.parquet", make_table("a[b]", [1], [10.0], [0.0], [0.5], [0]))
    assert "a[b]" in run("query", folder / "t.parquet").stdout
    assert str(folder / "t.csv") in run("query", folder / "t.parquet", "--output", folder / "t.csv").stdout


def test_a_long_flag_stays_in_one_piece_on_80_columns(make_table: Callable[..., pa.Table], tmp_path: Path) -> None:
    table = make_table("KV0", [288247212451821469], [135.066006], [0.504235], [0.00058175], [2])
    write_table(tmp_path / "t.parquet", table)
    assert "chip_gap_crosses" in run("query", tmp_path / "t.parquet").stdout


def test_a_long_table_says_that_there_is_more(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "SHOWN", 2)
    assert "5 rows, the first 2 shown" in run("query", scan).stdout


def test_csv_json_votable_and_fits_go_to_standard_output(scan: Path) -> None:
    lines = run("query", scan, "--format", "csv", "--columns", "objid,score").stdout.splitlines()
    assert lines[:3] == ['"objid","score"', "-5,0.95", "9007199254740993,0.9"]
    assert [row["objid"] for row in json.loads(run("query", scan, "--format", "json", "--top", "1").stdout)] == ["-5"]
    cone = ("--cone", "10.05", "-0.001", "0.06")
    votable = parse_single_table(io.BytesIO(run("query", scan, *cone, "--format", "votable").stdout_bytes)).to_table()
    assert list(votable["objid"]) == [-5, 2**53 + 1, 12, 12]
    with fits.open(io.BytesIO(run("query", scan, *cone, "--format", "fits").stdout_bytes)) as hdus:
        assert list(hdus[1].data["objid"]) == [-5, 2**53 + 1, 12, 12]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.parquet", "a.vot", "a.fits"])
def test_a_files_suffix_chooses_the_format(scan: Path, tmp_path: Path, name: str) -> None:
    answer = run("query", scan, "--output", tmp_path / name, "--json")
    assert json.loads(answer.stdout) == {"rows": 5, "output": str(tmp_path / name)}
    assert (tmp_path / name).stat().st_size > 0


def test_a_query_of_an_exported_query_gives_the_same(scan: Path, tmp_path: Path) -> None:
    run("query", scan, "--output", tmp_path / "a.parquet")
    run("query", tmp_path / "a.parquet", "--output", tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_schema(tmp_path / "b.parquet").field("ra").metadata[b"unit"] == b"deg"


def test_every_option_reaches_the_query(scan: Path) -> None:
    def objids(*options: object) -> list[str]:
        answer = json.loads(run("query", scan, "--json", *options).stdout)
        assert answer["rows"] == len(answer["candidates"])
        return [row["objid"] for row in answer["candidates"]]

    assert objids("--all") == ["-5", str(2**53 + 1), "14", "12", "12", "13"]
    assert objids("--without", "SEAM", "--without", "CHIP_GAP_CROSSES") == ["-5", str(2**53 + 1), "14"]
    assert objids("--with", "SEAM", "--field", "B") == ["12"]
    assert objids("--min-score", "0.6", "--field", "A/1", "--field", "B") == ["-5", str(2**53 + 1), "14"]
    assert objids("objid = 12", "--primary") == ["12"]


def test_json_is_one_object_and_nothing_else(scan: Path) -> None:
    answer = run("query", scan, "--top", "1", "--columns", "objid,score", "--json")
    assert json.loads(answer.stdout) == {
        "rows": 1,
        "columns": ["objid", "score"],
        "candidates": [{"objid": "-5", "score": 0.95}],
    }
    assert answer.stdout.count("\n") == 1


def test_a_query_that_is_none_ends_with_two_and_says_why(scan: Path) -> None:
    answer = run("query", scan, "score > 0.5; DROP TABLE x")
    assert answer.exit_code == 2
    assert "semicolon" in answer.stderr
    assert answer.stdout == ""
    answer = run("query", scan, "colour > 3", "--json")
    assert answer.exit_code == 2
    assert "there is no column colour" in json.loads(answer.stdout)["error"]


def test_formats_that_do_not_go_together_are_refused(scan: Path, tmp_path: Path) -> None:
    for arguments, word in [
        (["--format", "xls"], "choose from table, csv"),
        (["--output", tmp_path / "a.doc"], "give --format or a suffix"),
        (["--output", tmp_path / "a.csv", "--format", "table"], "give --format or a suffix"),
        (["--json", "--format", "fits"], "--json prints JSON"),
    ]:
        answer = run("query", scan, *arguments)
        assert answer.exit_code == 2
        assert word in (answer.stderr + answer.stdout).replace("\n", " ")


def test_neither_a_query_nor_a_report_is_written_over_what_it_reads(scan: Path, tmp_path: Path) -> None:
    live = next(scan.glob("candidates/*/*/candidates.parquet"))
    before = {path: path.read_bytes() for path in scan.rglob("*") if path.is_file()}
    for target in (live, scan / "top.csv", tmp_path / "link" / "top.csv"):
        (tmp_path / "link").is_symlink() or (tmp_path / "link").symlink_to(scan)
        assert "which is read" in refused("query", scan, "--top", 1, "--output", target)
        assert "which is read" in refused("query", scan, "--unsorted", "--output", target)
    assert "which is read" in refused("similar", scan, 12, "--output", live)
    assert "which is read" in refused("report", scan, "--output", scan / "scan.json")
    assert {path: path.read_bytes() for path in scan.rglob("*") if path.is_file()} == before
    export = tmp_path / "export.parquet"
    assert run("query", scan, "--output", export).exit_code == 0
    assert "which is read" in refused("query", export, "--top", 1, "--output", export)
    assert pq.read_metadata(export).num_rows == 5


def test_the_report_is_written_where_it_is_asked_for(scan: Path, tmp_path: Path) -> None:
    answer = run("report", scan, "--output", tmp_path / "page.html", "--top", "2", "--json")
    assert json.loads(answer.stdout)["report"] == str(tmp_path / "page.html")
    assert "Best candidates" in (tmp_path / "page.html").read_text()
    assert run("report", tmp_path / "nowhere").exit_code == 2


def refused(*arguments: object) -> str:
    answer = run(*arguments)
    assert answer.exit_code == 2
    return " ".join(answer.stderr.split())


def test_boxes_polygons_and_the_best_of_each_field_reach_the_query(scan: Path) -> None:
    def ids(*options: str) -> list[str]:
        answer = run("query", scan, *options, "--json")
        return [row["objid"] for row in json.loads(answer.stdout)["candidates"]]

    assert ids("--box", "9", "10.01", "-1", "1") == [str(2**53 + 1)]
    assert ids("--polygon", "10.04 -1, 10.06 -1, 10.05 1") == ["-5"]
    assert ids("--top-per-field", "1") == [str(2**53 + 1), "-5"]
    assert "write corners in degrees" in refused("query", scan, "--polygon", "10 x")
    assert "polygon: each corner is a pair" in refused("query", scan, "--polygon", "1 2 3, 4 5, 6 7")
    assert "give one of them" in refused("query", scan, "--top", "1", "--top-per-field", "1")


def test_an_unsorted_query_writes_the_rows_as_they_lie(scan: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "a.json", "a.parquet"):
        said = run("query", scan, "score > 0.45", "--unsorted", "--output", tmp_path / name).stdout
        assert said.startswith("4 rows")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    table = pq.read_table(tmp_path / "a.parquet")
    assert sorted(table["objid"].to_pylist()) == [-5, 12, 14, 2**53 + 1]
    assert table["field_id"].to_pylist() == ["A/1", "A/1", "A/1", "B"]
    assert [line.split(",")[0] for line in lines[1:]] == [str(objid) for objid in table["objid"].to_pylist()]
    assert [row["objid"] for row in json.loads((tmp_path / "a.json").read_text())] == [
        str(objid) for objid in table["objid"].to_pylist()
    ]
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"
    assert run("query", scan, "--unsorted", "--format", "csv", "--min-score", "2").stdout.count("\n") == 1
    assert "leave one out" in refused("query", scan, "--unsorted", "--top", "3", "--format", "csv")
    assert "csv, json, parquet" in refused("query", scan, "--unsorted")
    assert not list(tmp_path.glob(".*"))
