"""Fitting a calibration on stamps that no training saw; applying one is `pipeline.models.calibration`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.logistic import class_weights, logistic_regression
from pipeline.models.calibration import Calibration

Method = Literal["platt", "beta"]
FEWEST = 10
"""Stamps of either class without which nothing is fitted."""


def fit_platt(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[Any],
    fitted_on: str,
    *,
    prior: float | None = None,
    fewest: int = FEWEST,
) -> Calibration:
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
    prior : float in (0, 1), optional
        Lenses and others are weighted so that this share are lenses (Brümmer & Doddington 2013, Interspeech,
        2651). A straight line can't be right everywhere; a small prior makes it right among the others that look
        most like lenses, where a survey's candidates are. The sample's own share if None.
    fewest : int
        Stamps of either class without which nothing is fitted.

    Raises
    ------
    ConfigError
        With fewer than `fewest` of either class, or a slope that is not positive.
    """
    x, truth = _scored(logits, labels, fitted_on, fewest)
    slope, offset = _fit(np.stack([x, np.ones_like(x)], axis=1), truth, prior)
    if slope <= 0:
        raise ConfigError(
            f"the network ranks {fitted_on} backwards (slope {slope:.3g}): it can't be calibrated. "
            "Train it longer, or leave it out."
        )
    return Calibration(slope=slope, offset=offset, **_about(truth, prior), fitted_on=fitted_on)


def fit_beta(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[Any],
    fitted_on: str,
    *,
    prior: float | None = None,
) -> Calibration:
    """Two slopes and an offset by maximum likelihood: beta calibration (Kull et al. 2017, EJS 11, 5052).

    Parameters, weights and errors as `fit_platt`, whose answer this is where a slope does not come out positive: what
    the data don't bend stays straight.
    """
    x, truth = _scored(logits, labels, fitted_on)
    design = np.stack([np.logaddexp(0.0, x), -np.logaddexp(0.0, -x), np.ones_like(x)], axis=1)
    upper, lower, offset = _fit(design, truth, prior)
    if min(upper, lower) <= 0:
        return fit_platt(logits, labels, fitted_on, prior=prior)
    return Calibration(
        method="beta",
        slope=lower,
        upper_slope=upper,
        offset=offset,
        **_about(truth, prior),
        fitted_on=fitted_on,
    )


def fit_calibration(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[Any],
    fitted_on: str,
    *,
    method: Method = "platt",
    prior: float | None = None,
) -> Calibration:
    """`fit_platt` or `fit_beta`, by name."""
    fit = fit_beta if method == "beta" else fit_platt
    return fit(logits, labels, fitted_on, prior=prior)


def _scored(
    logits: npt.NDArray[np.floating[Any]], labels: npt.NDArray[Any], fitted_on: str, fewest: int = FEWEST
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    scored = np.isfinite(logits)
    x, truth = np.asarray(logits, dtype=np.float64)[scored], np.asarray(labels, dtype=bool)[scored]
    n_lenses, n_others = int(truth.sum()), int((~truth).sum())
    if min(n_lenses, n_others) < fewest:
        raise ConfigError(
            f"calibration needs {fewest} stamps of each class; {fitted_on} has {n_lenses} and {n_others}."
        )
    return x, truth


def _fit(design: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_], prior: float | None) -> tuple[float, ...]:
    n_lenses, n_others = int(truth.sum()), int((~truth).sum())
    weight = class_weights(truth, prior)
    ratio = float(weight[truth][0] / weight[~truth][0])
    # One row's worth of doubt a class, of the lighter class: in an even sample Platt's own.
    doubt_lens, doubt_other = min(1.0, 1 / ratio) / (n_lenses + 2), min(1.0, ratio) / (n_others + 2)
    target = np.where(truth, 1 - doubt_lens, doubt_other)
    return tuple(map(float, logistic_regression(design, target, weight)))


def _about(truth: npt.NDArray[np.bool_], prior: float | None) -> dict[str, Any]:
    n_lenses, n_others = int(truth.sum()), int((~truth).sum())
    return {
        "prior": n_lenses / (n_lenses + n_others) if prior is None else prior,
        "n_lenses": n_lenses,
        "n_others": n_others,
    }
