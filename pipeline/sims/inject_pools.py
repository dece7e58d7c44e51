"""Pools of injected stamps on disk, in the format of `pools`."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import numpy as np

from pipeline.sims.inject import inject_stamps
from pipeline.sims.inject_config import INJECTION_KINDS
from pipeline.sims.inject_plan import InjectionPlan
from pipeline.sims.pools import shard_seed


def write_injected_shard(plan: InjectionPlan, folder: Path, seed: int, number: int, count: int) -> Path:
    """Write `pool-<number>.npz` with what `inject_stamps` gives.

    As `pools.write_shard`: image, ivar, mask, label, arc, `bands`, `pixel_scale`, `kinds`, `seed`, and the columns of
    `InjectionTruth`.

    Parameters
    ----------
    plan : InjectionPlan
    folder : Path
        Exists.
    seed, number : int
    count : int
        Stamps in the shard.
    """
    stamps = inject_stamps(plan, count, shard_seed(seed, number))
    path = folder / f"pool-{number:05d}.npz"
    partial = path.with_suffix(".part")
    with partial.open("wb") as stream:
        np.savez(
            stream,
            image=stamps.image,
            ivar=stamps.ivar,
            mask=stamps.mask,
            label=stamps.label,
            arc=stamps.arc,
            bands=np.array(plan.config.bands),
            pixel_scale=np.float64(plan.config.pixel_scale),
            kinds=np.array(INJECTION_KINDS),
            seed=np.int64(seed),
            **{item.name: getattr(stamps.truth, item.name) for item in fields(stamps.truth)},
        )
    os.replace(partial, path)
    return path
