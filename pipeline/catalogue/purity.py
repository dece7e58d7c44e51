"""Expected purity above a threshold, from calibrated probabilities alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Scores of the table of purity."""


@dataclass(frozen=True)
class PurityRow:
    """What lies at or above a threshold: candidates, lenses expected among them, and their share (None without any)."""

    threshold: float
    candidates: int
    expected_lenses: float
    purity: float | None


class PuritySums:
    """Numbers and sums of scores above rising thresholds, added up part by part."""

    def __init__(self, thresholds: tuple[float, ...] = THRESHOLDS) -> None:
        self.thresholds = thresholds
        # A score is float32; so is the threshold that it is held against.
        self._edges = np.array(thresholds, np.float32)
        self._counts, self._sums = (np.zeros(len(thresholds) + 1) for _ in range(2))

    def add(self, scores: npt.NDArray[Any]) -> None:
        """Count scores (n,); NaN is left out."""
        values = np.asarray(scores, np.float32)
        values = values[np.isfinite(values)]
        passed = np.searchsorted(self._edges, values, side="right")
        self._counts += np.bincount(passed, minlength=len(self._counts))
        self._sums += np.bincount(passed, weights=values.astype(np.float64), minlength=len(self._sums))

    def rows(self) -> tuple[PurityRow, ...]:
        """What lies above each threshold."""
        counts, sums = (values[::-1].cumsum()[::-1][1:] for values in (self._counts, self._sums))
        return tuple(
            PurityRow(threshold, int(count), float(total), float(total / count) if count else None)
            for threshold, count, total in zip(self.thresholds, counts, sums, strict=True)
        )

    @property
    def scored(self) -> int:
        """Scores that were counted."""
        return int(self._counts.sum())

    @property
    def lenses(self) -> float:
        """Lenses expected among all of them."""
        return float(self._sums.sum())


def expected_purity(
    parts: Iterable[npt.NDArray[Any]], thresholds: tuple[float, ...] = THRESHOLDS
) -> tuple[PurityRow, ...]:
    """Numbers of candidates above thresholds, and how many of them are lenses if the scores are calibrated.

    A calibrated probability is the share of lenses among detections that have it, so the lenses above a threshold are
    expected to be the sum of the scores there and the purity their mean. It is as good as the calibration at the top.

    Parameters
    ----------
    parts : iterable of (n,) arrays
        Ensemble scores at the survey's prior, batch by batch; NaN is left out.
    thresholds : tuple of float
        Rising.
    """
    sums = PuritySums(thresholds)
    for part in parts:
        sums.add(part)
    return sums.rows()
