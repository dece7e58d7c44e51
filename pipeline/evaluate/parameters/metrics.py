"""What is asked of posteriors whose truth is known, one parameter at a time.

`samples` are (n, s), one posterior a row, and `truth` (n,), both finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from pipeline.evaluate.metrics import Estimate, share

Values = npt.NDArray[np.floating[Any]]

_NORMAL = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True)
class Residuals:
    """Of estimates about the truth, each with its 68 % interval: median, and scatter as 1.4826 median deviations."""

    n: int
    bias: Estimate
    scatter: Estimate


@dataclass(frozen=True)
class Calibrated:
    """Ranks of the truth among samples.

    Attributes
    ----------
    counts : tuple of int
        Posteriors whose truth has a rank in each of as many equal bins.
    p_value : float
        Of so uneven counts or worse, if the truth were drawn from the posteriors (chi-square).
    """

    counts: tuple[int, ...]
    p_value: float


def residuals(estimate: Values, truth: Values, *, relative: bool = False) -> Residuals:
    """Bias and scatter of estimates, robust against a few that are far off.

    The intervals are those of a normal distribution's: the median's standard error is 1.2533 sigma / sqrt(n), that of a
    deviation from median deviations 1.1664 sigma / sqrt(n) (Rousseeuw & Croux 1993, JASA 88, 1273, efficiency 0.37).

    Parameters
    ----------
    estimate, truth : (n,)
    relative : bool
        Divide by the truth.
    """
    n = len(truth)
    if n == 0:
        nothing = Estimate(math.nan, math.nan, math.nan)
        return Residuals(0, nothing, nothing)
    away = (np.asarray(estimate, np.float64) - truth) / (truth if relative else 1.0)
    bias = float(np.median(away))
    scatter = float(_NORMAL * np.median(np.abs(away - bias)))
    error, uncertain = 1.2533 * scatter / math.sqrt(n), 1.1664 * scatter / math.sqrt(n)
    return Residuals(
        n, Estimate(bias, bias - error, bias + error), Estimate(scatter, scatter - uncertain, scatter + uncertain)
    )


def coverage(samples: Values, truth: Values, level: float) -> Estimate:
    """Share of truths inside the central interval of a level, with its binomial interval; NaN for none."""
    low, high = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2], axis=1)
    return share(int(((truth >= low) & (truth <= high)).sum()), len(truth))


def sharpness(samples: Values) -> float:
    """Median over the posteriors of half the width of their central 68 % intervals; NaN for none."""
    if not len(samples):
        return math.nan
    low, high = np.quantile(samples, [0.16, 0.84], axis=1)
    return float(np.median(high - low) / 2)


def ranks(samples: Values, truth: Values) -> npt.NDArray[np.int64]:
    """How many samples lie below the truth, (n,) from 0 to s: uniform for a calibrated posterior.

    Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788, theorem 1); samples must be independent.
    """
    below: npt.NDArray[np.int64] = (samples < truth[:, None]).sum(1)
    return below


def calibrated(samples: Values, truth: Values, bins: int = 20) -> Calibrated:
    """The histogram of ranks and a test that it is flat.

    Ranks take s + 1 values, which the bins share as evenly as they can; each bin expects its number of values.
    """
    values = samples.shape[1] + 1
    found = ranks(samples, truth) * bins // values
    counts = np.bincount(found, minlength=bins)
    expected = np.bincount(np.arange(values) * bins // values, minlength=bins) * (len(truth) / values)
    uneven = float(((counts - expected) ** 2 / expected).sum()) if len(truth) else 0.0
    return Calibrated(tuple(counts.tolist()), float(chi2.sf(uneven, bins - 1)))
