"""Stamps that show the same sky are drawn together: the bootstrap of a sample that shows some of it more than once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_AT_ONCE = 4_000_000
"""Counts of groups that are held at a time."""


@dataclass(frozen=True)
class Clusters:
    """Which group each stamp is of, and which classes each group holds.

    A bootstrap has to draw what was drawn from the sky, which is the object, not the stamp: groups are drawn with
    replacement and come with all of their stamps (Davison & Hinkley 1997, sect. 3.8, the first of the two strategies
    for hierarchical data; Field & Welsh 2007, JRSS B 69, 369). With every stamp a group of its own that is the
    bootstrap stratified by class.

    A group may hold both classes: a galaxy as it is, and the same galaxy with a lens injected into it; a lens and its
    neighbours in one frame. To draw its lenses and its others apart would lose that they go up and down together. So
    the strata are the groups of nothing but lenses, those of nothing but others, and those of both, each with as
    many draws as it has groups. A class then counts a few stamps more or fewer in a replicate than in the sample where
    groups differ in size, never none, and rates are of the replicate's own total.

    Attributes
    ----------
    group : int64 (n,)
        0 to one less than the number of groups.
    lens : bool (n,)
    """

    group: Int64
    lens: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, groups: npt.NDArray[Any], lens: npt.NDArray[Any]) -> Clusters:
        """From any values (n,), equal where stamps belong together.

        Raises
        ------
        ValueError
            If groups and labels are not of one length and one axis.
        """
        values, truth = np.asarray(groups), np.asarray(lens, dtype=bool)
        if values.ndim != 1 or values.shape != truth.shape:
            raise ValueError(f"groups {values.shape} and labels {truth.shape} must be of one length, one axis each")
        return cls(np.unique(values, return_inverse=True)[1].astype(np.int64), truth)

    @property
    def n_groups(self) -> int:
        """Groups in all."""
        return int(self.group.max(initial=-1)) + 1

    def groups_of(self, lens: bool) -> int:
        """Groups with a lens, or with an other; those of both count in either."""
        return len(np.unique(self.group[self.lens == lens]))

    @property
    def strata(self) -> tuple[Int64, ...]:
        """Groups of lenses alone, of others alone, and of both; those of them that are not empty."""
        has = [np.bincount(self.group[self.lens == kind], minlength=self.n_groups) > 0 for kind in (True, False)]
        parts = (np.flatnonzero(chosen) for chosen in (has[0] & ~has[1], ~has[0] & has[1], has[0] & has[1]))
        return tuple(part for part in parts if len(part))

    def draws(self, replicates: int, rng: np.random.Generator) -> Iterator[Int32]:
        """How often each group counts: int32 (some, groups) at a time, `replicates` rows in all."""
        strata, done = self.strata, 0
        while done < replicates:
            rows = min(replicates - done, max(1, _AT_ONCE // max(self.n_groups, 1)))
            counts = np.zeros((rows, self.n_groups), np.int32)
            for part in strata:
                size = len(part)
                drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
                counts[:, part] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
            yield counts
            done += rows

    def folds(self, folds: int, rng: np.random.Generator) -> Int64:
        """Fold (n,) of each stamp, a group's all in one, each stratum's groups dealt out in random order."""
        dealt = np.zeros(self.n_groups, np.int64)
        for part in self.strata:
            dealt[rng.permutation(part)] = np.arange(len(part)) % folds
        return dealt[self.group]
