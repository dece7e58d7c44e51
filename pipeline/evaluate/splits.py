"""Whether an evaluation's samples share anything with what the members were trained on, or with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.samples.pools import PoolHead, read_heads
from pipeline.evaluate.samples.sample import Sample
from pipeline.splits import sky_cells

TRAINING = "training"
STAMP, SOURCE, SKY = "stamp", "source galaxy", "sky"
_DRAWN = ("theta_E", "arc_snr", "source_mag", "lens_mag", "centre_x", "centre_y", "true_pixel_scale", "seeing")
"""Numbers of the truth that together are one stamp's alone."""
_PLACE = ("ra", "dec")
_ORDER = 14
"""HEALPix order of the cells of sky that are compared: 13 arcsec, about a stamp."""


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
    stamps: frozenset[bytes]
    sources: frozenset[int]
    cells: frozenset[int]


def identity(sample: Sample) -> Identity:
    """Stamps by what was drawn for them, source galaxies (ids below 0 are other sources) and cells of sky."""
    return Identity(sample.name, *_of(sample.truth))


def training_identity(patterns: tuple[str, ...]) -> Identity | None:
    """Likewise of the training pools; None without patterns. Raises ConfigError where one matches nothing."""
    if not patterns:
        return None
    heads: Sequence[PoolHead] = read_heads(patterns)
    parts = [Identity(TRAINING, *_of(head.truth)) for head in heads]
    return Identity(
        TRAINING,
        frozenset().union(*(part.stamps for part in parts)),
        frozenset().union(*(part.sources for part in parts)),
        frozenset().union(*(part.cells for part in parts)),
    )


def check_splits(samples: Sequence[Identity], training: Identity | None) -> list[SplitCheck]:
    """Compare every sample with the training pools, and the samples with one another.

    Raises
    ------
    ConfigError
        If a sample shares a stamp, a source galaxy or sky with the training pools: its figures would be of what the
        members have seen.
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
    kinds: tuple[tuple[str, frozenset[Any], frozenset[Any]], ...] = (
        (STAMP, first.stamps, second.stamps),
        (SOURCE, first.sources, second.sources),
        (SKY, first.cells, second.cells),
    )
    checks = []
    for what, mine, theirs in kinds:
        if mine and theirs:
            both = mine & theirs
            note = f"{len(mine):,} against {len(theirs):,}"
            if both and what != STAMP:
                note += f"; such as {min(both)}"
            checks.append(SplitCheck(first.name, second.name, what, len(both), note))
        else:
            lacking = first.name if not mine else second.name
            checks.append(SplitCheck(first.name, second.name, what, None, f"{lacking} has none"))
    return checks


def _of(truth: Mapping[str, npt.NDArray[Any]]) -> tuple[frozenset[bytes], frozenset[int], frozenset[int]]:
    """Stamps, source galaxies and cells of sky of some rows."""
    sources = frozenset(np.unique(truth["source_id"]).tolist()) if "source_id" in truth else frozenset()
    cells: frozenset[int] = frozenset()
    placed = all(name in truth and truth[name].dtype.kind == "f" for name in _PLACE)
    if placed:
        ra, dec = (truth[name].astype(np.float64) for name in _PLACE)
        known = np.isfinite(ra) & np.isfinite(dec)
        cells = frozenset(sky_cells(ra[known], dec[known], _ORDER).tolist())
    drawn = [truth[name].astype(np.float64) for name in (*_DRAWN, *(_PLACE if placed else ())) if name in truth]
    stamps: frozenset[bytes] = frozenset()
    if drawn:
        rows = np.column_stack(drawn)
        # What is injected into files without a WCS has no place, and only its id tells a galaxy as it is from another.
        ids = truth["objid"].tolist() if "objid" in truth else [0] * len(rows)
        stamps = frozenset(
            row.tobytes() + str(key).encode() for row, key in zip(rows, ids, strict=True) if np.isfinite(row).any()
        )
    return stamps, frozenset(key for key in sources if key >= 0), cells
