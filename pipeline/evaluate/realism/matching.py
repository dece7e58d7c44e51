"""Lenses of two samples that are as bright as one another, so that brightness doesn't tell them apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def matched(first: Float64, second: Float64, caliper: float, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """Pairs of like magnitude, each of the second sample in equally many and each of the first in one at most.

    Nearest neighbours without replacement within a caliper, one after the other in random order (Rosenbaum & Rubin
    1985, Am. Stat. 39, 33). What has no partner is left out; further partners are given as long as all that have a
    first one get another, so that both sides keep one distribution.

    Parameters
    ----------
    first, second : float64 (n,), (m,), magnitudes
        NaN is left out.
    caliper : float, mag
        Largest difference within a pair.
    rng : Generator

    Returns
    -------
    int64 (k r,), (k r,)
        Rows of the first and of the second sample, pair by pair; those of the second k times the same r.
    """
    free = np.where(np.isfinite(first), first, np.inf)
    left = rng.permutation(np.flatnonzero(np.isfinite(second)))
    rounds: list[tuple[Int64, Int64]] = []
    while len(left):
        partners = np.full(len(left), -1)
        for place, row in enumerate(left.tolist()):
            nearest = int(np.argmin(np.abs(free - second[row]))) if len(free) else -1
            if nearest >= 0 and abs(free[nearest] - second[row]) <= caliper:
                partners[place], free[nearest] = nearest, np.inf
        got = partners >= 0
        if rounds and not got.all():
            break
        left, partners = left[got], partners[got]
        rounds.append((partners.astype(np.int64), left))
        # Without this a run of bright ones takes all that the next ones could have had.
        left = rng.permutation(left) if len(left) else left
    if not rounds:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([part[0] for part in rounds]), np.concatenate([part[1] for part in rounds])
