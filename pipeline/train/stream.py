"""Which stamps a step sees: a function of the seed and the step's number alone, and of what was mined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.train.config import SamplerConfig
from pipeline.train.data import Stamps, draw_order

_PLAIN = SamplerConfig()


class Stream:
    """Rows of stamps, batch by batch, each epoch in another order.

    Parameters
    ----------
    stamps : Stamps
    batch : int
        Rows of a step; more than there are stamps makes rows come again within a step.
    seed : int
    mix : mapping, optional
        Weight of each kind; see `pipeline.train.data.draw_order`.
    sampler : SamplerConfig, optional

    Attributes
    ----------
    per_epoch : int
        Steps of an epoch; what doesn't fill a batch is left out.
    kinds : int64 (n,)
        Number of each stamp's kind, in the order of their names.
    hard : float64 (n,)
        Factor on the weight of each stamp, from mining; read when an epoch begins.
    """

    def __init__(
        self,
        stamps: Stamps,
        batch: int,
        seed: int,
        mix: Mapping[str, float] | None = None,
        sampler: SamplerConfig = _PLAIN,
    ) -> None:
        self.stamps, self.batch, self.seed = stamps, batch, seed
        self.mix, self.sampler = mix or {}, sampler
        self.per_epoch = max(1, len(stamps) // batch)
        self.kinds: npt.NDArray[np.int64] = np.unique(stamps.kind, return_inverse=True)[1].astype(np.int64)
        self.hard = np.ones(len(stamps))
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._epoch = -1

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """Rows (batch,) of a step."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self._ordered(epoch), epoch
        return self._order[place * self.batch : (place + 1) * self.batch]

    def _ordered(self, epoch: int) -> npt.NDArray[np.int64]:
        lens = self.stamps.lens
        factors = class_factors(self.stamps, self.mix, self.hard, self.sampler.lens_share)
        order = draw_order(self.stamps, self.mix, self.seed, epoch, factors)
        if self.sampler.stratified:
            order = spread_evenly(order, lens[order])
        return np.resize(order, max(len(order), self.batch))


def class_factors(
    stamps: Stamps, mix: Mapping[str, float], hard: npt.NDArray[np.float64], lens_share: float | None
) -> npt.NDArray[np.float64]:
    """Factor on each stamp's weight, (n,): the hard ones', scaled for each class.

    Lenses get a share `lens_share` of the weight; where it is None, the share that they have without mining, so
    that hard non-lenses take the place of easy ones and not of lenses.
    """
    weights = np.ones(len(stamps)) if stamps.weight is None else stamps.weight.copy()
    for kind, weight in mix.items():
        weights[stamps.kind == kind] *= weight
    factors = hard.copy()
    before = np.array([weights[stamps.lens].sum(), weights[~stamps.lens].sum()])
    after = np.array([(weights * hard)[stamps.lens].sum(), (weights * hard)[~stamps.lens].sum()])
    wanted = before if lens_share is None else before.sum() * np.array([lens_share, 1 - lens_share])
    scale = np.divide(wanted, after, out=np.ones(2), where=after > 0)
    factors[stamps.lens] *= scale[0]
    factors[~stamps.lens] *= scale[1]
    return factors


def spread_evenly(order: npt.NDArray[np.int64], lens: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The rows of `order` in which every stretch holds the same share of lenses, each class in its old order."""
    place = np.empty(len(order))
    for members in (lens, ~lens):
        count = int(members.sum())
        place[members] = (np.arange(count) + 0.5) / max(1, count)
    return order[np.argsort(place, kind="stable")]
