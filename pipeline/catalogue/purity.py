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
    """
    counts, sums = np.zeros(len(thresholds), np.int64), np.zeros(len(thresholds))
    for part in parts:
        values = np.asarray(part, np.float64)
        for place, threshold in enumerate(thresholds):
            # A score is float32; so is the threshold that it is held against.
            above = values[values >= np.float32(threshold)]
            counts[place] += len(above)
            sums[place] += above.sum()
    return tuple(
        PurityRow(threshold, int(count), float(total), float(total / count) if count else None)
        for threshold, count, total in zip(thresholds, counts, sums, strict=True)
    )
