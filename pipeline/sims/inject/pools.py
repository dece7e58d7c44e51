"""Pools of injected stamps on disk, in the format of `pools`."""

from __future__ import annotations

from pathlib import Path

from pipeline.sims.config.injection import INJECTION_KINDS
from pipeline.sims.inject.plan import InjectionPlan
from pipeline.sims.inject.simulate import inject_stamps
from pipeline.sims.pools import save_shard, shard_seed


def write_injected_shard(plan: InjectionPlan, folder: Path, seed: int, number: int, count: int) -> Path:
    """Write `pool-<number>.npz` with what `inject_stamps` gives.

    As `stamps.pools.write_shard`: image, ivar, mask, label, arc, `bands`, `pixel_scale`, `kinds`, `seed`, and the
    columns of `InjectionTruth`.

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
    config = plan.config
    save_shard(path, stamps, bands=config.bands, pixel_scale=config.pixel_scale, kinds=INJECTION_KINDS, seed=seed)
    return path
