"""Weighted logistic regression by Newton's method: what calibrations, rules and the realism probe rest on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.models.calibration import sigmoid

Float64 = npt.NDArray[np.float64]

_STEPS = 100
_TOLERANCE = 1e-10
_DAMPING = 1e-6
"""Keeps the curvature of columns that depend on one another invertible."""


def logistic_regression(
    design: Float64, target: Float64, weight: Float64 | None = None, *, ridge: float = 0.0
) -> Float64:
    """Parameters that minimise the cross-entropy of sigmoid(design @ parameters), by damped Newton steps.

    Parameters
    ----------
    design : float64 (n, k)
        Its last column is one.
    target : float64 (n,)
        Share of a lens in each row, 0 to 1.
    weight : float64 (n,), optional
        Of the rows; one each if None.
    ridge : float
        Half of it times the squared parameters, the last one's apart, is added to the cross-entropy.

    Returns
    -------
    float64 (k,)
    """
    penalty = np.append(np.full(design.shape[1] - 1, ridge), 0.0)
    weight = np.ones(len(target)) if weight is None else weight
    share = float((weight * target).sum() / weight.sum())
    parameters = np.zeros(design.shape[1])
    parameters[-1] = np.log(share / (1 - share))

    def cost(values: Float64) -> float:
        return cross_entropy(design @ values, target, weight) + 0.5 * float(penalty @ values**2)

    loss = cost(parameters)
    for _ in range(_STEPS):
        p = sigmoid(design @ parameters)
        gradient = design.T @ (weight * (p - target)) + penalty * parameters
        curvature = design.T @ (design * (weight * p * (1 - p))[:, None]) + np.diag(penalty + _DAMPING)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-6:
            trial = parameters - size * step
            trial_loss = cost(trial)
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
