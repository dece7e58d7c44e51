"""Pools of simulated stamps: npz archives, as `pipeline.sims.pools` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.flags import fatal
from pipeline.io.pools import labels, opened_pool, pools_of
from pipeline.train.sources.opened import AT_ONCE, Opened, Part, Rows, indices


@dataclass(frozen=True)
class _Pool:
    """One archive without its pixels."""

    path: str
    order: list[int]
    side: int
    lens: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]


def open_pools(patterns: Sequence[str], bands: tuple[str, ...], pixel_scale: float) -> Opened:
    """Every pool that the patterns match, as one.

    A pool is an `.npz` with `image` (n, band, y, x) in nJy, `label` (n,), and, where there are any, `mask`
    (uint32, PixelFlag bits), `kind` (n,; names, or indices into `kinds`), `bands` and
    `pixel_scale` (arcsec). What else it holds is left alone.

    Parameters
    ----------
    patterns : sequence of str
        Relative to the working directory.
    bands : tuple of str
        Wanted, in order; a pool may hold more.
    pixel_scale : float, arcsec
        That every pool must have: pools are held as they are.

    Raises
    ------
    ConfigError
        If a pattern matches nothing, or a pool is damaged or of other bands, size or pixel scale.
    """
    pools = [_open_pool(path, bands, pixel_scale) for path in pools_of(patterns)]
    for pool in pools:
        if pool.side != pools[0].side:
            raise ConfigError(
                f"{pool.path}: stamps of {pool.side} px; those of {pools[0].path} have {pools[0].side}. Write one of "
                "them again."
            )
    ends = np.cumsum([len(pool.lens) for pool in pools])

    def read(rows: Rows) -> Iterator[Part]:
        for pool, end in zip(pools, ends.tolist(), strict=True):
            first = end - len(pool.lens)
            mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, end)] - first
            if mine.size:
                yield from _read_pool(pool, mine, pixel_scale)

    def name(row: int) -> str:
        place = int(np.searchsorted(ends, row, side="right"))
        return f"{pools[place].path}, stamp {row - (int(ends[place]) - len(pools[place].lens))}"

    lens, kind = np.concatenate([pool.lens for pool in pools]), np.concatenate([pool.kind for pool in pools])
    return Opened(", ".join(patterns), lens, kind, read, name, side=pools[0].side, shuffled=True)


def _open_pool(path: str, bands: tuple[str, ...], pixel_scale: float) -> _Pool:
    with opened_pool(path) as archive:
        names = archive.names
        if absent := [name for name in ("image", "label") if name not in names]:
            raise ConfigError(f"{path}: a pool needs {', '.join(absent)}; it has {', '.join(names)}.")
        shape = archive.shape("image")
        held = tuple(str(band) for band in archive.whole("bands")) if "bands" in names else bands
        order = indices(held, bands, path)
        if len(shape) != 4 or shape[1] != len(held) or shape[2] != shape[3]:
            raise ConfigError(f"{path}: image of shape {shape}; needs (n, {len(held)}, side, side) for {held}.")
        if "mask" in names and archive.shape("mask") != shape:
            raise ConfigError(
                f"{path}: mask of shape {archive.shape('mask')}, image {shape}; they must match: write it again."
            )
        if "pixel_scale" in names and abs(float(archive.whole("pixel_scale")) / pixel_scale - 1) > 1e-4:
            scale = float(archive.whole("pixel_scale"))
            raise ConfigError(
                f"{path}: pixels of {scale:g} arcsec, not {pixel_scale:g}; pools are not resampled: simulate them at "
                "package.pixel_scale."
            )
        lens, kind = labels(archive, path)
        if len(lens) != shape[0]:
            raise ConfigError(f"{path}: {len(lens)} labels for {shape[0]} stamps; they must match: write it again.")
        return _Pool(path, order, shape[3], lens, kind)


def _read_pool(pool: _Pool, rows: Rows, pixel_scale: float) -> Iterator[Part]:
    with opened_pool(pool.path) as archive:
        images = archive.blocks("image", AT_ONCE)
        masks: Iterator[npt.NDArray[Any]] | None = None
        if "mask" in archive.names:
            masks = archive.blocks("mask", AT_ONCE)
        for first in range(0, int(rows[-1]) + 1, AT_ONCE):
            image = next(images)
            mask = None if masks is None else next(masks)
            mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + AT_ONCE)] - first
            if mine.size:
                cut = np.ix_(mine, np.array(pool.order))
                flagged = None if mask is None else fatal(mask[cut].astype(np.uint32))
                yield Part(image[cut].astype(np.float32), pixel_scale, flagged)
