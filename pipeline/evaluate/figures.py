"""Figures of merit with bootstrap intervals, each with the numbers that it rests on.

Every `_name(lenses, others, ...)` takes counts (..., groups), highest score first, and gives (...): the same code makes
the figure and its replicates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics import share_above
from pipeline.evaluate.tally import Tally

LOW, HIGH = 0.16, 0.84
"""Quantiles of the replicates between which the 68 % interval lies."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Statistic = Callable[[Counts, Counts], Floats]


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes
    ----------
    name : str
    value, low, high : float or None
        The figure and its 68 % interval; None where it was not measured.
    n_lenses, n_others : int
        Stamps that it rests on.
    n_lens_groups, n_other_groups : int
        Groups that these are of: as many as stamps where each stands for itself, fewer where some show the same object.
    reason : str or None
        Why there is no value.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n_lenses: int
    n_others: int
    n_lens_groups: int
    n_other_groups: int
    reason: str | None = None


def share_figure(
    name: str,
    above: npt.NDArray[Any],
    groups: npt.NDArray[Any] | None = None,
    *,
    lens: bool,
    reason: str | None = None,
) -> Figure:
    """A share of lenses or of others with its Wilson interval; no value where there is a reason or no stamp.

    Parameters
    ----------
    name : str
    above : bool (n,)
        Of the one class.
    groups : (n,), optional
        Equal where stamps belong together.
    lens : bool
        Which class it is.
    reason : str, optional
        Why it can't be measured.
    """
    n = len(above)
    together = n if groups is None else len(np.unique(groups))
    counts = (n, 0, together, 0) if lens else (0, n, 0, together)
    if reason is not None or not n:
        return Figure(name, None, None, None, *counts, reason or ("no lens" if lens else "no other"))
    found = share_above(above, groups)
    return Figure(name, found.value, found.low, found.high, *counts)


@dataclass(frozen=True)
class Bootstrap:
    """A tally with its replicates, drawn once for all figures.

    Attributes
    ----------
    tally : Tally
        Exact; figures come from it.
    lenses, others : int64 (replicates, groups)
        Replicates of the compressed tally; intervals come from them.
    """

    tally: Tally
    lenses: Counts
    others: Counts

    @classmethod
    def of(cls, tally: Tally, replicates: int, seed: int) -> Bootstrap:
        """Draw the replicates; the same seed gives the same."""
        lenses, others = tally.compressed.resampled(replicates, np.random.default_rng(seed))
        return cls(tally, lenses, others)

    def figure(self, name: str, statistic: Statistic, needs_others: int = 1) -> Figure:
        """One figure, or why there is none: no lens, or fewer others than it needs.

        Others that belong together count once: the rank of one object among its own repeats is no rate.
        """
        counted = self.tally
        n, m = counted.n_lenses, counted.n_others
        counts = n, m, counted.n_lens_groups, counted.n_other_groups
        if not n or counts[3] < needs_others:
            told = others_text(m, counts[3])
            lacking = "no lens" if not n else f"{told} are too few: it needs {needs_others:,}"
            return Figure(name, None, None, None, *counts, lacking)
        value = float(statistic(self.tally.lenses, self.tally.others))
        spread = statistic(self.lenses, self.others)
        low, high = np.quantile(spread, [LOW, HIGH])
        return Figure(name, value, float(low), float(high), *counts)


def others_text(n: int, groups: int) -> str:
    """A number of others in words, with that of their groups where it is smaller."""
    return f"{n:,} others" if groups == n else f"{n:,} others in {groups:,} groups"


def rank_figures(sample: Bootstrap, rates: tuple[float, ...]) -> list[Figure]:
    """What depends on the order of the scores alone.

    AUROC; average precision; TPR0 and TPR10 of Metcalf et al. 2019 (A&A 625, A119, sect. 3): the largest true-positive
    rate reached without a false positive, and with fewer than ten; and the completeness at false-positive rates.
    TPR0 and TPR10 fall as a sample of others grows, so they compare only between samples of a size.

    Parameters
    ----------
    sample : Bootstrap
    rates : tuple of float
        False-positive rates; one that the others are too few for (fewer than 1 / rate) has no value.
    """
    figures = [
        sample.figure("AUROC", _auroc),
        sample.figure("average precision", _average_precision),
        sample.figure("TPR0", _found(0)),
        sample.figure("TPR10", _found(9), needs_others=10),
    ]
    for rate in rates:
        needed = round(1 / rate)
        figures.append(sample.figure(completeness_name(rate), _at_rate(rate), needs_others=needed))
    return figures


def completeness_name(rate: float) -> str:
    """The name of the figure of completeness at a false-positive rate."""
    return f"completeness at FPR {rate:g}"


