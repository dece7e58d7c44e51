"""Purity above a threshold on labelled stamps, at a survey's prior: expected of the scores, and observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.purity import THRESHOLDS
from pipeline.evaluate.logistic import class_weights


@dataclass(frozen=True)
class LabelledPurity:
    """What a survey has at or above a threshold; None where nothing of the sample lies there.

    Attributes
    ----------
    threshold : float
    candidates, lenses : float
        In a survey of so many detections.
    observed : float or None
        Share of lenses, by the labels.
    expected : float or None
        Mean score.
    """

    threshold: float
    candidates: float
    lenses: float
    observed: float | None
    expected: float | None


def labelled_purity(
    scores: npt.NDArray[Any],
    lens: npt.NDArray[Any],
    *,
    prior: float,
    detections: int,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> tuple[LabelledPurity, ...]:
    """Candidates and lenses above thresholds in a survey of `detections`, a share `prior` of them lenses.

    Lenses and others of the sample are weighted to the prior: purity = prior TPR / (prior TPR + (1 - prior) FPR).

    Parameters
    ----------
    scores : (n,)
        Probabilities at the prior; NaN is above nothing.
    lens : bool (n,)
        With both classes.
    prior : float in (0, 1)
    detections : int
    thresholds : tuple of float
    """
    truth, values = np.asarray(lens, bool), np.asarray(scores, np.float64)
    weight = class_weights(truth, prior) * detections / len(truth)
    rows = []
    for threshold in thresholds:
        with np.errstate(invalid="ignore"):
            above = values >= np.float32(threshold)
        total, found = float(weight[above].sum()), float(weight[above & truth].sum())
        observed = found / total if total else None
        expected = float((weight[above] * values[above]).sum()) / total if total else None
        rows.append(LabelledPurity(threshold, total, found, observed, expected))
    return tuple(rows)
