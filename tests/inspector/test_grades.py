"""Grades on disk."""

from __future__ import annotations

from pathlib import Path

from pipeline.inspector.grades import GradesFile, open_grades, read_grades
from pipeline.inspector.identity import CatalogueIdentity

SCAN = CatalogueIdentity("survey", "dr1", "scan-1")
KNOWN = frozenset({("F0", 2**60 + 1), ("F0", 2**60 + 3), ("F1", 2**60 + 1), ("F1", -7)})
FIRST, SECOND, COPY, NEGATIVE = ("F0", 2**60 + 1), ("F0", 2**60 + 3), ("F1", 2**60 + 1), ("F1", -7)


def opened(folder: Path) -> GradesFile:
    return open_grades(folder, catalogue_identity=SCAN, known=KNOWN)


def test_grades_are_there_after_closing_and_opening_again(tmp_path: Path):
    with opened(tmp_path / "grades") as grades:
        grades.grade("anna", *FIRST, "A", "an arc, =1+1 <b>bold</b>\n'")
        grades.grade("anna", *FIRST, "B")
        grades.grade("ben", *FIRST, "X")
        grades.grade("anna", *NEGATIVE, None, "come back to it")
        before = grades.all_current()
    with opened(tmp_path / "grades") as grades:
        assert grades.all_current() == before
        assert {key: grade.grade for key, grade in grades.current("anna").items()} == {FIRST: "B", NEGATIVE: None}
        assert grades.get("ben", *FIRST) == before[-1]
        assert grades.get("ben", *COPY) is None
        assert grades.graders() == ("anna", "ben")
        assert [grade.sequence for grade in grades.of("anna")] == [2, 4]
    assert read_grades(tmp_path / "grades", catalogue_identity=SCAN).all_current() == before
