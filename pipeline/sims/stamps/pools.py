"""Pools of simulated stamps on disk."""

from __future__ import annotations

from pathlib import Path

from pipeline.sims.config.names import KINDS
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.pools import save_shard, shard_seed
from pipeline.sims.stamps.simulate import simulate_stamps


def write_shard(config: SimsConfig, folder: Path, seed: int, number: int, count: int) -> Path:
    """Write `pool-<number>.npz` with what `simulate_stamps` gives.

    Each shard has its own seed, made of `seed` and its number, so shards can be written in any order, by any number
    of processes. A shard holds image, ivar, mask, label, arc, the columns of the truth (`StampTruth`), and `bands`,
    `pixel_scale` (arcsec, nominal), `kinds` (names, which `kind` indexes) and `seed`.

    Parameters
    ----------
    config : SimsConfig
    folder : Path
        Exists.
    seed, number : int
    count : int
        Stamps in the shard.
    """
    stamps = simulate_stamps(config, count, shard_seed(seed, number))
    path = folder / f"pool-{number:05d}.npz"
    save_shard(path, stamps, bands=config.bands, pixel_scale=config.pixel_scale, kinds=KINDS, seed=seed)
    return path
