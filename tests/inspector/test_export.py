"""Grades as tables, and the command that writes them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.errors import GradeError
from pipeline.inspector.consensus import dawid_skene
from pipeline.inspector.export import catalogue_rows, graded_table, grades_table, spreadsheet_safe
from pipeline.inspector.grades import Grade, open_grades, read_grades
from pipeline.inspector.identity import CatalogueIdentity, catalogue_identity, grades_folder
from pipeline.inspector.planted import PLANTED_FIELD, Planted, PlantedItem, load_planted, save_planted
from pipeline.inspector.ratings import ratings
from pipeline.io.exports import csv_bytes
from pipeline.io.places import place
from pipeline.io.tables import parquet_bytes
from tests.inspector.conftest import SCAN, candidates, objid
from tests.object_store import upload
from workflows.cli import app

FIRST, SECOND, THIRD = ("F0", objid(0, 0)), ("F0", objid(0, 2)), ("F1", objid(1, 4))
COPY = ("F1", objid(1, 0))
LENS, DUD = (PLANTED_FIELD, 2**62 + 1), ("F0", objid(0, 3))
PLANTED = Planted(
    (
        PlantedItem(*LENS, "lens", "pool", 0, theta_E=1.2, magnitude=20.0),
        PlantedItem(*DUD, "dud", "table", 3),
    )
)
NASTY = '=HYPERLINK("http://evil","x") <b>&\nsecond line, "quoted"'


@pytest.fixture
def folder(scan: Path, tmp_path: Path) -> Path:
    """Grades of the scan by two graders, with a lens and a dud planted."""
    known = {*candidates(scan), *PLANTED.by_key}
    with open_grades(tmp_path / "grades", catalogue_identity=SCAN, known=known) as grades:
        save_planted(tmp_path / "grades", PLANTED)
        grades.grade("anna", *FIRST, "X")
        grades.grade("anna", *FIRST, "A", NASTY)
        grades.grade("anna", *SECOND, "X", "-1")
        grades.grade("anna", *THIRD, "B")
        grades.grade("anna", *LENS, "B")
        grades.grade("anna", *DUD, "X", "planted?")
        grades.grade("=ben", *FIRST, "B")
        grades.grade("=ben", *SECOND, "X")
        grades.grade("=ben", *COPY, None, "seen before")
        grades.grade("=ben", *LENS, "C")
    return tmp_path / "grades"


def table(scan: Path, folder: Path, **options: Any) -> pa.Table:
    current = read_grades(folder).all_current()
    rows = catalogue_rows(scan, [grade.key for grade in current])
    return graded_table(rows, SCAN, current, load_planted(folder), **options)


def test_a_row_an_object_with_its_place_in_the_catalogue_and_every_grader_s_own(scan: Path, folder: Path):
    found = table(scan, folder)
    keys = list(zip(found["field_id"].to_pylist(), found["objid"].to_pylist(), strict=True))
    assert keys == [FIRST, THIRD, SECOND, COPY]
    assert found.schema.field("objid").type == pa.int64()
    assert found["grade"].to_pylist() == ["B", "B", "X", None]
    assert found["n_grades"].to_pylist() == [2, 1, 2, 0]
    assert found["disagreement"].to_pylist() == [1, None, 0, None]
    assert found["grade_anna"].to_pylist() == ["A", "B", "X", None]
    assert found["grade_=ben"].to_pylist() == ["B", None, "X", None]
    assert found["comment_anna"].to_pylist() == [NASTY, None, "-1", None]
    assert found["comment_=ben"].to_pylist() == [None, None, None, "seen before"]
    assert found["p_lens"].null_count == 4
    catalogue = {(row["field_id"], row["objid"]): row for row in query(scan, all=True).to_pylist()}
    for row in found.to_pylist():
        its = catalogue[row["field_id"], row["objid"]]
        assert {name: row[name] for name in its} == its
    assert not [name for name in found.column_names if name.startswith("time")]
    assert found.schema.metadata == {b"consensus": b"median"}
    assert found.schema.field("ra").metadata[b"unit"] == b"deg"


def test_probabilities_are_those_of_the_estimate(scan: Path, folder: Path):
    found = table(scan, folder, rule="dawid-skene")
    every = dawid_skene(ratings(read_grades(folder).all_current()), {LENS: True, DUD: False})
    assert every.probability is not None
    for row in found.to_pylist()[:3]:
        place = every.objects.index((row["field_id"], row["objid"]))
        assert [row[f"p_{letter}"] for letter in "ABCX"] == pytest.approx(every.probability[place].tolist(), abs=1e-6)
        assert row["p_lens"] == pytest.approx(row["p_A"] + row["p_B"], abs=1e-6)
    assert found["p_lens"].null_count == 1


def test_planted_objects_are_in_the_table_only_when_asked_for(scan: Path, folder: Path):
    found = table(scan, folder, with_planted=True)
    planted = {(row["field_id"], row["objid"]): row["planted"] for row in found.to_pylist()}
    assert planted == {FIRST: None, SECOND: None, THIRD: None, COPY: None, LENS: "lens", DUD: "dud"}
    lens = next(row for row in found.to_pylist() if row["planted"] == "lens")
    assert (lens["survey"], lens["scan_id"], lens["ra"], lens["score"]) == ("sky", "test", None, None)


def test_the_same_grades_give_the_same_bytes_whenever_they_were_given(scan: Path, tmp_path: Path):
    written = []
    for number, order in enumerate((1, -1)):
        with open_grades(tmp_path / str(number), catalogue_identity=SCAN, known=set(candidates(scan))) as grades:
            for grader, key, letter in [("a", FIRST, "A"), ("b", FIRST, "C"), ("a", SECOND, "B"), ("b", THIRD, "B")][
                ::order
            ]:
                grades.grade(grader, *key, letter)
        written.append(parquet_bytes(table(scan, tmp_path / str(number))))
    assert written[0] == written[1]
    assert "time_a" in table(scan, tmp_path / "0", times=True).column_names


def test_an_object_that_the_catalogue_has_no_longer_keeps_its_grades(scan: Path, folder: Path):
    current = read_grades(folder).all_current()
    rows = catalogue_rows(scan, [FIRST])
    found = graded_table(rows, SCAN, current, PLANTED)
    by_key = {(row["field_id"], row["objid"]): row for row in found.to_pylist()}
    assert by_key[SECOND]["grade"] == "X"
    assert (by_key[SECOND]["ra"], by_key[SECOND]["scan_id"]) == (None, "test")
    assert by_key[FIRST]["ra"] is not None


def test_exported_candidates_are_a_catalogue_to_join_too(scan: Path, folder: Path, tmp_path: Path):
    pq.write_table(query(scan), tmp_path / "candidates.parquet")
    assert catalogue_identity(tmp_path / "candidates.parquet") == SCAN
    current = read_grades(folder).all_current()
    rows = catalogue_rows(tmp_path / "candidates.parquet", [grade.key for grade in current])
    assert parquet_bytes(graded_table(rows, SCAN, current, PLANTED)) == parquet_bytes(table(scan, folder))


def test_a_catalogue_in_a_store_is_joined_too(scan: Path, folder: Path, tmp_path: Path, bucket: str, store_url: str):
    upload(store_url, bucket, scan, "scan")
    where = f"s3://{bucket}/scan"
    assert grades_folder(place(where)) == Path("scan-grades")
    run(where, "--grades", folder, "--output", tmp_path / "graded.parquet")
    assert pq.read_table(tmp_path / "graded.parquet").equals(table(scan, folder))
    with pytest.raises(GradeError, match="local"):
        open_grades(f"s3://{bucket}/grades", catalogue_identity=SCAN, known=())


def test_which_scan_exported_rows_are_of_has_to_be_told(scan: Path, tmp_path: Path):
    whole = query(scan)
    pq.write_table(whole.drop_columns(["scan_id"]), tmp_path / "some.parquet")
    with pytest.raises(GradeError, match="no column scan_id to tell which scan"):
        catalogue_identity(tmp_path / "some.parquet")
    other = whole.set_column(whole.column_names.index("scan_id"), "scan_id", pa.array(["other"] * len(whole)))
    pq.write_table(pa.concat_tables([whole.cast(other.schema), other]), tmp_path / "both.parquet")
    with pytest.raises(GradeError, match=r"rows of several scans \(other, test\)"):
        catalogue_identity(tmp_path / "both.parquet")
    pq.write_table(whole.slice(0, 0), tmp_path / "none.parquet")
    with pytest.raises(GradeError, match="has no row"):
        catalogue_identity(tmp_path / "none.parquet")
    pq.write_table(whole.drop_columns(["field_id"]), tmp_path / "some.parquet")
    with pytest.raises(GradeError, match="no column field_id"):
        catalogue_rows(tmp_path / "some.parquet", [FIRST])


def test_a_row_a_grade(folder: Path):
    found = grades_table(read_grades(folder).all_current(), PLANTED)
    assert [(row["field_id"], row["grader"], row["grade"]) for row in found.to_pylist()] == [
        ("F0", "=ben", "B"),
        ("F0", "anna", "A"),
        ("F0", "=ben", "X"),
        ("F0", "anna", "X"),
        ("F1", "=ben", None),
        ("F1", "anna", "B"),
    ]
    every = grades_table(read_grades(folder).all_current(), PLANTED, times=True, with_planted=True)
    assert len(every) == 9
    assert every["time"].null_count == 0
    assert every["planted"].to_pylist().count("lens") == 2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1"])
def test_a_comment_that_a_spreadsheet_would_run_is_text_in_csv(text: str):
    given = [Grade("-F", -5, "@anna", "A", text, "", 1), Grade("F", 1, "ben", "A", f"fine {text}", "", 2)]
    safe = spreadsheet_safe(grades_table(given, Planted()))
    rows = list(csv.DictReader(io.StringIO(csv_bytes(safe).decode(), newline="")))
    assert [row["comment"] for row in rows] == [f"'{text}", f"fine {text}"]
    assert [row["grader"] for row in rows] == ["'@anna", "ben"]
    # What others join by stays as it is.
    assert (rows[0]["field_id"], rows[0]["objid"]) == ("-F", "-5")


def run(*arguments: object, code: int = 0) -> Any:
    answer = CliRunner().invoke(app, ["grades", *map(str, arguments), "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout)


def test_the_command_sums_up_and_writes(scan: Path, folder: Path, tmp_path: Path):
    said = run(scan, "--grades", folder, "--agreement", "--output", tmp_path / "graded.parquet")
    assert said["objects"] == 3
    assert said["planted"] == 2
    assert said["consensus"] == {"A": 0, "B": 2, "C": 0, "X": 1}
    assert said["rows"] == 4
    anna = next(grader for grader in said["graders"] if grader["grader"] == "anna")
    assert anna["completeness"]["part"] == 1
    assert anna["by_theta_E"][0]["low"] == 1.0
    assert said["agreement"]["pairs"][0]["objects"] == 2
    written = pq.read_table(tmp_path / "graded.parquet")
    assert written["objid"].to_pylist() == [FIRST[1], THIRD[1], SECOND[1], COPY[1]]
    assert written.equals(table(scan, folder))
    text = CliRunner().invoke(app, ["grades", str(scan), "--grades", str(folder), "--agreement"])
    assert "planted lenses called A or B: 1 of 1 (100%" in text.stdout
    assert "anna: 3 graded: A 1, B 1, C 0, X 1" in text.stdout


def test_csv_has_every_id_to_its_last_digit_and_no_formula(scan: Path, folder: Path, tmp_path: Path):
    run(folder, "--catalogue", scan, "--output", tmp_path / "graded.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "graded.csv").read_bytes().decode(), newline="")))
    assert [int(row["objid"]) for row in rows] == [FIRST[1], THIRD[1], SECOND[1], COPY[1]]
    assert rows[0]["comment_anna"] == f"'{NASTY}"
    assert rows[2]["comment_anna"] == "'-1"
    run(folder, "--output", tmp_path / "each.json", "--each")
    each = json.loads((tmp_path / "each.json").read_text())
    assert each[0]["objid"] == str(FIRST[1])


def test_grades_are_looked_for_beside_the_catalogue_and_the_other_way_about(scan: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "products"
    shutil.copytree(scan, copy)
    assert grades_folder(copy) == tmp_path / "products-grades"
    with open_grades(grades_folder(copy), catalogue_identity=SCAN, known={FIRST}) as grades:
        grades.grade("anna", *FIRST, "A")
    for given in (copy, tmp_path / "products-grades"):
        assert run(given, "--output", tmp_path / "graded.parquet")["rows"] == 1


def test_what_the_command_can_not_do_is_told(scan: Path, folder: Path, tmp_path: Path):
    for arguments, message in [
        ((scan,), "no folder of grades"),
        ((scan, "--grades", folder, "--consensus", "mean"), "choose from median, majority, dawid-skene"),
        ((scan, "--grades", folder, "--output", "graded.xlsx"), "give it a suffix of .csv, .json, .parquet, .pq"),
        ((folder, "--output", tmp_path / "graded.csv"), "name it with --catalogue"),
        ((scan, "--grades", folder, "--output", folder / "grades.json"), "which is read"),
        ((scan, "--grades", folder, "--output", scan / "scan.json"), "which is read"),
        ((folder, "--grades", folder), "is a folder of grades itself"),
        ((scan, "--catalogue", scan), "--catalogue goes with one"),
    ]:
        assert message in run(*arguments, code=2)["error"]
    with open_grades(
        tmp_path / "other", catalogue_identity=CatalogueIdentity("sky", "dr1", "b"), known={FIRST}
    ) as other:
        other.grade("anna", *FIRST, "A")
    assert "give those of one scan" in run(scan, "--grades", tmp_path / "other", "--output", "x.csv", code=2)["error"]
    open_grades(tmp_path / "empty", catalogue_identity=SCAN, known=()).close()
    assert run(scan, "--grades", tmp_path / "empty", "--agreement")["objects"] == 0
    assert "nothing is graded yet" in run(scan, "--grades", tmp_path / "empty", "--output", "x.csv", code=2)["error"]
    assert not Path("x.csv").exists()
