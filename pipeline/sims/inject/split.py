"""Which stamps an injection may use: those that lie wholly in its part of the sky."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.sims.config.injection import SkySplit
from pipeline.sims.render.light import Float64
from pipeline.splits import stamps_in_split

Bool = npt.NDArray[np.bool_]


def in_split(ra: Float64, dec: Float64, reach: float, config: SkySplit) -> Bool:
    """Which square stamps lie wholly in cells of the config's split, by `pipeline.splits.stamps_in_split`.

    Parameters
    ----------
    ra, dec : float64 (n,), degrees
        Of the stamps' centres.
    reach : degrees
        Half a stamp's side.
    config : SkySplit

    Returns
    -------
    bool (n,)
        All True for split "all".
    """
    if config.split == "all":
        return np.ones(len(ra), np.bool_)
    return stamps_in_split(ra, dec, reach, config.split, config.cell, config.shares)
