"""A calibrated ensemble from labelled logits: members first, then the rule, then what the rule gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.beside import with_beside
from pipeline.evaluate.calibration.fit import FEWEST, Method, fit_calibration
from pipeline.evaluate.calibration.rules import fit_rule
from pipeline.models.calibration import Calibration, log_odds, logit
from pipeline.models.combination import Combination, Rule
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage


def fit_ensemble(
    ensemble: Ensemble,
    logits: npt.NDArray[Any],
    lens: npt.NDArray[Any],
    fitted_on: str,
    *,
    rule: Rule,
    method: Method = "platt",
    prior: float = 0.5,
) -> Ensemble:
    """The same members with new calibrations, a rule with its parameters, and a calibration of what it gives.

    Parameters
    ----------
    ensemble : Ensemble
        Its members and weights count, its calibrations and rule do not.
    logits : (n, members)
        Rows with a NaN of a member of the rule are left out.
    lens : bool (n,)
    fitted_on : str
        What the sample was.
    rule : str
    method : "platt" or "beta"
        Of the calibrations.
    prior : float in (0, 1)
        Lenses and others are weighted to it in every fit.

    Raises
    ------
    ConfigError
        With fewer than ten of either class, or a member of the rule that ranks them backwards.
    """
    values, truth = scorable(ensemble.ruled(logits), lens, fitted_on)
    calibrated = fit_members(ensemble.without_beside(), values, truth, fitted_on, method=method, prior=prior)
    fitted = fit_combination(calibrated, values, truth, fitted_on, rule=rule, method=method, prior=prior)

    def fit(member: ModelPackage, own: npt.NDArray[Any]) -> Calibration:
        return fit_calibration(own, lens, f"member {member.name} on {fitted_on}", method=method, prior=prior)

    return with_beside(fitted, ensemble, fit, logits)


def fit_members(
    ensemble: Ensemble,
    values: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    fitted_on: str,
    *,
    method: Method,
    prior: float,
) -> Ensemble:
    """The first half of `fit_ensemble`: new calibrations of the members; of rows that `scorable` leaves."""
    members = tuple(
        replace(
            member,
            calibration=fit_calibration(
                values[:, column], truth, f"member {member.name} on {fitted_on}", method=method, prior=prior
            ),
        )
        for column, member in enumerate(ensemble.members)
    )
    return replace(ensemble, members=members, calibration=None)


def fit_combination(
    ensemble: Ensemble,
    values: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    fitted_on: str,
    *,
    rule: Rule,
    method: Method,
    prior: float,
) -> Ensemble:
    """The second half: the rule on top of calibrated members, and what it gives calibrated."""

    def fit(combined: npt.NDArray[np.float64]) -> Calibration:
        return fit_calibration(combined, truth, fitted_on, method=method, prior=prior)

    return combined_by(rule, ensemble, values, truth, prior=prior, fit=fit)


def combined_by(
    rule: Rule,
    ensemble: Ensemble,
    values: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    *,
    prior: float,
    fit: Callable[[npt.NDArray[np.float64]], Calibration],
) -> Ensemble:
    """Calibrated members with a rule fitted on logits (n, members) and labels (n,), calibrated by `fit`.

    Parameters
    ----------
    prior : float in (0, 1)
        Lenses and others are weighted to it in the fit of the rule.
    fit : callable
        From what the rule gives (n,), as `uncalibrated`, to its calibration.
    """
    evidence = np.stack(
        [
            log_odds(values[:, column], member.calibration, prior) - logit(prior)
            for column, member in enumerate(ensemble.members)
        ],
        axis=1,
    )
    combination = fit_rule(rule, evidence, values, truth, ensemble.names, prior=prior)
    fitted = replace(ensemble, rule=rule, combination=combination, calibration=None)
    return replace(fitted, calibration=fit(uncalibrated(fitted, values, prior)))


def uncalibrated(ensemble: Ensemble, logits: npt.NDArray[Any], prior: float) -> npt.NDArray[np.float64]:
    """What the ensemble's own calibration maps: combined log likelihood ratios (of `rank`: log-odds of the rank)."""
    combined = replace(ensemble, calibration=None).evidence(logits, prior)
    return combined + logit(prior) if ensemble.rule == "rank" else combined


def one_member(ensemble: Ensemble, column: int) -> Ensemble:
    """An ensemble of one of the members."""
    member = ensemble.members[column]
    return Ensemble(member.name, (member,), (1.0,), "mean_log_odds", Combination(), None, ensemble.views)


def known_rows(logits: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The rows (n,) that every member has a logit of."""
    answer: npt.NDArray[np.bool_] = np.isfinite(logits).all(axis=1)
    return answer


def scorable(
    logits: npt.NDArray[Any], lens: npt.NDArray[Any], what: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Logits and labels of `known_rows`.

    Raises
    ------
    ConfigError
        If they are not ten of either class.
    """
    if len(logits) != len(lens):
        raise ConfigError(
            f"{what}: {len(logits):,} rows of logits and {len(lens):,} labels are not of the same stamps."
        )
    known = known_rows(logits)
    values, truth = np.asarray(logits, np.float64)[known], np.asarray(lens, bool)[known]
    n_lenses, n_others = int(truth.sum()), int((~truth).sum())
    if min(n_lenses, n_others) < FEWEST:
        raise ConfigError(
            f"{what}: {n_lenses:,} lenses and {n_others:,} others with a logit of every member; calibration needs "
            f"{FEWEST} of each. Give it stamps of both classes."
        )
    return values, truth
