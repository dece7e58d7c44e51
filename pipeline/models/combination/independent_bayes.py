"""Product of likelihood ratios: Bayes' rule for members that know nothing of each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def independent_bayes(evidence: Floats, shrink: float) -> Floats:
    """Log of the product of the members' likelihood ratios, to the power of `shrink`.

    With `shrink` = 1 this is Bayes' rule for members whose errors are independent given the class. Members that
    look at one stamp and have learned from one simulation are not: what fools one fools the next, and the product
    counts the same evidence once a member, so that five members in step turn odds of ten into 10^5, for
    false alarms as well. The order of detections is that of the plain mean of log-odds whatever the exponent; what
    the assumption spoils is the probability. `shrink` = 1 / members is that mean (members that say all the same);
    fitted values lie between, and tell how much the members have in common.

    Parameters
    ----------
    evidence : float64 (n, members)
        Members' log likelihood ratios, lens against other: their log-odds less those of the prior.
    shrink : float
        Positive.

    Returns
    -------
    float64 (n,)
        Log likelihood ratio; NaN where any member is NaN.
    """
    answer: Floats = shrink * evidence.sum(axis=1)
    return answer
