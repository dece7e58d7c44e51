"""Pools of labelled stamps, and the order in which a training run draws them."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.flags import fatal

_KIND = np.dtype("U32")


@dataclass(frozen=True)
class Stamps:
    """Labelled stamps in memory.

    Attributes
    ----------
    image : float32 (n, band, y, x), nJy
        NaN where there is no data.
    flagged : uint8 (n, band, y, ceil(x / 8))
        Pixels with a fatal flag, eight a byte as `numpy.packbits` has them along x.
    lens : bool (n,)
    kind : str (n,)
        What each stamp shows, in the words of the simulation.
    bands : tuple of str
    pixel_scale : float, arcsec
    digest : str
        Hash of the files' contents, in order.
    """

    image: npt.NDArray[np.float32]
    flagged: npt.NDArray[np.uint8]
    lens: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    bands: tuple[str, ...]
    pixel_scale: float
    digest: str

    def __len__(self) -> int:
        return len(self.lens)

    def take(self, rows: npt.NDArray[np.int64], told: npt.NDArray[np.bool_]) -> tuple[Tensor, Tensor, Tensor]:
        """Image, validity and label (float32) of some rows, as tensors of their own.

        Parameters
        ----------
        rows : (m,)
        told : bool (m,)
            Where the mask is told of: flagged pixels are invalid. Elsewhere artefacts stand unmasked in the
            stamp, as they do where no finder has caught them.
        """
        image = torch.from_numpy(self.image[rows])
        flagged = np.unpackbits(self.flagged[rows], axis=-1, count=self.image.shape[-1]).astype(np.bool_)
        hidden = torch.from_numpy(flagged & told[:, None, None, None])
        labels = torch.from_numpy(self.lens[rows].astype(np.float32))
        return image, torch.isfinite(image) & ~hidden, labels


def read_pools(patterns: Sequence[str], bands: tuple[str, ...], pixel_scale: float, limit: int | None = None) -> Stamps:
    """Every pool that the patterns match, in sorted order, as one.

    A pool is an `.npz` with `image` (n, band, y, x) in nJy, `label` (n,), and, where there are any, `mask`
    (uint32, PixelFlag bits), `kind` (n,; names, or indices into `kinds`), `bands` and
    `pixel_scale` (arcsec).

    Parameters
    ----------
    patterns : sequence of str
        Glob patterns, relative to the working directory.
    bands : tuple of str
        Wanted, in order; a pool may hold more.
    pixel_scale : float, arcsec
        That every pool must have.
    limit : int, optional
        Stop after this many stamps.

    Raises
    ------
    ConfigError
        If a pattern matches nothing, or a pool is damaged or of other bands, size or pixel scale.
    """
    paths = _matching(patterns)
    counts = [_count(path) for path in paths]
    total = sum(counts) if limit is None else min(limit, sum(counts))
    stamps: Stamps | None = None
    digest = hashlib.sha256()
    start = 0
    for path in paths:
        if start >= total and stamps is not None:
            break
        part = _read_pool(path, bands, pixel_scale)
        if stamps is None:
            stamps = _room_for(total, part, bands, pixel_scale)
        if part.image.shape[1:] != stamps.image.shape[1:]:
            raise ConfigError(f"{path}: stamps of {part.image.shape[1:]}; those before are {stamps.image.shape[1:]}.")
        rows = slice(start, min(start + len(part.lens), total))
        for name in ("image", "flagged", "lens", "kind"):
            values = getattr(part, name)[: rows.stop - rows.start]
            getattr(stamps, name)[rows] = values
            if name != "kind":
                digest.update(np.ascontiguousarray(values).view(np.uint8).data)
        start = rows.stop
    if stamps is None:
        raise ConfigError(f"{', '.join(patterns)}: the pools hold no stamp; write some with `lensscan simulate`.")
    return replace(stamps, digest=digest.hexdigest())


def draw_order(
    stamps: Stamps,
    mix: Mapping[str, float],
    seed: int,
    epoch: int,
    factors: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.int64]:
    """Rows of one epoch, as many as there are stamps, shuffled.

    Systematic resampling: a stamp with weight w among weights of mean 1 is drawn floor(w) or ceil(w)
    times, so that an unweighted epoch sees each stamp once. The same seed and epoch give the same order.

    Parameters
    ----------
    mix : mapping
        Weight of a kind; 1 where a kind is not named.
    factors : float (n,), optional
        Times which each stamp's weight is taken.

    Raises
    ------
    ConfigError
        For a kind that no stamp is of, or weights that leave nothing.
    """
    present = {str(kind) for kind in np.unique(stamps.kind)}
    unknown = sorted(set(mix) - present)
    if unknown:
        raise ConfigError(f"data.mix names {', '.join(unknown)}; the pools hold {', '.join(sorted(present))}.")
    weights = np.ones(len(stamps)) if factors is None else factors.copy()
    for kind, weight in mix.items():
        weights[stamps.kind == kind] *= weight
    if weights.sum() <= 0:
        raise ConfigError("data.mix leaves no stamp to train on; give some kind a positive weight.")
    rng = np.random.default_rng([seed, epoch])
    edges = np.cumsum(weights) / weights.sum()
    marks = (np.arange(len(stamps)) + rng.random()) / len(stamps)
    rows = np.minimum(np.searchsorted(edges, marks, side="right"), len(stamps) - 1)
    answer: npt.NDArray[np.int64] = rng.permutation(rows).astype(np.int64)
    return answer


def _matching(patterns: Sequence[str]) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern))
        if not found:
            raise ConfigError(f"no pool matches {pattern} (from {Path.cwd()}); write some with `lensscan simulate`.")
        paths += found
    return paths


@dataclass(frozen=True)
class _Part:
    """One pool; attributes as in `Stamps`."""

    image: npt.NDArray[np.float32]
    flagged: npt.NDArray[np.uint8]
    lens: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]


def _room_for(total: int, part: _Part, bands: tuple[str, ...], pixel_scale: float) -> Stamps:
    """Arrays for every stamp at once: joining parts would take their memory twice."""
    return Stamps(
        image=np.empty((total, *part.image.shape[1:]), np.float32),
        flagged=np.empty((total, *part.flagged.shape[1:]), np.uint8),
        lens=np.empty(total, np.bool_),
        kind=np.empty(total, _KIND),
        bands=bands,
        pixel_scale=pixel_scale,
        digest="",
    )


def _count(path: str) -> int:
    """Stamps in a pool, without reading them; 0 where it is no pool, which reading it says."""
    try:
        with np.load(path, allow_pickle=False) as pool:
            return len(pool["label"]) if "label" in pool.files else 0
    except (OSError, ValueError, BadZipFile):
        return 0


def _read_pool(path: str, bands: tuple[str, ...], pixel_scale: float) -> _Part:
    try:
        with np.load(path, allow_pickle=False) as pool:
            arrays: dict[str, npt.NDArray[Any]] = {name: pool[name] for name in pool.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ConfigError(
            f"{path}: not a pool of stamps ({error}); write it again with `lensscan simulate`."
        ) from error
    absent = [name for name in ("image", "label") if name not in arrays]
    if absent:
        raise ConfigError(f"{path}: a pool needs {', '.join(absent)}; it has {', '.join(arrays)}.")
    held = tuple(str(band) for band in arrays["bands"]) if "bands" in arrays else bands
    if missing := [band for band in bands if band not in held]:
        raise ConfigError(f"{path}: bands {', '.join(held)}; {', '.join(missing)} is missing.")
    if "pixel_scale" in arrays and abs(float(arrays["pixel_scale"]) / pixel_scale - 1) > 1e-4:
        raise ConfigError(f"{path}: pixels of {float(arrays['pixel_scale']):g} arcsec, not {pixel_scale:g}.")
    order = [held.index(band) for band in bands]
    image = arrays["image"][:, order].astype(np.float32)
    mask = arrays.get("mask", np.zeros(arrays["image"].shape, np.uint32))[:, order].astype(np.uint32)
    lens = arrays["label"].astype(bool)
    kind = arrays.get("kind", np.where(lens, "lens", "other"))
    if np.issubdtype(kind.dtype, np.integer) and "kinds" in arrays:
        kind = arrays["kinds"][kind]
    return _Part(image, np.packbits(fatal(mask), axis=-1), lens, kind.astype(np.str_))
