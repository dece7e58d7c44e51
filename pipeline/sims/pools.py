"""Pools of simulated stamps on disk: a folder of uncompressed npz shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from pipeline.errors import ProductMismatch
from pipeline.sims.truth import AnyTruth, LabelledStamps


def shard_counts(total: int, shard: int) -> list[int]:
    """Number of stamps of each shard of a pool of `total` stamps, `shard` in each but the last."""
    return [min(shard, total - first) for first in range(0, total, shard)]


def check_folder(folder: Path) -> None:
    """Make a pool's folder.

    Raises
    ------
    ProductMismatch
        If it holds shards already.
    """
    if any(folder.glob("pool-*.npz")):
        raise ProductMismatch(f"{folder} holds a pool already; give another folder or delete its pool-*.npz.")
    folder.mkdir(parents=True, exist_ok=True)


def shard_seed(seed: int, number: int) -> int:
    """The seed of one shard of a pool."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def save_shard(
    path: Path,
    stamps: LabelledStamps[AnyTruth],
    *,
    bands: Sequence[str],
    pixel_scale: float,
    kinds: Sequence[str],
    seed: int,
) -> None:
    """Write stamps with their truth as one shard of a pool, whole or not at all.

    Parameters
    ----------
    path : Path
    stamps : LabelledStamps
    bands : sequence of str
    pixel_scale : float, arcsec
        The pool's nominal one.
    kinds : sequence of str
        Names, which the truth's `kind` indexes.
    seed : int
        Of the pool.
    """
    truth = {item.name: getattr(stamps.truth, item.name) for item in fields(stamps.truth)}
    partial = path.with_suffix(".part")
    with partial.open("wb") as stream:
        np.savez(
            stream,
            image=stamps.image,
            ivar=stamps.ivar,
            mask=stamps.mask,
            label=stamps.label,
            arc=stamps.arc,
            bands=np.array(bands),
            pixel_scale=np.float64(pixel_scale),
            kinds=np.array(kinds),
            seed=np.int64(seed),
            **truth,
        )
    os.replace(partial, path)
