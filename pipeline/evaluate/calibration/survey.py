"""Calibration on a survey's own detections, of which nobody knows which are lenses.

Thresholds don't travel from survey to survey: seeing, depth and colours move what a network says of plain galaxies.
A scan's own detections show where they lie. That few of them are lenses is all that is assumed of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.fit import FEWEST, Method, fit_calibration
from pipeline.models.calibration import Calibration, log_odds, logit, sigmoid

Float64 = npt.NDArray[np.float64]

_FEWEST_DETECTIONS = 100
_FARTHEST = 200.0
"""Natural log-odds that an offset is looked for within."""


@dataclass(frozen=True)
class Shift:
    """A new offset, and by how much it moved, with the 68 % interval of a bootstrap over the detections."""

    calibration: Calibration
    moved: float
    low: float
    high: float


def fit_offset(
    calibration: Calibration,
    logits: npt.NDArray[Any],
    prior: float,
    fitted_on: str,
    *,
    replicates: int = 100,
    seed: int = 1,
) -> Shift:
    """Move the offset until the mean probability over a survey's detections is the prior.

    A calibrated probability has the prior for its mean over all detections. With the slope kept, one offset does that:
    it falls where the survey's galaxies look more like lenses than those of the fit did. This takes on trust that
    the prior is right and that the slope travels; since the mean of a small prior hangs on few detections at the top,
    the interval is wide where they are few. Lenses of the survey count for what they are.

    Parameters
    ----------
    calibration : Calibration
    logits : (n,)
        Of a survey's detections; NaN is left out.
    prior : float in (0, 1)
        Share of lenses among them.
    fitted_on : str
        What they are.
    replicates, seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError
        With fewer than a hundred detections.
    """
    values = _known(logits, fitted_on)
    odds = np.sort(log_odds(values, calibration, prior))
    rng = np.random.default_rng(seed)
    moved = _balance(odds, np.ones(len(odds)), prior)
    spread = [_balance(odds, rng.poisson(1.0, len(odds)).astype(np.float64), prior) for _ in range(replicates)]
    low, high = np.quantile(spread, [0.16, 0.84])
    shifted = calibration.model_copy(
        update={"offset": calibration.offset + moved, "fitted_on": f"{calibration.fitted_on}; offset: {fitted_on}"}
    )
    return Shift(shifted, moved, float(low), float(high))


def fit_unlabelled(
    lenses: npt.NDArray[Any],
    detections: npt.NDArray[Any],
    prior: float,
    fitted_on: str,
    *,
    method: Method = "platt",
    weigh: float = 0.01,
) -> Calibration:
    """Slopes and offset from lenses injected into a survey against all of its detections.

    The detections are the survey's mixture of others and, a share `prior` of them, lenses (Elkan & Noto 2008, KDD,
    213): with the likelihood ratio r = exp(h) of lens against other, that of lens against detection is
    r / (prior r + 1 - prior), and h is fitted through it, by maximum likelihood. Taking detections for others, without
    the correction, would hold r below 1 / prior. What is assumed: injected lenses stand for real ones, and the
    prior is right within a factor of a few.

    Parameters
    ----------
    lenses : (n,)
        Logits of injected lenses; NaN is left out.
    detections : (m,)
        Logits of the survey's detections; NaN is left out.
    prior : float in (0, 1)
        Share of lenses among the detections.
    fitted_on : str
        What both are.
    method : "platt" or "beta"
    weigh : float in (0, 1)
        Share of the lenses by weight in the likelihood; a small one makes the line right at the top.

    Raises
    ------
    ConfigError
        With fewer than ten lenses or a hundred detections, or where the network ranks them backwards.
    """
    x1, x0 = np.asarray(lenses, np.float64), _known(detections, fitted_on)
    x1 = x1[np.isfinite(x1)]
    if len(x1) < FEWEST:
        raise ConfigError(f"calibration needs {FEWEST} lenses; {fitted_on} has {len(x1)}.")
    both, labels = np.concatenate([x1, x0]), np.concatenate([np.ones(len(x1), bool), np.zeros(len(x0), bool)])
    start = fit_calibration(both, labels, fitted_on, method=method, prior=weigh)
    bends = start.upper_slope is not None
    first = [np.log(start.slope), *([np.log(start.upper_slope)] if start.upper_slope else []), start.offset]

    def rebuilt(parameters: Float64) -> Calibration:
        slopes = np.exp(np.clip(parameters[:-1], -20, 20))
        update = {"slope": float(slopes[0]), "offset": float(parameters[-1])}
        return start.model_copy(update=update | ({"upper_slope": float(slopes[1])} if bends else {}))

    def loss(parameters: Float64) -> float:
        now = rebuilt(parameters)
        against = [
            logit(weigh) - np.logaddexp(np.log(prior), np.log1p(-prior) - (log_odds(x, now, weigh) - logit(weigh)))
            for x in (x1, x0)
        ]
        yes, no = np.logaddexp(0.0, -against[0]).mean(), np.logaddexp(0.0, against[1]).mean()
        return float(weigh * yes + (1 - weigh) * no) / weigh

    found = minimize(
        loss, np.array(first), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 4000}
    )
    return rebuilt(found.x)


def _known(logits: npt.NDArray[Any], what: str) -> Float64:
    values = np.asarray(logits, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < _FEWEST_DETECTIONS:
        raise ConfigError(
            f"{what}: {len(values)} detections have a logit; calibration needs {_FEWEST_DETECTIONS}. Scan more fields."
        )
    return values


def _balance(odds: Float64, weight: Float64, prior: float) -> float:
    """What must be added to log-odds for their weighted mean probability to be the prior."""

    def surplus(moved: float) -> float:
        return float(np.log((weight * sigmoid(odds + moved)).sum() / weight.sum())) - float(np.log(prior))

    return float(brentq(surplus, -_FARTHEST, _FARTHEST))
