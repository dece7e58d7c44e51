"""Fitting the parameters of a rule of combination on labelled stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from pipeline.errors import ConfigError
from pipeline.evaluate.logistic import class_weights, cross_entropy, logistic_regression
from pipeline.models.calibration import logit
from pipeline.models.combination import Combination, Rule

Float64 = npt.NDArray[np.float64]

_STEPS, _TOLERANCE = 500, 1e-9
_LEVELS = 33
_LARGEST_SHRINK = 2.0


def fit_rule(
    rule: Rule,
    evidence: Float64,
    logits: npt.NDArray[Any],
    lens: npt.NDArray[Any],
    names: Sequence[str],
    *,
    prior: float,
) -> Combination:
    """What `[combination]` of an ensemble says.

    Parameters
    ----------
    rule : str
    evidence : float64 (n, members)
        Members' calibrated log likelihood ratios, finite.
    logits : (n, members)
        Their raw outputs.
    lens : bool (n,)
    names : sequence of str
        Of the members.
    prior : float in (0, 1)
        Lenses and others are weighted to it; probabilities are averaged at it.

    Raises
    ------
    ConfigError
        If too many logits are equal for a table of ranks.
    """
    truth = np.asarray(lens, bool)
    if rule == "mean":
        return Combination(prior=prior)
    if rule == "weighted":
        shares = fit_weights(evidence + logit(prior), truth, class_weights(truth, prior))
        return Combination(prior=prior, weights=_named(names, shares))
    if rule == "stacking":
        design = np.column_stack([evidence, np.ones(len(evidence))])
        *slopes, offset = logistic_regression(design, truth.astype(np.float64), class_weights(truth, prior))
        return Combination(coefficients=_named(names, slopes), intercept=float(offset) - logit(prior))
    if rule == "independent_bayes":
        return Combination(shrink=fit_shrink(evidence.sum(axis=1), truth, prior))
    if rule == "rank":
        levels, tables = rank_tables(np.asarray(logits, np.float64)[~truth])
        ranks = {name: tuple(map(float, table)) for name, table in zip(names, tables, strict=True)}
        return Combination(levels=tuple(map(float, levels)), ranks=ranks)
    return Combination()


def fit_weights(odds: Float64, truth: npt.NDArray[np.bool_], weight: Float64) -> Float64:
    """Weights of the members' probabilities, summing to 1, with the least log-loss of their mean.

    The problem is convex; this is the EM algorithm for the shares of a mixture (Dempster, Laird & Rubin 1977, JRSS B
    39, 1), which can't leave the simplex: a member that adds nothing goes to nothing.

    Parameters
    ----------
    odds : float64 (n, members)
        Log-odds at the prior of the mean.
    truth : bool (n,)
    weight : float64 (n,)
        Of the rows.
    """
    log_likelihood = -np.logaddexp(0.0, np.where(truth[:, None], -odds, odds))
    # Only ratios between members count, so each row's best is 1.
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    shares = np.full(odds.shape[1], 1 / odds.shape[1])
    for _ in range(_STEPS):
        belongs = likelihood * shares
        belongs /= belongs.sum(axis=1, keepdims=True)
        now = weight @ belongs / weight.sum()
        moved = float(np.abs(now - shares).max())
        shares = now
        if moved < _TOLERANCE:
            break
    return shares


def fit_shrink(summed: Float64, truth: npt.NDArray[np.bool_], prior: float) -> float:
    """Exponent of the product of likelihood ratios with the least log-loss, between 0.001 and 2.

    Parameters
    ----------
    summed : float64 (n,)
        Sum of the members' log likelihood ratios.
    truth : bool (n,)
    prior : float in (0, 1)
    """
    weight, target = class_weights(truth, prior), truth.astype(np.float64)

    def loss(shrink: float) -> float:
        return cross_entropy(shrink * summed + logit(prior), target, weight)

    return float(minimize_scalar(loss, bounds=(1e-3, _LARGEST_SHRINK), method="bounded").x)


def rank_tables(others: Float64) -> tuple[Float64, Float64]:
    """Levels (q,) and each member's logits at them (members, q), both rising.

    Levels are evenly spaced in log-odds from the tenth lowest to the tenth highest of the non-lenses.

    Parameters
    ----------
    others : float64 (n, members)
        Logits of non-lenses, at least 100 for more than a few levels.

    Raises
    ------
    ConfigError
        If fewer than two levels have logits that differ for every member.
    """
    reach = logit(min(0.45, 10 / len(others)))
    heights = np.linspace(reach, -reach, _LEVELS)
    levels = 1 / (1 + np.exp(-heights))
    tables = np.quantile(others, levels, axis=0).T
    kept = [0]
    for place in range(1, len(levels)):
        if (tables[:, place] > tables[:, kept[-1]]).all():
            kept.append(place)
    if len(kept) < 2:
        raise ConfigError("rule 'rank': some member gives nearly all non-lenses one logit; choose another rule.")
    return levels[kept], tables[:, kept]


def _named(names: Sequence[str], values: Sequence[float] | Float64) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
