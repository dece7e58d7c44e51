"""Whether an evaluation's samples share anything with what the members were trained on, or with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.pools import PoolHead, read_heads
from pipeline.evaluate.samples import Sample

TRAINING = "training"
SEED, SOURCE = "pool seed", "source galaxy"
CELLS = ("sky_cell", "healpix", "cell", "host_cell")
"""Names that a column of sky cells may have in a pool."""


@dataclass(frozen=True)
class SplitCheck:
    """One comparison: `shared` is None where it could not be made, for the reason in `note`."""

    first: str
    second: str
    what: str
    shared: int | None
    note: str


@dataclass(frozen=True)
class Identity:
    """Where stamps come from; an empty set means that nothing is known."""

    name: str
    seeds: frozenset[int]
    sources: frozenset[int]
    cells: frozenset[int]


def identity(sample: Sample) -> Identity:
    """Seeds, source galaxies (ids below 0 are parametric sources) and sky cells of a sample."""
    return Identity(sample.name, frozenset(sample.seeds), *_places(sample.truth))


def training_identity(patterns: tuple[str, ...]) -> Identity | None:
    """Likewise of the training pools; None without patterns. Raises ConfigError where one matches nothing."""
    if not patterns:
        return None
    heads: Sequence[PoolHead] = read_heads(patterns)
    places = [_places(head.truth) for head in heads]
    seeds = frozenset(head.seed for head in heads if head.seed is not None)
    sources, cells = (frozenset().union(*(place[index] for place in places)) for index in range(2))
    return Identity(TRAINING, seeds, sources, cells)


def check_splits(samples: Sequence[Identity], training: Identity | None) -> list[SplitCheck]:
    """Compare every sample with the training pools, and the samples with one another.

    Raises
    ------
    ConfigError
        If a sample shares a seed, a source galaxy or a sky cell with the training pools: its figures would be of stamps
        that the members have seen.
    """
    checks: list[SplitCheck] = []
    for sample in samples:
        if training is None:
            note = "the evaluation names no training pools; set `training`"
            checks.append(SplitCheck(sample.name, TRAINING, "anything", None, note))
        else:
            checks.extend(_compare(sample, training))
    for first, second in combinations(samples, 2):
        checks.extend(check for check in _compare(first, second) if check.shared is not None)
    leaks = [check for check in checks if check.second == TRAINING and check.shared]
    if leaks:
        told = "; ".join(f"sample {leak.first!r}: {leak.shared:,} of {leak.what} ({leak.note})" for leak in leaks)
        raise ConfigError(f"samples share with the training pools: {told}. Simulate others with another seed or split.")
    return checks


def _compare(first: Identity, second: Identity) -> list[SplitCheck]:
    kinds = ((SEED, first.seeds, second.seeds), (SOURCE, first.sources, second.sources))
    checks = []
    for what, mine, theirs in (*kinds, ("sky cell", first.cells, second.cells)):
        if mine and theirs:
            both = mine & theirs
            note = f"such as {min(both)}" if both else f"{len(mine):,} against {len(theirs):,}"
            checks.append(SplitCheck(first.name, second.name, what, len(both), note))
        else:
            lacking = first.name if not mine else second.name
            checks.append(SplitCheck(first.name, second.name, what, None, f"{lacking} has none"))
    return checks


def _places(truth: Mapping[str, npt.NDArray[Any]]) -> tuple[frozenset[int], frozenset[int]]:
    sources = frozenset(np.unique(truth["source_id"]).tolist()) if "source_id" in truth else frozenset()
    cells: frozenset[int] = frozenset()
    for name in CELLS:
        if name in truth:
            cells |= frozenset(np.unique(truth[name]).tolist())
    return frozenset(key for key in sources if key >= 0), frozenset(key for key in cells if key >= 0)
