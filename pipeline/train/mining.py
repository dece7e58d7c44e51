"""Hard negatives: non-lenses that score high are drawn more often."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.train.config import MiningConfig
from pipeline.train.data import Stamps


def hard_factors(
    stamps: Stamps,
    config: MiningConfig,
    seed: int,
    epoch: int,
    score: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]],
) -> npt.NDArray[np.float64]:
    """Factor on each stamp's weight in the next epoch, (n,).

    A sample of the non-lenses is scored, the highest of it get `config.weight`, all else 1. Another sample is drawn
    after each epoch, and what was hard before is forgotten: the network may have learned it.

    Parameters
    ----------
    stamps : Stamps
    config : MiningConfig
    seed, epoch : int
        The sample is a function of both.
    score : callable
        Rows (m,) to scores (m,), higher for a lens.
    """
    factors = np.ones(len(stamps))
    others = np.flatnonzero(~stamps.lens)
    if config.share == 0 or not others.size:
        return factors
    rng = np.random.default_rng([seed, epoch, 1])
    sample = np.sort(rng.choice(others, min(config.sample, others.size), replace=False))
    hardest = max(1, round(config.share * sample.size))
    factors[sample[np.argsort(-score(sample), kind="stable")[:hardest]]] = config.weight
    return factors
