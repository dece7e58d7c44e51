"""Fitting a calibration on stamps that no training saw; applying one is `pipeline.models.calibration`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.models.calibration import Calibration, sigmoid

_STEPS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-6


def fit_platt(logits: npt.NDArray[np.floating[Any]], labels: npt.NDArray[Any], fitted_on: str) -> Calibration:
    """Slope and offset of the log-odds by maximum likelihood, with Platt's softened targets.

    Newton's method as in Lin, Lin & Weng 2007 (Machine Learning 68, 267); targets (n1 + 1) / (n1 + 2) and
    1 / (n0 + 2) keep a perfectly separated sample from an infinite slope. A slope that comes out negative
    (a network that ranks backwards) is refused.

    Parameters
    ----------
    logits : (n,)
        NaN rows are left out.
    labels : (n,) bool
        True for a lens.
    fitted_on : str
        What the sample was, for the reader of the package.

    Raises
    ------
    ConfigError
        With fewer than ten of either class, or a slope that is not positive.
    """
    scored = np.isfinite(logits)
    x = np.asarray(logits, dtype=np.float64)[scored]
    truth = np.asarray(labels, dtype=bool)[scored]
    n_lenses, n_others = int(truth.sum()), int((~truth).sum())
    if min(n_lenses, n_others) < 10:
        raise ConfigError(f"calibration needs ten stamps of each class; {fitted_on} has {n_lenses} and {n_others}.")
    target = np.where(truth, (n_lenses + 1) / (n_lenses + 2), 1 / (n_others + 2))
    slope, offset = _newton(x, target)
    if slope <= 0:
        raise ConfigError(f"the network ranks {fitted_on} backwards (slope {slope:.3g}); it can't be calibrated.")
    return Calibration(
        slope=slope,
        offset=offset,
        prior=n_lenses / (n_lenses + n_others),
        n_lenses=n_lenses,
        n_others=n_others,
        fitted_on=fitted_on,
    )


def _newton(x: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Minimum of the cross-entropy of sigmoid(slope x + offset), by damped Newton steps."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    parameters = np.array([0.0, float(np.log(target.mean() / (1 - target.mean())))])
    loss = _cross_entropy(design @ parameters, target)
    for _ in range(_STEPS):
        p = sigmoid(design @ parameters)
        gradient = design.T @ (p - target)
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-6:
            trial = parameters - size * step
            trial_loss = _cross_entropy(design @ trial, target)
            if trial_loss <= loss:
                break
            size /= 2
        else:
            break
        done = loss - trial_loss < _TOLERANCE * (1 + loss)
        parameters, loss = trial, trial_loss
        if done:
            break
    return float(parameters[0]), float(parameters[1])


def _cross_entropy(odds: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, odds) - target * odds).sum())
