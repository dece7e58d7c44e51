"""From a network's logit to a probability at a survey's own share of lenses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.config import StrictModel

Floats = npt.NDArray[np.floating[Any]]


class Calibration(StrictModel):
    """Platt scaling, fitted where `prior` of the stamps were lenses; `calibration.toml` of a package.

    log-odds = slope * logit + offset at the prior of the fit (Platt 1999, Advances in Large Margin
    Classifiers, 61).

    Attributes
    ----------
    slope, offset : float
    prior : float
        Share of lenses in the sample that it was fitted on.
    n_lenses, n_others : int
        Size of that sample.
    fitted_on : str
        What the sample was, for a reader.
    """

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    offset: float
    prior: float = Field(gt=0, lt=1)
    n_lenses: int = Field(ge=0)
    n_others: int = Field(ge=0)
    fitted_on: str


def log_odds(logits: Floats, calibration: Calibration, prior: float) -> npt.NDArray[np.float64]:
    """Calibrated log-odds of being a lens where a share `prior` of the stamps are lenses.

    The shift between priors is that of Saerens et al. 2002 (Neural Computation 14, 21): the likelihood
    ratio stays, the prior odds change.

    Parameters
    ----------
    logits : (...), raw outputs of the network; NaN stays NaN.
    prior : float in (0, 1)
    """
    values = np.asarray(logits, dtype=np.float64)
    shift = logit(prior) - logit(calibration.prior)
    answer: npt.NDArray[np.float64] = calibration.slope * values + calibration.offset + shift
    return answer


def logit(probability: float) -> float:
    """log(p / (1 - p)) of a probability strictly between 0 and 1."""
    return float(np.log(probability) - np.log1p(-probability))


def sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-x)) without overflow; NaN stays NaN."""
    small = np.exp(-np.abs(values))
    answer: npt.NDArray[np.float64] = np.where(values < 0, small, 1.0) / (1.0 + small)
    return answer