def purity_at_rate(sample: Bootstrap, rate: float, prior: float) -> Figure:
    """Share of lenses among what passes, where a share `prior` of all are lenses, at a false-positive rate.

    purity = prior TPR / (prior TPR + (1 - prior) FPR), with the FPR asked for.
    """
    found = _at_rate(rate)

    def purity(lenses: Counts, others: Counts) -> Floats:
        true = prior * found(lenses, others)
        answer: Floats = true / (true + (1 - prior) * rate)
        return answer

    return sample.figure(f"purity at prior {prior:g}, FPR {rate:g}", purity, needs_others=round(1 / rate))


def yield_at(sample: Bootstrap, inspected: int, detections: int, prior: float) -> Figure:
    """Lenses found when the best `inspected` of `detections` are looked at, a share `prior` of them lenses.

    Between two scores nothing is interpolated: the last score whose expected number does not exceed `inspected` counts.
    Needs so many others that one false alarm of the sample stands for at most `inspected` detections.
    """

    def found(lenses: Counts, others: Counts) -> Floats:
        true, false = _rates(lenses, others)
        looked = detections * (prior * true + (1 - prior) * false)
        answer: Floats = np.max(np.where(looked <= inspected, detections * prior * true, 0.0), axis=-1, initial=0.0)
        return answer

    needed = int(np.ceil((1 - prior) * detections / inspected))
    return sample.figure(f"lenses in the best {inspected:,} of {detections:,} at prior {prior:g}", found, needed)


def threshold_figures(tally: Tally, threshold: float, replicates: int, seed: int) -> list[Figure]:
    """Completeness, false-positive share, precision, F1 and accuracy of "score above the threshold is a lens".

    Precision, F1 and accuracy are at the sample's own share of lenses.
    """
    halves = tally.merged(np.where(tally.score > threshold, 0, 1), np.array([1.0, 0.0]))
    sample = Bootstrap.of(halves, replicates, seed)

    def cut(statistic: Callable[..., Floats]) -> Statistic:
        return lambda lenses, others: statistic(lenses[..., 0], others[..., 0], lenses.sum(-1), others.sum(-1))

    parts: dict[str, Callable[..., Floats]] = {
        "completeness": lambda true, false, n, m: true / n,
        "false-positive share": lambda true, false, n, m: false / m,
        "precision": lambda true, false, n, m: true / np.maximum(true + false, 1),
        "F1": lambda true, false, n, m: 2 * true / (true + false + n),
        "accuracy": lambda true, false, n, m: (true + m - false) / (n + m),
    }
    return [sample.figure(f"{name} at {threshold:g}", cut(statistic)) for name, statistic in parts.items()]


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold: lenses above and not, others above and not."""

    threshold: float
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int


def confusion(tally: Tally, threshold: float) -> Confusion:
    """The confusion matrix of "score above the threshold is a lens"; without a score counts as not above."""
    above = tally.score > threshold
    true, false = int(tally.lenses[above].sum()), int(tally.others[above].sum())
    return Confusion(threshold, true, tally.n_lenses - true, false, tally.n_others - false)


def threshold_at(tally: Tally, rate: float) -> float:
    """The smallest score that at most a share `rate` of the others lie strictly above; -inf if all may pass."""
    allowed = int(np.floor(rate * tally.n_others + 1e-9))
    beyond = np.flatnonzero(np.cumsum(tally.others) > allowed)
    return float(tally.score[beyond[0]]) if len(beyond) else -np.inf


def _rates(lenses: Counts, others: Counts) -> tuple[Any, Any]:
    """Rates of lenses and others at or above each group's score."""
    true = np.cumsum(lenses, axis=-1) / lenses.sum(-1, keepdims=True)
    false = np.cumsum(others, axis=-1) / others.sum(-1, keepdims=True)
    return true, false


def _found(allowed: int | Counts) -> Statistic:
    """Share of lenses at or above the lowest score that at most `allowed` others reach; or (..., 1) of them."""

    def statistic(lenses: Counts, others: Counts) -> Floats:
        reached = np.cumsum(others, axis=-1) <= allowed
        answer: Floats = np.where(reached, lenses, 0).sum(-1) / lenses.sum(-1)
        return answer

    return statistic


def _at_rate(rate: float) -> Statistic:
    def statistic(lenses: Counts, others: Counts) -> Floats:
        allowed = np.floor(rate * others.sum(-1, keepdims=True) + 1e-9).astype(np.int64)
        return _found(allowed)(lenses, others)

    return statistic


def _auroc(lenses: Counts, others: Counts) -> Floats:
    """Share of (lens, other) pairs in order, ties a half (Mann & Whitney 1947)."""
    before = np.cumsum(lenses, axis=-1) - lenses
    pairs = ((before + 0.5 * lenses) * others).sum(-1)
    answer: Floats = pairs / (lenses.sum(-1) * others.sum(-1).astype(np.float64))
    return answer


def _average_precision(lenses: Counts, others: Counts) -> Floats:
    """Sum over scores of the gain in completeness times the precision there."""
    true, false = np.cumsum(lenses, axis=-1), np.cumsum(others, axis=-1)
    answer: Floats = (lenses * true / np.maximum(true + false, 1)).sum(-1) / lenses.sum(-1)
    return answer
