"""Fields whose scores are not distributed as those of the rest of their survey.

Two questions are asked of each field. Do its scores as a whole lie elsewhere? The field is held against all others by
the chi-square of two samples (Pearson) in bins that hold equal shares of the survey. Has it more or fewer candidates
than its number of detections would have? Given the total, the field's share of two Poisson counts is binomial, which
is exact for the few there are. The answers are taken together by Benjamini & Hochberg (1995, JRSS B 57, 289), and a
field is told only where the difference is also large: with detections enough, everything is significant.

Fields of a real sky differ by more than chance: seeing, depth, clusters of galaxies. That is allowed for in the manner
of genomic control (Devlin & Roeder 1999, Biometrics 55, 997): the chi-square of the median field says how far fields
differ in general, and a field must stand out from that. What is typical of a survey is no alarm; it is `spread`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, chdtrc, chdtri, erfc

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BINS = 8
"""Bins of equal shares of the survey's detections."""
FEWEST = 5 * BINS
"""Detections that a field must have to be asked: five expected a bin."""
FALSE_DISCOVERIES = 0.01
"""Share of the differences called significant that may be chance."""
EFFECT = 0.3
"""Cohen's w from which a difference counts; scores that are all shifted by s of their scatter have about w = s."""
RATIO = 2.0
"""A candidate count counts as different from this many times the expected one, or the expected one by this."""
FEWEST_FOR_SPREAD = 20
"""Fields from which on it can be told how far fields differ in general."""
_NODES = 48


@dataclass(frozen=True)
class Drift:
    """What was found of n fields; NaN where a field was not asked.

    Attributes
    ----------
    asked : bool (n,)
        Fields with `FEWEST` detections or more, while others have as many.
    effect : float (n,)
        Cohen's w of the field's scores against those of the rest, what chance adds taken off.
    expected, ratio : float (n,)
        Candidates that the field would have at the rest's rate, and its own over that.
    q_value : float (n,)
        The smaller of both questions' p-values after Benjamini and Hochberg.
    alarm : bool (n,)
        Whether a difference is significant and large.
    shares : float (n, bins)
        The field's detections by bin, which each hold an equal share of the survey's; NaN without any.
    spread : float
        Root mean square of w among fields in general, which is allowed for; 0 where there are too few to tell.
    """

    asked: Bools
    effect: Floats
    expected: Floats
    ratio: Floats
    q_value: Floats
    alarm: Bools
    shares: Floats
    spread: float


