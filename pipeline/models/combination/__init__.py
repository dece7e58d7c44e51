"""The rules that make one log-odds of the members', by name, and what an ensemble's TOML says about them.

Every rule is a function of arrays in a module of its own. `combine` is what an ensemble calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.config import StrictModel
from pipeline.models.calibration import logit
from pipeline.models.combination.independent_bayes import independent_bayes
from pipeline.models.combination.mean import mean
from pipeline.models.combination.mean_log_odds import mean_log_odds
from pipeline.models.combination.median import median
from pipeline.models.combination.rank import rank
from pipeline.models.combination.stacking import stacking

Floats = npt.NDArray[np.float64]
Rule = Literal["mean_log_odds", "mean", "median", "rank", "weighted", "stacking", "independent_bayes"]
RULES: tuple[Rule, ...] = get_args(Rule)

_KEYS: dict[Rule, tuple[frozenset[str], frozenset[str]]] = {
    "mean_log_odds": (frozenset(), frozenset()),
    "mean": (frozenset(), frozenset({"prior"})),
    "median": (frozenset(), frozenset()),
    "rank": (frozenset({"levels", "ranks"}), frozenset()),
    "weighted": (frozenset({"weights"}), frozenset({"prior"})),
    "stacking": (frozenset({"coefficients", "intercept"}), frozenset()),
    "independent_bayes": (frozenset({"shrink"}), frozenset()),
}
"""Keys of `[combination]` that a rule needs, and those that it may have."""


class Combination(StrictModel):
    """Parameters of the rule: `[combination]` of an ensemble's TOML; each rule has its own and no other.

    Attributes
    ----------
    prior : float or None
        mean, weighted: share of lenses at which the members' probabilities are averaged; the survey's if None.
    weights : mapping of member to float, or None
        weighted: of the members' probabilities; only their ratios count.
    coefficients, intercept : mapping of member to float, float
        stacking: of the members' log likelihood ratios.
    shrink : float or None
        independent_bayes: exponent of the product of likelihood ratios.
    levels : tuple of float, or None
        rank: shares of non-lenses below which `ranks` lie, rising, inside (0, 1).
    ranks : mapping of member to tuple of float, or None
        rank: each member's logits at the levels, rising.
    """

    prior: float | None = Field(None, gt=0, lt=1)
    weights: dict[str, float] | None = None
    coefficients: dict[str, float] | None = None
    intercept: float | None = None
    shrink: float | None = Field(None, gt=0)
    levels: tuple[float, ...] | None = Field(None, min_length=2)
    ranks: dict[str, tuple[float, ...]] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Combination:
        if self.weights is not None and (min(self.weights.values()) < 0 or not sum(self.weights.values()) > 0):
            raise ValueError("weights must not be negative, and not all zero")
        if self.levels is not None and not (_rises(self.levels) and self.levels[0] > 0 and self.levels[-1] < 1):
            raise ValueError("levels must rise, inside (0, 1)")
        for member, values in (self.ranks or {}).items():
            if len(values) != len(self.levels or ()) or not _rises(values):
                raise ValueError(f"ranks of {member} must rise, one a level")
        return self


def check_rule(rule: Rule, combination: Combination, names: Sequence[str], *, calibrated: bool) -> None:
    """Refuse parameters that are not the rule's, or not of its members.

    Parameters
    ----------
    rule : str
    combination : Combination
    names : sequence of str
        Of the members of the rule; those beside it have no parameters.
    calibrated : bool
        Whether the ensemble has a calibration of its own.

    Raises
    ------
    ValueError
        Naming the key, and the member that is missing or unknown.
    """
    needed, allowed = _KEYS[rule]
    given = {key for key, value in combination if value is not None}
    if lacking := sorted(needed - given):
        raise ValueError(f"rule {rule!r} needs {', '.join(lacking)}; fit it with `lensscan calibrate --rule {rule}`")
    if extra := sorted(given - needed - allowed):
        raise ValueError(f"rule {rule!r} has no {', '.join(extra)}; leave it out or choose the rule that has")
    for key in ("weights", "coefficients", "ranks"):
        table = getattr(combination, key)
        if table is not None and set(table) != set(names):
            missing, unknown = sorted(set(names) - set(table)), sorted(set(table) - set(names))
            told = [f"{', '.join(missing)} is missing"] if missing else []
            told += [f"{', '.join(unknown)} is no member"] if unknown else []
            raise ValueError(f"{key} must name each member once: {'; '.join(told)} (members: {', '.join(names)})")
    if rule == "rank" and not calibrated:
        raise ValueError("rule 'rank' gives no probability by itself: it needs [calibration]")
    if rule in ("mean", "weighted") and calibrated and combination.prior is None:
        raise ValueError("a calibrated mean needs combination.prior, the share of lenses that it was calibrated at")


def combine(
    rule: Rule,
    odds: Floats,
    logits: npt.NDArray[Any],
    *,
    combination: Combination,
    names: Sequence[str],
    weights: Sequence[float],
    prior: float,
) -> Floats:
    """One log-odds of the members'.

    Parameters
    ----------
    rule : str
    odds : float64 (n, members)
        Members' calibrated log-odds at `prior`.
    logits : (n, members)
        Their raw outputs, which `rank` reads.
    combination : Combination
        That `check_rule` has passed.
    names, weights : sequence of str, of float
        Of the members in order; weights of `mean` and `mean_log_odds`.
    prior : float in (0, 1)

    Returns
    -------
    float64 (n,)
        Log-odds at `prior` before the ensemble's own calibration (of `rank`: those of the mean rank, which know no
        prior); NaN where any member is NaN.
    """
    answer = np.full(len(odds), np.nan)
    known = ~(np.isnan(odds).any(axis=1) | np.isnan(logits).any(axis=1))
    some = odds[known]
    shift = logit(prior)
    if rule == "mean_log_odds":
        answer[known] = mean_log_odds(some, np.asarray(weights))
    elif rule == "median":
        answer[known] = median(some)
    elif rule in ("mean", "weighted"):
        shares = np.array([combination.weights[name] for name in names]) if combination.weights else weights
        moved = 0.0 if combination.prior is None else logit(combination.prior) - shift
        answer[known] = mean(some + moved, np.asarray(shares)) - moved
    elif rule == "rank":
        ranks = combination.ranks or {}
        tables = np.array([ranks[name] for name in names])
        answer[known] = rank(np.asarray(logits, np.float64)[known], np.asarray(combination.levels), tables)
    elif rule == "stacking":
        coefficients = np.array([(combination.coefficients or {})[name] for name in names])
        answer[known] = stacking(some - shift, coefficients, combination.intercept or 0.0) + shift
    else:
        answer[known] = independent_bayes(some - shift, combination.shrink or 1.0) + shift
    return answer


def _rises(values: Sequence[float]) -> bool:
    return bool((np.diff(values) > 0).all())
