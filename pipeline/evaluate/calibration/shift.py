"""An ensemble calibrated on a survey's own detections: with lenses injected into it, or by its offsets alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.beside import with_beside
from pipeline.evaluate.calibration.ensemble import combined_by, known_rows, uncalibrated
from pipeline.evaluate.calibration.fit import Method
from pipeline.evaluate.calibration.survey import Shift, fit_offset, fit_unlabelled
from pipeline.models.calibration import Calibration
from pipeline.models.combination import Rule
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage


@dataclass(frozen=True)
class ShiftedEnsemble:
    """An ensemble with other offsets, and by how much each moved, by member and, last, "ensemble"."""

    ensemble: Ensemble
    shifts: Mapping[str, Shift]


def shift_ensemble(ensemble: Ensemble, detections: npt.NDArray[Any], prior: float, fitted_on: str) -> ShiftedEnsemble:
    """Move every member's offset, then the ensemble's own, by `fit_offset`; slopes and rule stay.

    Parameters
    ----------
    ensemble : Ensemble
    detections : (n, members)
        Logits of all detections of a survey.
    prior : float in (0, 1)
        Share of lenses among them.
    fitted_on : str
        What they are.

    Raises
    ------
    ConfigError
        With fewer than a hundred detections, or an uncalibrated mean that is not told at which prior it averages.
    """
    if ensemble.rule in ("mean", "weighted") and ensemble.combination.prior is None:
        raise ConfigError(
            f"ensemble {ensemble.name!r}: rule {ensemble.rule!r} averages at the survey's prior, and a calibration of "
            f"it needs a fixed one; set combination.prior, or fit the ensemble first."
        )
    shifts: dict[str, Shift] = {}
    members = []
    ruled, values = ensemble.without_beside(), ensemble.ruled(detections)
    for column, member in enumerate(ruled.members):
        shifts[member.name] = fit_offset(member.calibration, values[:, column], prior, fitted_on)
        members.append(replace(member, calibration=shifts[member.name].calibration))

    def fit(member: ModelPackage, own: npt.NDArray[Any]) -> Calibration:
        shifts[member.name] = fit_offset(member.calibration, own, prior, fitted_on)
        return shifts[member.name].calibration

    moved = with_beside(replace(ruled, members=tuple(members)), ensemble, fit, detections)
    plain = Calibration(slope=1.0, offset=0.0, prior=0.5, n_lenses=0, n_others=0, fitted_on="nothing")
    combined = uncalibrated(moved, detections, prior)
    shifts["ensemble"] = fit_offset(ensemble.calibration or plain, combined, prior, fitted_on)
    return ShiftedEnsemble(replace(moved, calibration=shifts["ensemble"].calibration), shifts)


def fit_survey_ensemble(
    ensemble: Ensemble,
    lenses: npt.NDArray[Any],
    detections: npt.NDArray[Any],
    prior: float,
    fitted_on: str,
    *,
    rule: Rule,
    method: Method = "platt",
    weigh: float = 0.01,
) -> Ensemble:
    """`fit_ensemble` with lenses injected into a survey against all of its detections, by `fit_unlabelled`.

    Parameters
    ----------
    ensemble : Ensemble
    lenses : (n, members)
        Logits of injected lenses.
    detections : (m, members)
        Logits of all detections; lenses among them are a share `prior`.
    prior : float in (0, 1)
    fitted_on : str
        What both are.
    rule, method
        As `fit_ensemble`.
    weigh : float in (0, 1)
        Share of lenses by weight in every fit.

    Raises
    ------
    ConfigError
        With fewer than ten lenses or a hundred detections, or where a member ranks them backwards.
    """
    ruled = ensemble.without_beside()
    found, plain = (part[known_rows(part)] for part in map(ensemble.ruled, (lenses, detections)))

    def fit(x1: npt.NDArray[Any], x0: npt.NDArray[Any], what: str) -> Calibration:
        return fit_unlabelled(x1, x0, prior, what, method=method, weigh=weigh)

    members = tuple(
        replace(member, calibration=fit(found[:, column], plain[:, column], f"member {member.name} on {fitted_on}"))
        for column, member in enumerate(ruled.members)
    )
    logits = np.concatenate([found, plain]).astype(np.float64)
    truth = np.arange(len(logits)) < len(found)
    calibrated = replace(ruled, members=members)

    def fit_combined(combined: npt.NDArray[np.float64]) -> Calibration:
        return fit(combined[truth], combined[~truth], fitted_on)

    def fit_beside(member: ModelPackage, x1: npt.NDArray[Any], x0: npt.NDArray[Any]) -> Calibration:
        return fit(x1, x0, f"member {member.name} on {fitted_on}")

    fitted = combined_by(rule, calibrated, logits, truth, prior=weigh, fit=fit_combined)
    return with_beside(fitted, ensemble, fit_beside, lenses, detections)
