"""The candidates by what all graders make of them: for a talk about them when the grading is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import QueryError
from pipeline.inspector.agreement import disagreement
from pipeline.inspector.consensus import consensus
from pipeline.inspector.history import Grade, Key
from pipeline.inspector.ratings import NONE, ratings

CONSENSUS, DISAGREEMENT = "consensus of graders", "disagreement of graders"

ORDERS = (CONSENSUS, DISAGREEMENT)
"""No columns of a catalogue: they have blanks in their names."""


def by_graders(
    keys: Sequence[Key], grades: Sequence[Grade], order: str, *, descending: bool = True
) -> tuple[list[Key], Mapping[Key, str]]:
    """Keys that have what an order goes by, in that order, and what of it a tile tells.

    Parameters
    ----------
    keys : sequence of (field_id, objid)
        Equal ones keep their order.
    grades : sequence of Grade
        Those that hold, of what is to be counted.
    order : str
        `CONSENSUS`: the median grade, then the mean of the grades, surest lenses first, of all that have a grade.
        `DISAGREEMENT`: the mean distance of two grades in steps, the largest first, of all that two have graded.
    descending : bool
        False turns it round.

    Raises
    ------
    QueryError
        If there is no such order.
    """
    if order not in ORDERS:
        raise QueryError(f"sort: there is no order {order!r}; orders: {', '.join(ORDERS)}.")
    matrix = ratings(grades)
    given = matrix.level != NONE
    number = given.sum(axis=1)
    mean = np.where(given, matrix.level, 0).sum(axis=1) / np.maximum(number, 1)
    apart, median = disagreement(matrix.level), consensus(matrix)
    rank: dict[Key, tuple[float, float]] = {}
    tags: dict[Key, str] = {}
    for row, key in enumerate(matrix.objects):
        letter, many = median.grades[row], int(number[row])
        if order == CONSENSUS:
            rank[key] = (float(median.level[row]), float(mean[row]))
            tags[key] = f"{letter} of {many}"
        elif many > 1:
            rank[key] = (-float(apart[row]), 0.0)
            tags[key] = f"{letter} ± {apart[row]:.2g}"
    there = [key for key in keys if key in rank]
    sign = 1 if descending else -1
    there.sort(key=lambda key: (sign * rank[key][0], sign * rank[key][1]))
    return there, tags
