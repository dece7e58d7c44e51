"""Grades: what holds after grades, undos and redos, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import GradeError
from pipeline.inspector.grades import (
    GRADES,
    GradesFile,
    check_grader,
    folder_identity,
    is_grades_folder,
    open_grades,
    read_grades,
)
from pipeline.inspector.identity import CatalogueIdentity

SCAN = CatalogueIdentity("survey", "dr1", "scan-1")
KNOWN = frozenset({("F0", 2**60 + 1), ("F0", 2**60 + 3), ("F1", 2**60 + 1), ("F1", -7)})
FIRST, SECOND, COPY, NEGATIVE = ("F0", 2**60 + 1), ("F0", 2**60 + 3), ("F1", 2**60 + 1), ("F1", -7)


def opened(folder: Path, scan: CatalogueIdentity = SCAN) -> GradesFile:
    return open_grades(folder, catalogue_identity=scan, known=KNOWN)


def letters(grades: GradesFile, grader: str) -> dict[tuple[str, int], str | None]:
    return {key: grade.grade for key, grade in grades.current(grader).items()}


def test_grades_are_there_after_closing_and_opening_again(tmp_path: Path):
    with opened(tmp_path / "grades") as grades:
        grades.grade("anna", *FIRST, "A", "an arc, =1+1 <b>bold</b>\n'")
        grades.grade("anna", *FIRST, "B")
        grades.grade("ben", *FIRST, "X")
        grades.grade("anna", *NEGATIVE, None, "come back to it")
        before = grades.all_current()
    with opened(tmp_path / "grades") as grades:
        assert grades.all_current() == before
        assert letters(grades, "anna") == {FIRST: "B", NEGATIVE: None}
        assert grades.get("ben", *FIRST) == before[-1]
        assert grades.get("ben", *COPY) is None
        assert grades.graders() == ("anna", "ben")
        assert [grade.sequence for grade in grades.of("anna")] == [2, 4]
    assert read_grades(tmp_path / "grades", catalogue_identity=SCAN).all_current() == before
    assert folder_identity(tmp_path / "grades") == SCAN
    assert is_grades_folder(tmp_path / "grades")


def test_a_name_is_known_in_other_capitals_unless_it_is_somebodys_own(tmp_path: Path):
    with opened(tmp_path) as grades:
        assert grades.known_as(" Émile ") == "Émile"
        grades.grade("émile", *FIRST, "A")
        assert grades.known_as("E\u0301MILE") == "émile"
        grades.grade("Émile", *FIRST, "B")
        assert (grades.known_as("émile"), grades.known_as("Émile")) == ("émile", "Émile")
        with pytest.raises(GradeError, match="control characters"):
            grades.known_as("a\u200bb")


def test_undo_goes_back_step_by_step_also_after_opening_again(tmp_path: Path):
    with opened(tmp_path) as grades:
        grades.grade("anna", *FIRST, "A")
        grades.grade("anna", *SECOND, "B")
        grades.grade("anna", *FIRST, "X")
        grades.grade("ben", *FIRST, "C")
        undone = grades.undo("anna")
        assert undone is not None
        assert (undone.key, undone.grade) == (FIRST, "X")
        assert letters(grades, "anna") == {FIRST: "A", SECOND: "B"}
    with opened(tmp_path) as grades:
        assert grades.undo("anna").grade == "B"  # type: ignore[union-attr]
        assert grades.undo("anna").grade == "A"  # type: ignore[union-attr]
        assert grades.undo("anna") is None
        assert letters(grades, "anna") == {}
        assert letters(grades, "ben") == {FIRST: "C"}
    with opened(tmp_path) as grades:
        assert grades.redo("anna").grade == "A"  # type: ignore[union-attr]
        assert grades.redo("anna").grade == "B"  # type: ignore[union-attr]
        assert letters(grades, "anna") == {FIRST: "A", SECOND: "B"}
        grades.grade("anna", *COPY, "C")
        assert grades.redo("anna") is None
        assert grades.undo("carla") is None
        assert grades.graders() == ("anna", "ben")


def test_what_holds_is_what_a_list_of_every_state_says(tmp_path: Path):
    rng, keys = random.Random(3), sorted(KNOWN)
    states: list[dict[tuple[str, int], str]] = [{}]
    place = 0
    grades = opened(tmp_path)
    for step in range(400):
        action = rng.choice(["grade", "grade", "undo", "redo"])
        if action == "grade":
            key, letter = rng.choice(keys), rng.choice(GRADES)
            grades.grade("anna", *key, letter)
            states[place + 1 :] = [{**states[place], key: letter}]
            place += 1
        elif action == "undo":
            assert (grades.undo("anna") is None) == (place == 0)
            place = max(0, place - 1)
        else:
            assert (grades.redo("anna") is None) == (place == len(states) - 1)
            place = min(len(states) - 1, place + 1)
        assert letters(grades, "anna") == states[place]
        if step % 50 == 49:
            grades.close()
            grades = opened(tmp_path)
    grades.close()


def test_a_request_that_is_sent_twice_counts_once_also_after_opening_again(tmp_path: Path):
    with opened(tmp_path) as grades:
        first = grades.grade("anna", *FIRST, "A", once="r1")
        assert grades.grade("anna", *FIRST, "A", once="r1") == first
        grades.grade("anna", *SECOND, "B", once="r2")
        undone = grades.undo("anna", once="r3")
    with opened(tmp_path) as grades:
        assert grades.grade("anna", *FIRST, "A", once="r1") == first
        assert grades.undo("anna", once="r3") == undone
        assert letters(grades, "anna") == {FIRST: "A"}
        assert grades.grade("ben", *FIRST, "X", once="r1").grader == "ben"


@pytest.mark.parametrize(
    ("field_id", "objid", "message"),
    [
        ("F0", 2**60 + 2, f"objid {2**60 + 2} of field 'F0' is not among what is graded"),
        ("F9", 2**60 + 1, "field 'F9' is not among"),
        ("F0", float(2**60 + 1), "is no 64-bit integer"),
        ("F0", str(2**60 + 1), "is no 64-bit integer"),
        ("F0", True, "is no 64-bit integer"),
        ("F0", 2**63, "is no 64-bit integer"),
        ("F0", None, "is no 64-bit integer"),
    ],
)
def test_a_grade_for_an_unknown_objid_is_refused(tmp_path: Path, field_id: str, objid: Any, message: str):
    with opened(tmp_path) as grades:
        with pytest.raises(GradeError, match=message):
            grades.grade("anna", field_id, objid, "A")
        assert grades.all_current() == ()
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


def test_numpy_integers_are_ids(tmp_path: Path):
    with opened(tmp_path) as grades:
        assert grades.grade("anna", "F0", np.int64(2**60 + 1), "A").objid == 2**60 + 1  # type: ignore[arg-type]


@pytest.mark.parametrize("grade", ["D", "", "a", "AB", 1])
def test_a_grade_that_is_none_is_refused(tmp_path: Path, grade: Any):
    with opened(tmp_path) as grades, pytest.raises(GradeError, match="choose from A, B, C, X"):
        grades.grade("anna", *FIRST, grade)


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 65, "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u2028b", "\ud800", None, 3]
)
def test_a_name_that_can_not_be_read_is_no_grader(tmp_path: Path, name: Any):
    with opened(tmp_path) as grades:
        for call in (lambda: grades.grade(name, *FIRST, "A"), lambda: grades.undo(name), lambda: grades.current(name)):
            with pytest.raises(GradeError, match="grader"):
                call()


def test_names_are_the_same_however_they_are_typed(tmp_path: Path):
    assert check_grader("  Zoe\u0308 ") == "Zoë"
    assert check_grader("<script>alert(1)</script>") == "<script>alert(1)</script>"
    with opened(tmp_path) as grades:
        grades.grade("Zoe\u0308", *FIRST, "A")
        assert letters(grades, " Zoë ") == {FIRST: "A"}
        assert grades.get("Zoe\u0308", *FIRST) is not None


def test_comments_keep_their_text_and_refuse_what_no_table_can_hold(tmp_path: Path):
    text = 'tabs\tand\nlines, "quotes" \\ <img src=x onerror=alert(1)> 🔭 \u2028'
    with opened(tmp_path) as grades:
        grades.grade("anna", *FIRST, "A", text)
        with pytest.raises(GradeError, match="control characters"):
            grades.grade("anna", *FIRST, "A", "bell\x07")
        with pytest.raises(GradeError, match="control characters"):
            grades.grade("anna", *FIRST, "A", "half \ud800")
        with pytest.raises(GradeError, match="2,001 characters; keep it to 2,000"):
            grades.grade("anna", *FIRST, "A", "x" * 2001)
    with opened(tmp_path) as grades:
        assert grades.get("anna", *FIRST).comment == text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "other",
    [
        CatalogueIdentity("survey", "dr1", "scan-2"),
        CatalogueIdentity("survey", "dr2", "scan-1"),
        CatalogueIdentity("other", "dr1", "scan-1"),
    ],
)
def test_grades_of_another_scan_are_refused(tmp_path: Path, other: CatalogueIdentity):
    opened(tmp_path).close()
    with pytest.raises(GradeError, match="holds grades of scan 'scan-1' of survey dr1, not of scan"):
        opened(tmp_path, other)
    with pytest.raises(GradeError, match="give another folder"):
        read_grades(tmp_path, catalogue_identity=other)


def test_grades_are_never_kept_inside_a_scan_s_output(tmp_path: Path):
    (tmp_path / "scan.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "grades", tmp_path / "a" / "b"):
        with pytest.raises(GradeError, match="lies in a scan's output"):
            opened(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.json"]


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(GradeError, match="holds other files than grades"):
        opened(tmp_path)
    with pytest.raises(GradeError, match="can't be made a folder of grades"):
        opened(tmp_path / "thesis.tex" / "grades")
    with pytest.raises(GradeError, match="no folder of grades"):
        read_grades(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        (json.dumps({"format": 2}), "has layout 2, this lensscan reads 1"),
        (json.dumps({"format": 1, "survey": "s", "release": "r", "scan_id": "i", "secret": "zz"}), "is damaged"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path: Path, text: str, message: str):
    opened(tmp_path).close()
    (tmp_path / "grades.json").write_text(text)
    for call in (lambda: opened(tmp_path), lambda: read_grades(tmp_path)):
        with pytest.raises(GradeError, match=message):
            call()


def test_a_closed_folder_takes_no_grade(tmp_path: Path):
    grades = opened(tmp_path)
    grades.close()
    grades.close()
    with pytest.raises(GradeError, match="closed"):
        grades.grade("anna", *FIRST, "A")
