"""From a network's logit to a probability at a survey's own share of lenses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.config import StrictModel

Floats = npt.NDArray[np.floating[Any]]

_SMALLEST_SCORE, _LARGEST_SCORE = 1e-30, 1 - 2.0**-24
"""Float32 scores are brought inside these before their log-odds are taken."""


class Calibration(StrictModel):
    """A rising function from a raw output to log-odds at a prior; `calibration.toml` of a package.

    ``platt``: log-odds = slope * x + offset (Platt 1999, Advances in Large Margin Classifiers, 61).

    ``beta``: log-odds = upper_slope * softplus(x) - slope * softplus(-x) + offset, with softplus(x) =
    log(1 + exp(x)). That is beta calibration (Kull, Silva Filho & Flach 2017, EJS 11, 5052, eq. 3) of
    the probability sigmoid(x): a straight line of one slope far below x = 0 and of another far above, so that the
    few detections at the top are not bound by the many in the middle. Equal slopes are Platt's.

    Attributes
    ----------
    slope, offset : float
    upper_slope : float or None
        Of `beta` alone.
    prior : float
        Share of lenses, counted by their weights in the fit, in the sample that it was fitted on.
    n_lenses, n_others : int
        Size of that sample.
    fitted_on : str
        What the sample was, for a reader.
    """

    method: Literal["platt", "beta"] = "platt"
    slope: float = Field(gt=0)
    upper_slope: float | None = Field(None, gt=0)
    offset: float
    prior: float = Field(gt=0, lt=1)
    n_lenses: int = Field(ge=0)
    n_others: int = Field(ge=0)
    fitted_on: str

    @model_validator(mode="after")
    def _slopes_of_the_method(self) -> Calibration:
        if (self.upper_slope is not None) != (self.method == "beta"):
            raise ValueError('upper_slope belongs to method = "beta", which needs it, and to no other')
        return self


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
    answer: npt.NDArray[np.float64]
    if calibration.upper_slope is None:
        answer = calibration.slope * values + calibration.offset + shift
    else:
        with np.errstate(invalid="ignore"):  # of NaN, which stays so
            above, below = np.logaddexp(0.0, values), np.logaddexp(0.0, -values)
        answer = calibration.upper_slope * above - calibration.slope * below + calibration.offset + shift
    return answer


def logit(probability: float) -> float:
    """log(p / (1 - p)) of a probability strictly between 0 and 1."""
    return float(np.log(probability) - np.log1p(-probability))


def odds_of(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Log-odds of probabilities, float64 of the same shape; those of certainty finite, NaN stays NaN."""
    clipped = np.clip(np.asarray(scores, np.float64), _SMALLEST_SCORE, _LARGEST_SCORE)
    answer: npt.NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return answer


def sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-x)) without overflow; NaN stays NaN."""
    small = np.exp(-np.abs(values))
    answer: npt.NDArray[np.float64] = np.where(values < 0, small, 1.0) / (1.0 + small)
    return answer
