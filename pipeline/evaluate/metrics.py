"""How well scores separate lenses from the rest.

Every function takes `scores` (n,) and `labels` (n,) bool, True for a lens. A NaN score counts as the lowest
of all: what can't be scored is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pipeline.catalogue.interval import wilson

Scores = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """A measured figure with its 68 % interval; NaN where there was nothing to measure."""

    value: float
    low: float
    high: float


def share(count: int, total: int) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927, JASA 22, 209) at one sigma.

    NaN for a total of 0.
    """
    if total == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return _wilson(count / total, float(total))


def share_above(above: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None) -> Estimate:
    """A share of stamps with the Wilson interval of as many independent ones as they are worth.

    Stamps that belong together count for fewer: for p (1 - p) / v of them, where v = sum over groups of
    (above - p size)^2 / n^2 is the variance of a share in a sample of clusters (Korn & Graubard 1998, Survey
    Methodology 24, 193; Wilson's interval with it: Dean & Pagano 2015, JSSAM 3, 484). Where all or none are
    above, v says nothing and the groups are counted. Never more than there are stamps.

    Parameters
    ----------
    above : (n,) bool
    groups : (n,), optional
        Equal where stamps belong together; None: each for itself.

    Returns
    -------
    Estimate
        NaN for no stamp.
    """
    passed = np.asarray(above, dtype=bool)
    count, total = int(passed.sum()), len(passed)
    if groups is None or total == 0:
        return share(count, total)
    _, number = np.unique(np.asarray(groups), return_inverse=True)
    size = np.bincount(number)
    p, worth = count / total, float(len(size))
    variance = float(((np.bincount(number, weights=passed) - p * size) ** 2).sum()) / total**2
    if 0 < count < total:
        worth = p * (1 - p) / variance if variance > 0 else float(total)
    return _wilson(p, min(max(worth, 1.0), float(total)))


def completeness_at_fpr(scores: Scores, labels: Labels, fpr: float) -> Estimate:
    """Share of lenses above the score that a share `fpr` of the others passes.

    The threshold is the smallest score for which at most `fpr` of the others lie strictly above it, so ties
    never count in favour.
    """
    lenses, others = _split(scores, labels)
    if not others.size or not lenses.size:
        return share(0, 0)
    allowed = int(np.floor(fpr * others.size))
    ordered = np.sort(others)[::-1]
    threshold = ordered[allowed] if allowed < others.size else -np.inf
    return share(int((lenses > threshold).sum()), lenses.size)


def auroc(scores: Scores, labels: Labels) -> Estimate:
    """Area under the receiver operating characteristic; ties count a half.

    The interval is that of Hanley & McNeil 1982 (Radiology 143, 29).
    """
    lenses, others = _split(scores, labels)
    n, m = lenses.size, others.size
    if not n or not m:
        return share(0, 0)
    ranks = rankdata(np.concatenate([lenses, others]))
    area = float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)) / (n * m)
    spread = float(np.sqrt(max(variance, 0.0)))
    return Estimate(area, max(0.0, area - spread), min(1.0, area + spread))


def expected_calibration_error(probabilities: Scores, labels: Labels, bins: int = 15) -> float:
    """Mean distance between probability and share of lenses, over bins of equal count (Naeini et al. 2015).

    NaN probabilities are left out; NaN if none is left.
    """
    scored = np.isfinite(probabilities)
    values, truth = np.asarray(probabilities)[scored], np.asarray(labels, dtype=bool)[scored]
    if not values.size:
        return float("nan")
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, values.size)) if part.size]
    gaps = [abs(values[part].mean() - truth[part].mean()) * part.size for part in parts]
    return float(sum(gaps) / values.size)


def _wilson(p: float, n: float) -> Estimate:
    return Estimate(p, *wilson(p, n))


def _split(scores: Scores, labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scores of the lenses and of the others, NaN as minus infinity."""
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels, dtype=bool)
    if values.shape != truth.shape or values.ndim != 1:
        raise ValueError(f"scores {values.shape} and labels {truth.shape} must be of one length, one axis each")
    values = np.where(np.isnan(values), -np.inf, values)
    return values[truth], values[~truth]
