"""Weighted logistic regression by Newton's method: what every fit of a calibration or a rule rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.models.calibration import sigmoid

Float64 = npt.NDArray[np.float64]

_STEPS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-6


def logistic_regression(design: Float64, target: Float64, weight: Float64 | None = None) -> Float64:
    """Parameters that minimise the cross-entropy of sigmoid(design @ parameters), by damped Newton steps.

    Parameters
    ----------
    design : float64 (n, k)
        Its last column is one.
    target : float64 (n,)
        Share of a lens in each row, 0 to 1.
    weight : float64 (n,), optional
        Of the rows; one each if None.

    Returns
    -------
    float64 (k,)
    """
    weight = np.ones(len(target)) if weight is None else weight
    share = float((weight * target).sum() / weight.sum())
    parameters = np.zeros(design.shape[1])
    parameters[-1] = np.log(share / (1 - share))
    loss = cross_entropy(design @ parameters, target, weight)
    for _ in range(_STEPS):
        p = sigmoid(design @ parameters)
        gradient = design.T @ (weight * (p - target))
        curvature = design.T @ (design * (weight * p * (1 - p))[:, None]) + _RIDGE * np.eye(design.shape[1])
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-6:
            trial = parameters - size * step
            trial_loss = cross_entropy(design @ trial, target, weight)
            if trial_loss <= loss:
                break
            size /= 2
        else:
            break
        done = loss - trial_loss < _TOLERANCE * (1 + loss)
        parameters, loss = trial, trial_loss
        if done:
            break
    return parameters


def cross_entropy(odds: Float64, target: Float64, weight: Float64) -> float:
    """Weighted sum of the cross-entropy between targets and sigmoid(odds), in nats."""
    return float((weight * (np.logaddexp(0.0, odds) - target * odds)).sum())


def class_weights(lens: npt.NDArray[Any], prior: float | None) -> Float64:
    """Weight of each row, mean 1, with which a share `prior` of the sample are lenses; one each if None.

    Parameters
    ----------
    lens : bool (n,)
        With both classes in it.
    prior : float in (0, 1), or None
    """
    if prior is None:
        return np.ones(len(lens))
    n_lenses = int(np.count_nonzero(lens))
    return np.where(lens, prior * len(lens) / n_lenses, (1 - prior) * len(lens) / (len(lens) - n_lenses))
