"""How far graders agree beyond chance: Cohen's kappa of two, Krippendorff's alpha of any number.

Functions take levels as integers from 0 in their order, and -1 where somebody gave none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from pipeline.inspector.history import GRADES
from pipeline.inspector.ratings import NONE, Float64, Int64, Ratings

Weights = Literal["none", "linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval"]

RESAMPLES = 1000
"""Of the objects, for the interval of alpha."""


@dataclass(frozen=True)
class PairAgreement:
    """Two graders, on the objects that both graded.

    Attributes
    ----------
    first, second : str
    objects : int
    same : float or None
        Share of them with the same grade; None without any.
    kappa, weighted_kappa : float or None
        Cohen's, plain and with quadratic weights; None where chance alone would agree fully.
    confusion : tuple of tuples of int
        How often the first gave a grade (rows, A to X) and the second one (columns).
    """

    first: str
    second: str
    objects: int
    same: float | None
    kappa: float | None
    weighted_kappa: float | None
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Agreement:
    """How far all graders agree.

    Attributes
    ----------
    objects : int
        With two grades or more.
    alpha : float or None
        Krippendorff's, for ordered grades; 1: full agreement, 0: as by chance; None where it has no value.
    alpha_low, alpha_high : float or None
        Its 95 % interval over resamples of the objects.
    pairs : tuple of PairAgreement
    """

    objects: int
    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    pairs: tuple[PairAgreement, ...]


def agreement(ratings: Ratings) -> Agreement:
    """How far the graders of a matrix agree, two by two and together."""
    alpha, low, high = alpha_interval(ratings.level, len(GRADES))
    pairs = tuple(
        _pair(ratings.graders[one], ratings.graders[other], ratings.level[:, one], ratings.level[:, other])
        for one, other in combinations(range(len(ratings.graders)), 2)
    )
    return Agreement(int(((ratings.level != NONE).sum(axis=1) >= 2).sum()), alpha, low, high, pairs)


def confusion(first: Int64, second: Int64, levels: int) -> Int64:
    """How often one grader gave level i and the other level j to an object, (levels, levels)."""
    both = (first != NONE) & (second != NONE)
    counts = np.zeros((levels, levels), np.int64)
    np.add.at(counts, (first[both], second[both]), 1)
    return counts


def cohen_kappa(first: Int64, second: Int64, levels: int, weights: Weights = "none") -> float | None:
    """Cohen's kappa of two graders on the objects that both graded.

    1 - sum(w O) / sum(w E), where O is the confusion and E what its margins give by chance; disagreements weigh
    the same (Cohen 1960, Educ. Psychol. Meas. 20, 37), as the distance of the levels, or as its square (Cohen 1968,
    Psychol. Bull. 70, 213).

    Parameters
    ----------
    first, second : int64 (n,)
    levels : int
    weights : {"none", "linear", "quadratic"}

    Returns
    -------
    float or None
        None where no disagreement is expected by chance: nothing graded by both, or one level throughout.
    """
    observed = confusion(first, second, levels).astype(np.float64)
    total = observed.sum()
    if total == 0:
        return None
    place = np.arange(levels)
    distance = np.abs(place[:, None] - place[None, :]).astype(np.float64)
    weight = {"none": (distance > 0).astype(np.float64), "linear": distance, "quadratic": distance**2}[weights]
    chance = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / total
    expected = (weight * chance).sum()
    return None if expected == 0 else float(1 - (weight * observed).sum() / expected)


def krippendorff_alpha(level: Int64, levels: int, metric: Metric = "ordinal") -> float | None:
    """Krippendorff's alpha of any number of graders, with grades missing anywhere.

    1 - Do / De from the coincidences of levels in objects with two grades or more (Krippendorff 2011, "Computing
    Krippendorff's Alpha-Reliability", University of Pennsylvania, sections C and D).

    Parameters
    ----------
    level : int64 (object, grader)
    levels : int
    metric : {"nominal", "ordinal", "interval"}
        What counts as the distance of two levels: that they differ, how many grades were given between them, or
        their numbers.

    Returns
    -------
    float or None
        None where no disagreement is expected by chance.
    """
    return _alpha(_coincidences(level, levels).sum(axis=0), metric)


def alpha_interval(
    level: Int64, levels: int, metric: Metric = "ordinal"
) -> tuple[float | None, float | None, float | None]:
    """Alpha with its 95 % interval: the 2.5th and 97.5th percentile over resamples of the objects (always the same).

    The interval is None where fewer than two objects have two grades, or where no resample has a value.
    """
    each = _coincidences(level, levels)
    each = each[each.sum(axis=(1, 2)) > 0]
    alpha = _alpha(each.sum(axis=0), metric)
    if len(each) < 2 or alpha is None:
        return alpha, None, None
    rng = np.random.default_rng(0)
    even = np.full(len(each), 1 / len(each))
    drawn = [_alpha(np.tensordot(rng.multinomial(len(each), even), each, axes=1), metric) for _ in range(RESAMPLES)]
    values = [value for value in drawn if value is not None]
    if not values:
        return alpha, None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return alpha, float(low), float(high)


def disagreement(level: Int64) -> Float64:
    """Mean distance of an object's grades, pair by pair, in steps (A to B is one); NaN with fewer than two grades.

    Parameters
    ----------
    level : int64 (object, grader)
    """
    number, total = np.zeros(len(level)), np.zeros(len(level))
    for one, other in combinations(range(level.shape[1]), 2):
        both = (level[:, one] != NONE) & (level[:, other] != NONE)
        number += both
        total += np.where(both, np.abs(level[:, one] - level[:, other]), 0)
    answer: Float64 = np.divide(total, number, out=np.full(len(level), np.nan), where=number > 0)
    return answer


def _pair(first: str, second: str, one: Int64, other: Int64) -> PairAgreement:
    counts = confusion(one, other, len(GRADES))
    total = int(counts.sum())
    return PairAgreement(
        first,
        second,
        total,
        float(np.trace(counts) / total) if total else None,
        cohen_kappa(one, other, len(GRADES)),
        cohen_kappa(one, other, len(GRADES), "quadratic"),
        tuple(tuple(row) for row in counts.tolist()),
    )


def _coincidences(level: Int64, levels: int) -> Float64:
    """Ordered pairs of levels from different graders of an object, over one less than its grades; (n, c, k)."""
    counts = np.stack([(level == place).sum(axis=1) for place in range(levels)], axis=1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(levels)
    given = counts.sum(axis=1)
    answer: Float64 = pairs / np.maximum(given - 1, 1)[:, None, None]
    return answer


def _alpha(coincidence: Float64, metric: Metric) -> float | None:
    count = coincidence.sum(axis=1)
    total = count.sum()
    distance = _distance(count, metric)
    expected = (np.outer(count, count) * distance).sum()
    if expected <= 0 or total <= 1:
        return None
    return float(1 - (total - 1) * (coincidence * distance).sum() / expected)


def _distance(count: Float64, metric: Metric) -> Float64:
    """Squared distance of each two levels; of ordinal ones by the number of grades from one to the other."""
    place = np.arange(len(count), dtype=np.float64)
    if metric == "nominal":
        return np.asarray(place[:, None] != place[None, :], np.float64)
    if metric == "interval":
        steps: Float64 = (place[:, None] - place[None, :]) ** 2
        return steps
    upto = np.cumsum(count)
    # The grades from the middle of one level to the middle of the other.
    middle = upto - count / 2
    answer: Float64 = (middle[:, None] - middle[None, :]) ** 2
    return answer
