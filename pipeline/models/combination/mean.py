"""Mean of probabilities: the linear opinion pool."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mean(odds: Floats, weights: Floats) -> Floats:
    """Log-odds of the weighted mean of the members' probabilities.

    A linear pool of calibrated members is less sure than the data allow (Ranjan & Gneiting 2010, JRSS B 72, 71,
    theorem 1): it needs a calibration of its own. At a small prior it follows the most sure member, at even odds it
    is near a vote: what it ranks first depends on the prior of `odds`.

    Parameters
    ----------
    odds : float64 (n, members)
        Log-odds at the prior at which probabilities are averaged.
    weights : float64 (members,)
        None negative, not all zero; only their ratios count.

    Returns
    -------
    float64 (n,)
        At the prior of `odds`, without loss where probabilities are near 0 or 1; NaN where any member is NaN.
    """
    used = weights > 0
    share = np.log(weights[used] / weights.sum())
    yes = np.logaddexp.reduce(share - np.logaddexp(0.0, -odds[:, used]), axis=1)
    no = np.logaddexp.reduce(share - np.logaddexp(0.0, odds[:, used]), axis=1)
    answer: Floats = np.where(np.isnan(odds).any(axis=1), np.nan, yes - no)
    return answer
