"""What became of known lenses in a scan: of those that could be seen, how many were found at each score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.interval import wilson
from pipeline.catalogue.known_choice import grade_order
from pipeline.catalogue.purity import THRESHOLDS

LOW_THRESHOLDS = (1e-4, 1e-3, 0.01, 0.05)
"""Below those of the table of purity: at a prior of one in ten thousand most of what matters lies here."""

ALL = "all"
"""Name of the rows over every grade."""

Floats = npt.NDArray[np.float64]


class State(IntEnum):
    """What became of one known lens; of several answers, from fields that overlap, the highest holds."""

    UNKNOWN = 0
    OUTSIDE = 1
    NOT_SCANNED = 2
    NO_COVERAGE = 3
    NOT_LISTED = 4
    NOT_DETECTED = 5
    NO_SCORE = 6
    BELOW_FLOOR = 7
    CANDIDATE = 8

    @property
    def words(self) -> str:
        """As a person reads it."""
        return self.name.lower().replace("_", " ")


MEANINGS = {
    State.UNKNOWN: "not in this table, whose footprint is not known",
    State.OUTSIDE: "in no field of the scan",
    State.NOT_SCANNED: "in a field that has no catalogue: not yet scanned, or in quarantine",
    State.NO_COVERAGE: "in a field, where nothing was observed",
    State.NOT_LISTED: "in the footprint, not in this table",
    State.NOT_DETECTED: "observed, no detection within the radius",
    State.NO_SCORE: "detected, the stamp could not be scored, or a gate stopped it",
    State.BELOW_FLOOR: "scored, no candidate",
    State.CANDIDATE: "a candidate",
}

COVERED = (State.NOT_LISTED, State.NOT_DETECTED, State.NO_SCORE, State.BELOW_FLOOR, State.CANDIDATE)
"""States of lenses that the scan could have found."""

SCORED = (State.BELOW_FLOOR, State.CANDIDATE)
"""States of lenses with a score."""


@dataclass(frozen=True)
class RecoveredRow:
    """Known lenses of one grade at or above a threshold.

    Attributes
    ----------
    grade : str
        `ALL` for every grade together.
    threshold : float
    recovered : int
        With a score at or above it.
    covered, scored : int
        That could have been found, and that have a score.
    of_covered, of_scored : (value, low, high) or None
        Share recovered of either with its 68 % Wilson interval; None of none, and where rows exported from a scan do
        not say what else could have been found, or has a score.
    """

    grade: str
    threshold: float
    recovered: int
    covered: int
    scored: int
    of_covered: tuple[float, float, float] | None
    of_scored: tuple[float, float, float] | None


def state_counts(state: npt.NDArray[np.int8], grade: Sequence[str]) -> dict[str, dict[State, int]]:
    """How many known lenses are in each state, for every grade and for all."""
    grades = np.array(grade, object)
    groups = [(ALL, np.ones(len(grades), bool)), *((one, grades == one) for one in grade_order(grade))]
    return {name: {kind: int((state[mine] == kind).sum()) for kind in State} for name, mine in groups}


def recovered(
    state: npt.NDArray[np.int8],
    score: Floats,
    grade: Sequence[str],
    thresholds: Sequence[float] = (*LOW_THRESHOLDS, *THRESHOLDS),
) -> list[RecoveredRow]:
    """The share of known lenses at or above thresholds, by grade, `ALL` first.

    Parameters
    ----------
    state : (n,) of `State`
        Lenses that are in none of `COVERED` are left out: nobody could have found them.
    score : (n,)
        NaN where there is none, which is below every threshold.
    grade : sequence of str
    thresholds : sequence of float
    """
    grades, values = np.array(grade, object), np.asarray(score, np.float64)
    covered, scored = np.isin(state, COVERED), np.isin(state, SCORED)
    missed_known = not (state == State.UNKNOWN).any()
    scores_known = missed_known and not (state == State.NOT_LISTED).any()
    rows = []
    for name in (ALL, *grade_order(grade)):
        mine = np.ones(len(grades), bool) if name == ALL else grades == name
        total, with_score = int((covered & mine).sum()), int((scored & mine).sum())
        for threshold in thresholds:
            # A score is float32; so is the threshold that it is held against.
            count = int((values[covered & mine] >= np.float32(threshold)).sum())
            of_covered = _share(count, total) if missed_known else None
            of_scored = _share(count, with_score) if scores_known else None
            rows.append(RecoveredRow(name, threshold, count, total, with_score, of_covered, of_scored))
    return rows


def _share(count: int, total: int) -> tuple[float, float, float] | None:
    return (count / total, *wilson(count / total, total)) if total else None
