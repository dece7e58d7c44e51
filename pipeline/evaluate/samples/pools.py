"""A sample from pools of simulated or injected stamps, read a shard at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp
from pipeline.errors import ConfigError
from pipeline.evaluate.config import PoolsConfig
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.io.pools import labels, opened_pool, pools_of

_PIXELS = frozenset({"image", "ivar", "mask", "arc"})
_AT_ONCE = 512
"""Stamps in a part."""
OBJECT = "objid"
"""Column of truth that tells which stamps show one object."""
CLEAR = "clear"
"""Column of truth that is made of a config's `clear`, and what it says of a clear lens."""
_ABOUT = frozenset({"label", "bands", "pixel_scale", "kinds", "seed"})


@dataclass(frozen=True)
class PoolHead:
    """What a shard says of itself, without its pixels.

    Attributes
    ----------
    path : Path
    lens : bool (n,)
    truth : dict of str to (n,)
        Its columns of truth; a column (n, band) is the median over bands; `kind` as names.
    bands : tuple of str
    pixel_scale : float, arcsec
    """

    path: Path
    lens: npt.NDArray[np.bool_]
    truth: dict[str, npt.NDArray[Any]]
    bands: tuple[str, ...]
    pixel_scale: float


def open_pools(config: PoolsConfig) -> Sample:
    """The sample of some pools.

    Raises
    ------
    ConfigError
        If nothing matches; a shard can't be read, lacks labels, bands or pixel scale; shards differ in bands or scale,
        or a column asked for is in none; or the sample has one class only.
    """
    heads = read_heads(config.pools, config.limit)
    first = heads[0]
    for head in heads:
        if (head.bands, head.pixel_scale) != (first.bands, first.pixel_scale):
            raise ConfigError(
                f"{head.path}: bands {', '.join(head.bands)} at {head.pixel_scale:g} arcsec; {first.path} has "
                f"{', '.join(first.bands)} at {first.pixel_scale:g}. Make them two samples."
            )
    truth = _joined(heads)
    if {"theta_E", "seeing"} <= set(truth):
        with np.errstate(divide="ignore", invalid="ignore"):
            truth["theta_E_over_seeing"] = truth["theta_E"] / truth["seeing"]
    wanted = (*config.against, *config.clear, *(name for name in (config.clearest, config.group) if name))
    missing = [name for name in wanted if name not in truth]
    if missing:
        raise ConfigError(
            f"sample {config.name!r}: no column {', '.join(missing)} in {first.path}; "
            f"it has {', '.join(sorted(truth))}."
        )
    lens = np.concatenate([head.lens for head in heads])
    if lens.all() or not lens.any():
        one = "lenses" if lens.all() else "others"
        raise ConfigError(f"sample {config.name!r}: all {len(lens):,} stamps are {one}; figures need both classes.")

    if config.clear:
        clear = np.all([truth[name] > least for name, least in config.clear.items()], axis=0)
        truth[CLEAR] = np.where(lens, np.where(clear, CLEAR, f"not {CLEAR}"), "")

    def parts() -> Iterator[Part]:
        for head in heads:
            yield from read_parts(head, config.masks)

    def stamp(row: int) -> Stamp:
        for head in heads:
            if row < len(head.lens):
                with opened_pool(str(head.path)) as archive:
                    image = archive.row("image", row).astype(np.float32)
                    told = "mask" in archive.names
                    mask = archive.row("mask", row) if told else np.zeros(image.shape, np.uint32)
                return Stamp(image, mask.astype(np.uint32), head.bands, head.pixel_scale)
            row -= len(head.lens)
        raise IndexError(row)

    told = "told of masks and inverse variance" if config.masks else "without masks"
    conditions = ", ".join(f"{name} > {least:g}" for name, least in config.clear.items())
    return Sample(
        name=config.name,
        column=config.column,
        bands=first.bands,
        pixel_scale=first.pixel_scale,
        lens=lens,
        truth=truth,
        parts=parts,
        stamp=stamp,
        against=(*config.against, CLEAR) if config.clear else config.against,
        clearest=config.clearest,
        pixels=config.pixels,
        group=object_groups(heads, config.group),
        notes=(
            f"{len(heads)} shards of {', '.join(config.pools)}, {told}",
            *([f"a lens is clear with {conditions}"] if config.clear else []),
        ),
    )


