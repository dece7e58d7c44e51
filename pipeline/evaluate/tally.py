"""Lenses and others counted by score: what every figure of merit is a function of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from pipeline.evaluate.clusters import Clusters

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

EXACT_SHARE = 0.03
"""Share of the others, highest first, among which a compressed tally keeps every distinct score."""
BULK_GROUPS = 1000
"""Groups of about equal mass that the rest of a compressed tally has."""


@dataclass(frozen=True)
class Tally:
    """Numbers of lenses and of others at each distinct score, highest first.

    Attributes
    ----------
    score : float64 (g,)
        Strictly falling; the lowest of a group where a tally is compressed. Minus infinity stands for "no score".
    lenses, others : int64 (g,)
    cell : int64 (n,), optional
        Which distinct score each stamp has; given with `clusters`.
    clusters : Clusters, optional
        Which stamps are drawn together; None where each is drawn for itself.
    """

    score: Float64
    lenses: Int64
    others: Int64
    cell: Int64 | None = None
    clusters: Clusters | None = None

    @property
    def n_lenses(self) -> int:
        """All lenses, with a score or without."""
        return int(self.lenses.sum())

    @property
    def n_others(self) -> int:
        """All others, with a score or without."""
        return int(self.others.sum())

    @property
    def n_lens_groups(self) -> int:
        """Groups with a lens: as many as lenses where each stands for itself."""
        return self.n_lenses if self.clusters is None else self.clusters.groups_of(True)

    @property
    def n_other_groups(self) -> int:
        """Groups with an other: as many as others where each stands for itself."""
        return self.n_others if self.clusters is None else self.clusters.groups_of(False)

    @cached_property
    def compressed(self) -> Tally:
        """The same tally in fewer groups, for resampling.

        Neighbouring groups of nothing but lenses, or of nothing but others, become one, which changes no point of
        the ROC curve at which a lens is gained; below the first `EXACT_SHARE` of the others groups of about equal mass
        are made of the rest, within which lenses and others then count as tied.
        """
        if not len(self.score):
            return self
        kind = np.where(self.others == 0, 0, np.where(self.lenses == 0, 1, 2))
        starts = np.concatenate([[True], (kind[1:] != kind[:-1]) | (kind[1:] == 2)])
        above = np.cumsum(self.others) - self.others
        bulk = above > EXACT_SHARE * self.n_others
        mass = np.cumsum(self.lenses) / max(self.n_lenses, 1) + np.cumsum(self.others) / max(self.n_others, 1)
        level = np.floor(mass / 2 * BULK_GROUPS)
        coarse = np.concatenate([[True], level[1:] != level[:-1]])
        if bulk.sum() > BULK_GROUPS:
            starts = np.where(bulk, coarse | ~np.concatenate([[False], bulk[:-1]]), starts)
        last = np.append(np.flatnonzero(starts)[1:], len(self.score)) - 1
        return self.merged(np.cumsum(starts) - 1, self.score[last])

    def merged(self, place: Int64, score: Float64) -> Tally:
        """Fewer scores: the one at `place` (g,) of `score` for each that there is."""
        lenses, others = (
            np.bincount(place, weights=counts, minlength=len(score)).astype(np.int64)
            for counts in (self.lenses, self.others)
        )
        return Tally(score, lenses, others, None if self.cell is None else place[self.cell], self.clusters)

    def resampled(self, replicates: int, rng: np.random.Generator) -> tuple[Int64, Int64]:
        """Lenses and others of bootstrap replicates.

        Each class is drawn with replacement from itself (stratified bootstrap; Efron & Tibshirani 1993, ch. 8), or,
        where stamps belong together, groups are as `Clusters` says.

        Returns
        -------
        lenses, others : int64 (replicates, g)
            Each row sums to the number of its class; with groups of different sizes to about that, and never to 0.
        """
        if self.clusters is None or self.cell is None:
            return _drawn(self.lenses, replicates, rng), _drawn(self.others, replicates, rng)
        clusters, shape = self.clusters, (self.clusters.n_groups, len(self.score))
        held = [
            csr_array((np.ones(chosen.sum(), np.int64), (clusters.group[chosen], self.cell[chosen])), shape)
            for chosen in (clusters.lens, ~clusters.lens)
        ]
        rows = [[(part.T @ drawn.T).T for part in held] for drawn in clusters.draws(replicates, rng)]
        return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


def tally(scores: npt.NDArray[Any], labels: npt.NDArray[Any], groups: npt.NDArray[Any] | None = None) -> Tally:
    """Count lenses and others at each distinct score.

    Parameters
    ----------
    scores : (n,)
        NaN counts as minus infinity: what can't be scored is found last.
    labels : (n,) bool
        True for a lens.
    groups : (n,), optional
        Equal where stamps belong together, such as the ids of the objects that they show; None: each for itself.

    Raises
    ------
    ValueError
        If they are not of one length and one axis.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores {values.shape} and labels {truth.shape} must be of one length, one axis each")
    values = np.where(np.isnan(values), -np.inf, values)
    distinct, place = np.unique(values, return_inverse=True)
    lenses = np.bincount(place[truth], minlength=len(distinct))
    others = np.bincount(place[~truth], minlength=len(distinct))
    return Tally(
        distinct[::-1].copy(),
        lenses[::-1].astype(np.int64),
        others[::-1].astype(np.int64),
        None if groups is None else len(distinct) - 1 - place,
        None if groups is None else Clusters.of(groups, truth),
    )


def _drawn(counts: Int64, replicates: int, rng: np.random.Generator) -> Int64:
    total = int(counts.sum())
    answer = np.zeros((replicates, len(counts)), dtype=np.int64)
    some = np.flatnonzero(counts)
    if total:
        answer[:, some] = rng.multinomial(total, counts[some] / total, size=replicates)
    return answer
