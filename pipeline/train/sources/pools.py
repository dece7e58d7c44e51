"""Pools of simulated stamps: npz archives, as `pipeline.sims.pools` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag, encode, fatal, has
from pipeline.io.npz import Archive
from pipeline.io.pools import labels, opened_pool, pools_of
from pipeline.models.parameter_truth import TRUTH_COLUMNS, parameters_of
from pipeline.train.method_config import MapTargets
from pipeline.train.sources.opened import AT_ONCE, Opened, Part, Rows, indices


@dataclass(frozen=True)
class _Pool:
    """One archive without its pixels."""

    path: str
    order: list[int]
    side: int
    lens: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    arc_band: int
    parameters: npt.NDArray[np.float32] | None


def open_pools(
    patterns: Sequence[str],
    bands: tuple[str, ...],
    pixel_scale: float,
    targets: MapTargets | None = None,
    *,
    parameters: bool = False,
) -> Opened:
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
    targets : MapTargets, optional
        What maps to read: then a pool also needs `arc` (n, y, x), nJy in the targets' band, `ivar` and `mask`.
    parameters : bool
        Whether to read lens parameters: then a pool also needs the columns of `pipeline.models.parameter_truth`.

    Raises
    ------
    ConfigError
        If a pattern matches nothing, or a pool is damaged or of other bands, size or pixel scale.
    """
    pools = [_open_pool(path, bands, pixel_scale, targets, parameters) for path in pools_of(patterns)]
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
                yield from _read_pool(pool, mine, pixel_scale, targets)

    def name(row: int) -> str:
        place = int(np.searchsorted(ends, row, side="right"))
        return f"{pools[place].path}, stamp {row - (int(ends[place]) - len(pools[place].lens))}"

    lens, kind = np.concatenate([pool.lens for pool in pools]), np.concatenate([pool.kind for pool in pools])
    return Opened(", ".join(patterns), lens, kind, read, name, side=pools[0].side, shuffled=True)


def _open_pool(
    path: str, bands: tuple[str, ...], pixel_scale: float, targets: MapTargets | None, parameters: bool
) -> _Pool:
    needed = ("image", "label") if targets is None else ("image", "label", "arc", "ivar", "mask")
    with opened_pool(path) as archive:
        names = archive.names
        if absent := [name for name in needed if name not in names]:
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
        arc_band = 0 if targets is None else indices(held, (targets.arc_band,), path)[0]
        measured = _parameters(archive, path) if parameters else None
        return _Pool(path, order, shape[3], lens, kind, arc_band, measured)


def _parameters(archive: Archive, path: str) -> npt.NDArray[np.float32]:
    """Lens parameters of all stamps of a pool; raises ConfigError for one that was written without them."""
    if absent := [name for name in TRUTH_COLUMNS if name not in archive.names]:
        raise ConfigError(
            f"{path}: no truth of {', '.join(absent)}, of which lens parameters are made; simulate the pool again."
        )
    return parameters_of({name: archive.whole(name) for name in TRUTH_COLUMNS})


def _read_pool(pool: _Pool, rows: Rows, pixel_scale: float, targets: MapTargets | None) -> Iterator[Part]:
    with opened_pool(pool.path) as archive:
        images = archive.blocks("image", AT_ONCE)
        masks: Iterator[npt.NDArray[Any]] | None = None
        if "mask" in archive.names:
            masks = archive.blocks("mask", AT_ONCE)
        arcs, weights = (archive.blocks(name, AT_ONCE) if targets is not None else None for name in ("arc", "ivar"))
        for first in range(0, int(rows[-1]) + 1, AT_ONCE):
            image = next(images)
            mask = None if masks is None else next(masks)
            truth = None if arcs is None or weights is None else (next(arcs), next(weights))
            mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + AT_ONCE)] - first
            if mine.size:
                cut = np.ix_(mine, np.array(pool.order))
                flagged = None if mask is None else fatal(mask[cut].astype(np.uint32))
                maps = None
                if targets is not None and truth is not None and mask is not None:
                    maps = true_maps(
                        truth[0][mine], truth[1][mine], mask[cut].astype(np.uint32), pool.arc_band, targets
                    )
                measured = None if pool.parameters is None else pool.parameters[first + mine]
                yield Part(image[cut].astype(np.float32), pixel_scale, flagged, maps, measured)


def true_maps(
    arc: npt.NDArray[np.floating],
    ivar: npt.NDArray[np.floating],
    mask: npt.NDArray[np.uint32],
    arc_band: int,
    targets: MapTargets,
) -> npt.NDArray[np.bool_]:
    """Where a stamp shows lensed light, and where an artefact touches it.

    Parameters
    ----------
    arc : (n, y, x), nJy
        Lensed light in the band of number `arc_band`, without noise.
    ivar : (n, band, y, x), nJy^-2
    mask : uint32 (n, band, y, x), PixelFlag bits in both halves
        Its bands may be others than those of `ivar`.
    arc_band : int
    targets : MapTargets

    Returns
    -------
    bool (n, 2, y, x)
        Lens light: the arc is above `arc_sigma` of the stamp's noise, which is that of its median ivar (of the best
        other band where this one has no data). Artefact: one of the targets' flags in any band.
    """
    positive = torch.from_numpy(np.where(ivar > 0, ivar, np.float32(np.nan)))
    known = np.nan_to_num(positive.flatten(2).nanmedian(-1).values.numpy())
    weight = np.where(known[:, arc_band] > 0, known[:, arc_band], known.max(axis=1))
    light = arc * np.sqrt(weight)[:, None, None] > targets.arc_sigma
    touched = has(mask, encode(targets.artefacts, PixelFlag)).any(axis=1)
    return np.stack([light, touched], axis=1)
