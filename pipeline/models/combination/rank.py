"""Mean of ranks against a stored distribution, so that a row's score depends on no other row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.models.combination.mean import mean

Floats = npt.NDArray[np.float64]


def rank(logits: Floats, levels: Floats, tables: Floats) -> Floats:
    """Log-odds of the mean over members of each logit's rank among stored non-lenses.

    A rank is the share of the non-lenses that lie lower. Between the stored levels its log-odds are a straight line
    in the logit, and beyond the outermost the nearest line goes on: no two logits share a rank, however far out.

    Parameters
    ----------
    logits : float64 (n, members)
    levels : float64 (q,)
        Rising, inside (0, 1), at least two.
    tables : float64 (members, q)
        Logits at the levels, rising.

    Returns
    -------
    float64 (n,)
        A number to be calibrated, of no prior; NaN where any member is NaN.
    """
    heights = np.log(levels) - np.log1p(-levels)
    risen = np.empty_like(logits)
    for column, knots in enumerate(tables):
        place = np.clip(np.searchsorted(knots, logits[:, column]) - 1, 0, len(knots) - 2)
        slope = (heights[place + 1] - heights[place]) / (knots[place + 1] - knots[place])
        risen[:, column] = heights[place] + slope * (logits[:, column] - knots[place])
    return mean(risen, np.ones(logits.shape[1]))