def read_heads(patterns: tuple[str, ...], limit: int | None = None) -> list[PoolHead]:
    """Labels and truth of every shard that the patterns match, in sorted order, without pixels.

    Parameters
    ----------
    patterns : tuple of str
    limit : int, optional
        Stop after so many stamps; the last shard is cut.

    Raises
    ------
    ConfigError
        If a pattern matches nothing or a shard is damaged.
    """
    heads: list[PoolHead] = []
    left = limit
    for path in map(Path, pools_of(patterns)):
        if left is not None and left <= 0:
            break
        heads.append(_head(path, left))
        left = None if left is None else left - len(heads[-1].lens)
    return heads


def object_groups(heads: Sequence[PoolHead], column: str | None = None) -> npt.NDArray[Any] | None:
    """What is equal (n,) where stamps belong together.

    Parameters
    ----------
    heads : sequence of PoolHead
    column : str, optional
        Of the truth of all of them. If None their ids of objects: a stamp of a pool without ids stands for itself, and
        if no pool has ids there is nothing to tell.
    """
    if column is not None:
        return np.concatenate([head.truth[column] for head in heads])
    if not any(OBJECT in head.truth for head in heads):
        return None
    ends = np.cumsum([len(head.lens) for head in heads])
    return np.concatenate(
        [
            head.truth[OBJECT] if OBJECT in head.truth else np.arange(-end, len(head.lens) - end)
            for head, end in zip(heads, ends, strict=True)
        ]
    )


def _head(path: Path, limit: int | None) -> PoolHead:
    with opened_pool(str(path)) as archive:
        missing = [name for name in ("image", "label", "bands", "pixel_scale") if name not in archive.names]
        if missing:
            raise ConfigError(f"{path}: no {', '.join(missing)} in it; a pool to evaluate on needs them.")
        lens, kind = labels(archive, str(path))
        columns = {name: archive.whole(name) for name in archive.names if name not in _PIXELS | _ABOUT}
        scale = float(archive.whole("pixel_scale"))
        bands = tuple(str(band) for band in np.atleast_1d(archive.whole("bands")))
    n = len(lens) if limit is None else min(limit, len(lens))
    truth: dict[str, npt.NDArray[Any]] = {}
    for name, values in columns.items():
        if values.ndim == 0 or len(values) != len(lens):
            continue
        flat = np.median(values, axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values
        truth[name] = (kind if name == "kind" else flat)[:n]
    return PoolHead(path, lens[:n], truth, bands, scale)


def _joined(heads: list[PoolHead]) -> dict[str, npt.NDArray[Any]]:
    """Columns that every shard has."""
    shared = set.intersection(*(set(head.truth) for head in heads))
    return {name: np.concatenate([head.truth[name] for head in heads]) for name in heads[0].truth if name in shared}


def read_parts(head: PoolHead, masks: bool) -> Iterator[Part]:
    """The stamps of a shard, a few hundred at a time, with inverse variance and masks where they are wanted and there.

    Raises
    ------
    ConfigError
        If the shard is damaged or its images are not (n, band, y, x).
    """
    n = len(head.lens)
    with opened_pool(str(head.path)) as archive:
        shape = archive.shape("image")
        if len(shape) != 4 or shape[0] < n or shape[1] != len(head.bands):
            raise ConfigError(f"{head.path}: image has shape {shape}; expected ({n}, {len(head.bands)}, y, x).")
        told = [name for name in ("ivar", "mask") if masks and name in archive.names]
        blocks = [archive.blocks(name, _AT_ONCE) for name in ("image", *told)]
        for start, values in zip(range(0, n, _AT_ONCE), zip(*blocks, strict=True), strict=False):
            # A copy, since what is read from a file in blocks can't be written to, which torch warns of.
            some = dict(zip(("image", *told), (part[: n - start].copy() for part in values), strict=True))
            yield Part(some["image"].astype(np.float32, copy=False), some.get("ivar"), some.get("mask"))
