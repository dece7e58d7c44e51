"""Curves of a sample: ROC, precision and recall, purity and yield at the survey's prior, reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.figures import HIGH, LOW
from pipeline.evaluate.tally import Tally

Floats = npt.NDArray[np.float64]

MOST_POINTS = 400
"""Points that a thinned curve has at most."""


@dataclass(frozen=True)
class Curve:
    """Points at falling thresholds: (p,) each, the first at the highest score.

    Attributes
    ----------
    threshold : float
    true_positive_rate, false_positive_rate : float
        Of what scores at or above the threshold.
    precision : float
        Share of lenses above it at the sample's own share of lenses.
    purity : float
        Share of lenses above it at the survey's prior; 1 where no other is above, for want of others.
    inspected, found : float
        Detections above it, and lenses among them, of so many as the survey has.
    """

    threshold: Floats
    true_positive_rate: Floats
    false_positive_rate: Floats
    precision: Floats
    purity: Floats
    inspected: Floats
    found: Floats


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of about equal mass: mean score, share of lenses with its 68 % interval, counts of the sample."""

    low_score: float
    high_score: float
    expected: float
    observed: float
    low: float
    high: float
    n_lenses: int
    n_others: int


def curve(tally: Tally, prior: float, detections: int) -> Curve:
    """The curves of a tally, thinned to `MOST_POINTS`: evenly in completeness and in the logarithm of the false alarms.

    Parameters
    ----------
    tally : Tally
        With at least one of either class.
    prior : float
        Share of lenses among the survey's detections.
    detections : int
        Of the survey.
    """
    true, false = np.cumsum(tally.lenses), np.cumsum(tally.others)
    tpr, fpr = true / tally.n_lenses, false / tally.n_others
    keep = _thinned(tpr, np.log10(np.maximum(false, 0.5)) / np.log10(tally.n_others + 1.0))
    with np.errstate(invalid="ignore"):
        purity = prior * tpr / (prior * tpr + (1 - prior) * fpr)
    return Curve(
        threshold=tally.score[keep],
        true_positive_rate=tpr[keep],
        false_positive_rate=fpr[keep],
        precision=(true / (true + false))[keep],
        purity=purity[keep],
        inspected=(detections * (prior * tpr + (1 - prior) * fpr))[keep],
        found=(detections * prior * tpr)[keep],
    )


def _thinned(*coordinates: Floats) -> npt.NDArray[np.int64]:
    """Indices of the points that lie a step further along the path than the one kept before; both ends stay."""
    path = sum(np.abs(np.diff(values, prepend=values[:1])) for values in coordinates)
    travelled = np.cumsum(path)
    step = np.floor(travelled / max(float(travelled[-1]), 1e-12) * (MOST_POINTS - 2))
    kept = np.flatnonzero(np.concatenate([[True], step[1:] != step[:-1]]))
    return np.unique(np.append(kept, len(step) - 1))


def reliability(
    tally: Tally, prior: float, *, share: float, bins: int, replicates: int, seed: int
) -> list[ReliabilityBin]:
    """Score against share of lenses over the best `share` of detections, the sample weighted to the prior.

    Each lens of the sample weighs prior / n_lenses, each other (1 - prior) / n_others. The highest scores that together
    weigh `share` are cut, at distinct scores, into bins of about equal weight. Intervals are a bootstrap of the counts,
    by groups where the tally has them.

    Parameters
    ----------
    tally : Tally
        Of calibrated probabilities at that prior.
    prior, share : float in (0, 1)
    bins : int
    replicates, seed : int

    Returns
    -------
    list of ReliabilityBin
        Highest scores first; fewer where scores are tied or few, empty without lenses or others.
    """
    if not tally.n_lenses or not tally.n_others:
        return []
    weights = prior / tally.n_lenses, (1 - prior) / tally.n_others
    mass = np.cumsum(tally.lenses * weights[0] + tally.others * weights[1])
    inside = np.flatnonzero(np.isfinite(tally.score) & (mass <= share * (1 + 1e-9)))
    if not len(inside):
        return []
    # A bin holds at least one group; one other of a small sample can weigh more than a bin.
    number = np.minimum(np.floor(mass[inside] / share * bins * (1 - 1e-9)), bins - 1).astype(np.int64)
    bins_of = [inside[number == index] for index in np.unique(number)]
    place = np.full(len(tally.score), len(bins_of))
    for index, chosen in enumerate(bins_of):
        place[chosen] = index
    counted = tally.merged(place, -np.arange(len(bins_of) + 1.0))
    again = counted.resampled(replicates, np.random.default_rng(seed))
    light_again, heavy_again = (
        part / part.sum(axis=1, keepdims=True) * weight for part, weight in zip(again, (prior, 1 - prior), strict=True)
    )
    answer = []
    for index, chosen in enumerate(bins_of):
        n, m = int(tally.lenses[chosen].sum()), int(tally.others[chosen].sum())
        light, heavy = n * weights[0], m * weights[1]
        scores = tally.score[chosen]
        expected = float(
            (scores * (tally.lenses[chosen] * weights[0] + tally.others[chosen] * weights[1])).sum() / (light + heavy)
        )
        total = light_again[:, index] + heavy_again[:, index]
        observed = np.divide(light_again[:, index], total, out=np.full(replicates, np.nan), where=total > 0)
        low, high = np.nanquantile(observed, [LOW, HIGH]) if (total > 0).any() else (np.nan, np.nan)
        answer.append(
            ReliabilityBin(
                float(scores[-1]), float(scores[0]), expected, light / (light + heavy), float(low), float(high), n, m
            )
        )
    return answer
