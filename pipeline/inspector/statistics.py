"""What the page's statistics and exports hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.inspector.agreement import agreement
from pipeline.inspector.consensus import consensus
from pipeline.inspector.export import catalogue_rows, graded_table, spreadsheet_safe
from pipeline.inspector.graders import Rate, measure
from pipeline.inspector.history import GRADES
from pipeline.inspector.planted import Planted
from pipeline.inspector.ratings import NONE, ratings
from pipeline.inspector.session import Session
from pipeline.io.exports import csv_bytes
from pipeline.io.tables import parquet_bytes


def statistics(session: Session, *, blind: bool) -> dict[str, Any]:
    """Who graded how much, how well planted objects were told, how far graders agree; no grade of any one object.

    To who grades blind planted objects count as all others do: numbers that leave them out, or count them, would say
    after every grade whether its object was planted.
    """
    grades, hidden = session.grades.all_current(), blind and session.planting
    planted = Planted() if hidden else session.objects.planted
    matrix = ratings(grades, without=planted)
    found = agreement(matrix)
    chosen = consensus(matrix)
    measures = measure(grades, planted)
    return {
        "candidates": len(session.blind_numbers("")) if hidden else len(session.objects.rows),
        "graded": len(matrix.objects),
        "shared": int(((matrix.level != NONE).sum(axis=1) >= 2).sum()),
        "graders": [{"grader": one.grader, "counts": one.given, "graded": sum(one.given.values())} for one in measures],
        "planted": [
            {
                "grader": one.grader,
                "lenses": one.completeness.whole,
                "found": _rate(one.completeness),
                "duds": one.false_positives.whole,
                "taken": _rate(one.false_positives),
            }
            for one in measures
            if one.completeness.whole or one.false_positives.whole
        ],
        "alpha": [found.alpha, found.alpha_low, found.alpha_high],
        "pairs": [
            {
                "graders": [pair.first, pair.second],
                "shared": pair.objects,
                "same": pair.same,
                "kappa": pair.weighted_kappa,
            }
            for pair in found.pairs
            if pair.objects
        ],
        "consensus": {letter: chosen.grades.count(letter) for letter in GRADES},
    }


def export(session: Session, form: str) -> bytes:
    """The grades joined to the catalogue, a row an object, as "csv" or "parquet"; what is planted is left out.

    Raises
    ------
    GradeError
        If nothing is graded yet.
    """
    table = _graded(session)
    return csv_bytes(spreadsheet_safe(table)) if form == "csv" else parquet_bytes(table)


def _graded(session: Session) -> pa.Table:
    grades, planted = session.grades.all_current(), session.objects.planted
    keys = sorted({grade.key for grade in grades} - set(planted.by_key))
    rows = catalogue_rows(session.objects.output, keys)
    return graded_table(rows, session.grades.identity, grades, planted)


def _rate(rate: Rate) -> list[float | None]:
    return [rate.value, rate.low, rate.high]
