"""Weighted mean of log-odds: the logarithmic opinion pool."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mean_log_odds(odds: Floats, weights: Floats) -> Floats:
    """Weighted mean of the members' log-odds (Genest & Zidek 1986, Statistical Science 1, 114, sect. 3.3).

    Parameters
    ----------
    odds : float64 (n, members)
        At any one prior; the answer is at the same.
    weights : float64 (members,)
        Positive; only their ratios count.

    Returns
    -------
    float64 (n,)
        NaN where any member is NaN.
    """
    answer: Floats = (odds * (weights / sum(weights))).sum(axis=1)
    return answer
