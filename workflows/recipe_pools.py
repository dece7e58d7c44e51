"""The pools of a recipe: each written once, and known again by what it was asked to be."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.sims.config.injection import InjectionConfig
    from pipeline.sims.config.stamps import SimsConfig
    from pipeline.train.recipe import PoolRecipe, Recipe

MARKER = "pool.json"
"""What a pool was asked to be, written before its first shard."""


@dataclass(frozen=True)
class PoolResult:
    """A pool of a recipe; `fingerprint` is that of what it was asked to be."""

    name: str
    folder: str
    stamps: int
    fingerprint: str


def write_pools(recipe: Recipe) -> list[PoolResult]:
    """Write every pool of a recipe that is not there; shards of one that was stopped are kept.

    Every folder is checked before the first shard is written.

    Raises
    ------
    ConfigError
        For a simulation that is wrong, or is of a sky.
    ProductMismatch
        If a folder holds another pool, naming what differs.
    """
    from pipeline.io.writing import write_json
    from pipeline.provenance import fingerprint
    from workflows.simulate import write_pool

    wanted = [(pool, _simulation(pool, recipe)) for pool in recipe.config.pools]
    asked = [_identity(pool, config, recipe) for pool, config in wanted]
    known = [_check_known(recipe.folder(pool.name), what) for (pool, _), what in zip(wanted, asked, strict=True)]
    results = []
    for (pool, config), what, there in zip(wanted, asked, known, strict=True):
        folder = recipe.folder(pool.name)
        if not there:
            write_json(folder / MARKER, what)
        about = f"pool {pool.name}: {pool.n:,} stamps of {pool.config}, split {pool.split}, seed {pool.seed}"
        left = math.ceil(pool.n / config.shard) - len(list(folder.glob("pool-*.npz")))
        typer.echo(f"{about}: {f'{left} shards to write' if left else 'done before'}", err=True)
        write_pool(config, folder, pool.seed, n=pool.n, workers=recipe.config.workers, resume=True)
        results.append(PoolResult(pool.name, str(folder), pool.n, fingerprint(what)))
    return results


def _simulation(pool: PoolRecipe, recipe: Recipe) -> SimsConfig | InjectionConfig:
    """A pool's simulation, in its split and, for an injection, into the recipe's scan."""
    from pipeline.config import find
    from pipeline.errors import ConfigError
    from pipeline.sims.config.injection import InjectionConfig
    from pipeline.sims.config.load import load_sims
    from pipeline.sims.config.sky import SkyConfig
    from workflows.simulate import with_split

    config = with_split(load_sims(find(pool.config, "sims", recipe.path.parent)), pool.split)
    if isinstance(config, SkyConfig):
        raise ConfigError(f"{recipe.path}: pool {pool.name!r}: {pool.config!r} is a sky; name stamps or an injection.")
    if isinstance(config, InjectionConfig) and recipe.scan is not None:
        return config.model_copy(update={"scans": (str(recipe.scan),)})
    return config


def _identity(pool: PoolRecipe, config: SimsConfig | InjectionConfig, recipe: Recipe) -> dict[str, str]:
    """What a pool depends on, flat, as text: number, seed, simulation, and the cutouts that lenses go into."""
    from pipeline.io import products
    from pipeline.provenance import fingerprint
    from pipeline.sims.config.injection import InjectionConfig
    from pipeline.train.checkpoint import flat

    values: dict[str, Any] = {"n": pool.n, "seed": pool.seed}
    values |= flat(config.model_dump(mode="json", exclude={"stamps"}))
    if isinstance(config, InjectionConfig) and recipe.scan is not None:
        live = {
            field: [products.live_fingerprint(recipe.scan, field, stage, stages) for stage in ("detect", "cutouts")]
            for field, stages in products.listing(recipe.scan).items()
        }
        values["cutouts of the scan"] = fingerprint(live)
    return {key: str(value) for key, value in values.items()}


def _check_known(folder: Path, asked: dict[str, str]) -> bool:
    """Whether the folder holds this pool or a part of it; False if there is nothing yet."""
    from pipeline.errors import ProductMismatch
    from pipeline.train.checkpoint import differences

    marker = folder / MARKER
    if not marker.is_file():
        if any(folder.glob("pool-*.npz")):
            raise ProductMismatch(f"{folder} holds a pool that no recipe wrote; delete it, or give another --out.")
        return False
    try:
        there = json.loads(marker.read_text())
    except ValueError as error:
        raise ProductMismatch(f"{marker} is no JSON ({error}); delete {folder}, or give another --out.") from error
    if there != asked:
        raise ProductMismatch(
            f"{folder} holds another pool: {differences(there, asked)}. Delete it, or give another name or --out."
        )
    return True
