"""Logistic stacking: a linear model of the members' evidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def stacking(evidence: Floats, coefficients: Floats, intercept: float) -> Floats:
    """Log likelihood ratio by logistic regression on the members' (Wolpert 1992, Neural Networks 5, 241).

    Coefficients are fitted, so correlated members share what one alone would get, and a member that only repeats or
    misleads may have one near zero or below.

    Parameters
    ----------
    evidence : float64 (n, members)
        Members' log likelihood ratios, lens against other: their log-odds less those of the prior.
    coefficients : float64 (members,)
    intercept : float

    Returns
    -------
    float64 (n,)
        Log likelihood ratio; NaN where any member is NaN.
    """
    answer: Floats = evidence @ coefficients + intercept
    return answer
