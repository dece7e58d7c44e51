"""Median of log-odds: one member that is wild moves nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def median(odds: Floats) -> Floats:
    """Median of the members' log-odds, for an even number the mean of the middle two.

    The median of log-odds is that of probabilities for an odd number of members, at whatever prior; so the order of
    detections does not hang on the prior.

    Parameters
    ----------
    odds : float64 (n, members)
        At any one prior; the answer is at the same.

    Returns
    -------
    float64 (n,)
        NaN where any member is NaN.
    """
    answer: Floats = np.median(odds, axis=1)
    return answer