def find_drift(counts: npt.NDArray[np.integer], candidates: npt.NDArray[np.integer]) -> Drift:
    """Hold each field against all the others.

    Parameters
    ----------
    counts : int (n, m)
        Detections of each field in fine bins of score, in order; those that nothing else explains: primary, scored
        and without a vet flag.
    candidates : int (n,)
        How many of them are candidates.

    Returns
    -------
    Drift
        With one field, or none that has enough detections, nobody is asked.
    """
    grouped = _equal_shares(counts.astype(np.int64, copy=False))
    number = grouped.sum(axis=1)
    rest = number.sum() - number
    asked = (number >= FEWEST) & (rest >= FEWEST)
    bins = grouped.shape[1]
    statistic, freedom = _chi_square(grouped, number, rest)
    asked &= freedom > 0
    variance = _variance(statistic[asked], freedom[asked], number[asked])
    p_shape = _p_shape(statistic, np.maximum(freedom, 1), number * variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.sqrt(np.maximum(0.0, statistic - freedom) * (rest / (number + rest)) / number)
        k = candidates.astype(np.int64)
        expected = number * (k.sum() - k) / rest
        ratio = np.where(expected > 0, k / expected, np.where(k > 0, np.inf, 1.0))
        p_count = _p_count(k, expected, number / (number + rest), asked)
        shares = np.where(number[:, None] > 0, grouped / number[:, None], np.nan)
    q_shape, q_count = _adjusted(p_shape, p_count, asked)
    large_count = (ratio >= RATIO) | (ratio <= 1 / RATIO)
    alarm = (q_shape <= FALSE_DISCOVERIES) & (effect >= EFFECT) | (q_count <= FALSE_DISCOVERIES) & large_count

    def told(values: Floats) -> Floats:
        return np.where(asked, values, np.nan)

    return Drift(
        asked=asked,
        effect=told(effect),
        expected=told(expected),
        ratio=told(ratio),
        q_value=told(np.minimum(q_shape, q_count)),
        alarm=alarm & asked,
        shares=shares.reshape(len(counts), bins),
        spread=float(np.sqrt(variance)),
    )


def _equal_shares(counts: Counts) -> Counts:
    """Fine bins put together to at most `BINS` that hold shares of all as equal as the fine ones allow."""
    if not counts.size:
        return np.zeros((len(counts), 1), np.int64)
    total = counts.sum(axis=0).cumsum()
    wanted = total[-1] * np.arange(1, BINS) / BINS
    # A group begins after the fine bin whose end is the nearest to the share that is wanted.
    after = np.searchsorted(total, wanted)
    before = np.maximum(after - 1, 0)
    nearest = np.where(wanted - total[before] < total[np.minimum(after, len(total) - 1)] - wanted, before, after)
    starts = np.unique(np.concatenate([[0], nearest + 1]))
    grouped: Counts = np.add.reduceat(counts, starts[starts < counts.shape[1]], axis=1)
    return grouped


def _chi_square(grouped: Counts, number: Counts, rest: Counts) -> tuple[Floats, Counts]:
    """Pearson's statistic of each field against the rest, and its degrees of freedom."""
    others = grouped.sum(axis=0) - grouped
    both = grouped + others
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(rest / number)[:, None]
        terms = np.where(both > 0, (ratio * grouped - others / ratio) ** 2 / both, 0.0)
    return np.nan_to_num(terms.sum(axis=1)), (both > 0).sum(axis=1) - 1


def _variance(statistic: Floats, freedom: Counts, number: Floats | Counts) -> float:
    """Mean square of the effect among fields, from the median one, as if they differed along one line; 0 of few."""
    if len(statistic) < FEWEST_FOR_SPREAD:
        return 0.0
    beyond_chance = np.median((statistic - chdtri(freedom, 0.5)) / number)
    return max(0.0, float(beyond_chance / chdtri(1, 0.5)))


def _p_shape(statistic: Floats, freedom: Counts, scatter: Floats) -> Floats:
    """Tail of a chi-square of which one degree of freedom, that along which fields differ, is 1 + `scatter` wider.

    P(a z^2 + chi2 > x) with z normal, a = 1 + scatter and the other degrees of freedom in chi2, by integration over z.
    """
    wider, x = 1 + scatter, np.maximum(statistic, 0.0)
    reach = np.sqrt(x / wider)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    tail = erfc(reach / np.sqrt(2))
    others = freedom - 1
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        z = node * reach
        beyond = np.where(others > 0, chdtrc(np.maximum(others, 1), x - wider * z**2), 0.0)
        tail = tail + reach * weight * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) * beyond
    answer: Floats = np.minimum(tail, 1.0)
    return answer


def _p_count(k: Counts, expected: Floats, share: Floats, asked: Bools) -> Floats:
    """Twice the smaller tail of a field's candidates, at most 1: binomial, or wider as the median field asks for.

    Rates that scatter among fields make a count negative binomial (a Poisson count of a gamma rate). Both tails are
    incomplete beta functions (Abramowitz & Stegun 1964, 26.5.24 and 26.5.26).
    """
    many = asked & (expected >= 5)
    scatter = _variance((k - expected)[many] ** 2 / expected[many], np.ones(int(many.sum()), np.int64), expected[many])
    some = np.maximum(k, 1)
    if scatter > 0:
        failure = 1 / (1 + scatter * np.where(asked, expected, 1.0))
        low, high = betainc(1 / scatter, k + 1, failure), betainc(some, 1 / scatter, 1 - failure)
    else:
        others, p = k.sum() - k, np.where(asked, share, 0.5)
        low = np.where(others > 0, betainc(np.maximum(others, 1), k + 1, 1 - p), 1.0)
        high = betainc(some, others + 1, p)
    answer: Floats = np.minimum(1.0, 2 * np.minimum(low, np.where(k > 0, high, 1.0)))
    return answer


def _adjusted(first: Floats, second: Floats, asked: Bools) -> tuple[Floats, Floats]:
    """p-values of both questions, adjusted together; 1 where nobody was asked."""
    answer = np.ones((2, len(asked)))
    values = np.concatenate([first[asked], second[asked]])
    order = np.argsort(values, kind="stable")
    raised = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(raised[::-1])[::-1])
    answer[:, asked] = adjusted.reshape(2, -1)
    return answer[0], answer[1]
