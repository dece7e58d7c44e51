"""The threshold study: precision, recall and F1 against the threshold, and what a chosen threshold gives elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.figures import HIGH, LOW, Bootstrap, Counts, Figure, Floats, confusion
from pipeline.evaluate.tally import Tally

_MOST_POINTS = 200


@dataclass(frozen=True)
class ThresholdStudy:
    """Precision, recall and F1 of "score above the threshold is an anomaly", where a share of all are anomalies.

    Attributes
    ----------
    share : float
    best : float
        The threshold of the highest F1.
    f1_at_best : float
        On the sample that it was chosen on, where it is flattered.
    threshold, precision, recall, f1 : float64 (p,)
        At falling thresholds.
    """

    share: float
    best: float
    f1_at_best: float
    threshold: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]


def threshold_study(counted: Tally, share: float) -> ThresholdStudy:
    """Go through all thresholds of a sample, weighted to a share of anomalies.

    The rate of false alarms is (k + 1/2) / (m + 1) for k of m, so that a threshold without any is not taken to be
    pure: its choice rests on how many normals were looked at.

    Parameters
    ----------
    counted : Tally
        With both classes.
    share : float
    """
    recall = np.cumsum(counted.lenses) / counted.n_lenses
    false = (np.cumsum(counted.others) + 0.5) / (counted.n_others + 1)
    precision, f1 = precision_and_f1(recall, false, share)
    threshold = _below(counted.score)
    best = int(np.argmax(f1))
    shown = np.unique(np.round(np.linspace(0, len(f1) - 1, _MOST_POINTS)).astype(int))
    shown = shown[np.isfinite(threshold[shown])]
    return ThresholdStudy(
        share,
        float(threshold[best]),
        float(f1[best]),
        threshold[shown],
        precision[shown],
        recall[shown],
        f1[shown],
    )


def precision_and_f1(recall: Floats, false: Floats, share: float) -> tuple[Floats, Floats]:
    """Precision and F1 at rates of true and false positives where a share of all are anomalies; F1 is 0 with no true.

    precision = share recall / (share recall + (1 - share) false), F1 = 2 precision recall / (precision + recall).
    """
    true = share * recall
    precision = true / np.maximum(true + (1 - share) * false, 1e-300)
    f1 = 2 * true / np.maximum(true + (1 - share) * false + share, 1e-300)
    return precision, f1


def figures_at_prior(counted: Tally, threshold: float, prior: float, replicates: int, seed: int) -> list[Figure]:
    """Precision, recall and F1 at a prior that is far below the sample's own share, at a threshold chosen elsewhere.

    Either class is weighted to the prior. The rates are drawn from their Jeffreys posteriors,
    Beta(k + 1/2, n - k + 1/2) (Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101), which know that no false alarm among m
    normals is none below about 1 / m; each figure is the median of the draws with their 68 % interval.

    Parameters
    ----------
    counted : Tally
        Stamps that each stand for themselves.
    threshold : float
    prior : float
    replicates, seed : int
    """
    matrix = confusion(counted, threshold)
    rng = np.random.default_rng(seed)
    recall = rng.beta(matrix.true_positives + 0.5, matrix.false_negatives + 0.5, replicates)
    false = rng.beta(matrix.false_positives + 0.5, matrix.true_negatives + 0.5, replicates)
    precision, f1 = precision_and_f1(recall, false, prior)
    n, m = counted.n_lenses, counted.n_others
    groups = counted.n_lens_groups, counted.n_other_groups
    answer = []
    for name, values in (("precision", precision), ("recall", recall), ("F1", f1)):
        middle, low, high = np.quantile(values, [0.5, LOW, HIGH]).tolist()
        answer.append(Figure(f"{name} at prior {prior:g}", middle, low, high, n, m, *groups))
    return answer


def best_on_itself(sample: Bootstrap) -> Figure:
    """The highest F1 of any threshold, at the sample's own mix: chosen on what it is measured on, and flattered."""

    def highest(lenses: Counts, others: Counts) -> Floats:
        true, false = np.cumsum(lenses, axis=-1), np.cumsum(others, axis=-1)
        found: Floats = (2 * true / (true + false + lenses.sum(-1, keepdims=True))).max(axis=-1)
        return found

    return sample.figure("highest F1, threshold chosen on the sample itself", highest)


def _below(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Between each of falling scores and the next: what is above it is at or above the score."""
    following = np.append(score[1:], -np.inf)
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(following), (score + following) / 2, np.nextafter(score, -np.inf))
    return np.where(np.isneginf(score), -np.inf, middle)
