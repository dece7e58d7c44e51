"""Cutouts in Zarr: one group a field, one shard file an array and shard.

Row k of every array is the cutout of row k of the field's stamp table. A shard is written whole by one
writer; two writers in one shard would lose data without a word (zarr-python issue 3682).

A store may keep some cutouts of a field only. They lie in the rows that they would have among all; the other rows hold
nothing and take no space, and reading one is an error.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from pipeline.errors import ProductMismatch
from pipeline.io.cutout_codec import Packed, Stamps, array_specs, pack
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place
from pipeline.io.zarr_groups import open_group, reading, writing

__all__ = [
    "NAME",
    "CutoutStore",
    "Packed",
    "Stamps",
    "create",
    "open_store",
    "pack",
    "read",
    "read_between",
    "read_packed",
    "read_shard",
    "reader",
    "seeing",
    "write",
    "write_kept",
]

NAME = "cutouts.zarr"


@dataclass(frozen=True)
class CutoutStore:
    """What the group of a field says of itself; `kept` are the rows that it holds, ascending, or None for all."""

    path: Place
    bands: tuple[str, ...]
    pixel_scale: float
    rows: int
    size: int
    shard: int
    quantised: bool = False
    kept: tuple[int, ...] | None = None

    @property
    def shards(self) -> int:
        """Number of shards; 0 for a field without detections."""
        return -(-self.rows // self.shard)

    def span(self, index: int) -> tuple[int, int]:
        """First row of a shard and one past its last."""
        return index * self.shard, min((index + 1) * self.shard, self.rows)


def create(
    folder: Place,
    *,
    bands: Sequence[str],
    pixel_scale: float,
    rows: int,
    size: int,
    chunk: int,
    shard: int,
    codec: str,
    seeing: Mapping[str, float],
    kept: Sequence[int] | None = None,
) -> CutoutStore:
    """Make the empty group of a field.

    Parameters
    ----------
    folder : Path or ObjectPath
        Gets `cutouts.zarr`, replacing one that a broken run left.
    bands : sequence of str
    pixel_scale : float, arcsec
    rows : int
        Number of cutouts; may be 0.
    size : int
        Stamp side in pixels.
    chunk, shard : int
        Cutouts a chunk and a shard.
    codec : {"lz4", "zstd", "none", "quantised"}
        See `cutout_codec`.
    seeing : mapping
        band -> FWHM in arcsec, for the bands whose survey says it.
    kept : sequence of int, optional
        The rows that it is to hold, ascending, where those are not all; each is a chunk of its own then.
    """
    path = folder / NAME
    attributes: dict[str, Any] = {
        "bands": list(bands),
        "pixel_scale": pixel_scale,
        "units": {"image": "nJy", "ivar": "nJy-2"},
        "axes": ["cutout", "band", "y", "x"],
        "size": size,
        "shard": shard,
        "rows": rows,
        "seeing": dict(seeing),
    }
    if codec == "quantised":
        attributes["codec"] = codec
    if kept is not None:
        attributes["kept"] = [int(row) for row in kept]
    root = open_group(path, "w")
    root.attrs.update(attributes)
    for spec in array_specs(codec):
        tail = (len(bands), size, size) if spec.pixels else (len(bands),)
        root.create_array(
            spec.name,
            shape=(rows, *tail),
            dtype=spec.dtype,
            chunks=(chunk if kept is None else 1, *tail),
            shards=(shard, *tail),
            compressors=spec.compressor,
            fill_value=spec.fill,
        )
    rows_kept = None if kept is None else tuple(attributes["kept"])
    return CutoutStore(path, tuple(bands), pixel_scale, rows, size, shard, codec == "quantised", rows_kept)


def write(store: CutoutStore, shards: Iterable[Stamps | Packed]) -> None:
    """Write a field's shards in order, each whole; checks that they fill the group exactly.

    Raises
    ------
    ProductMismatch
        If a shard has not the number of cutouts that its place has, or there are too few.
    """
    root = open_group(store.path, "r+")
    count = 0
    for index, given in enumerate(shards):
        packed = given if isinstance(given, Packed) else pack(given, store.quantised)
        first, last = store.span(index)
        there = len(packed.arrays["image"])
        if index >= store.shards or there != last - first:
            raise ProductMismatch(f"{store.path}: shard {index} has {there} cutouts, not {last - first}.")
        with writing():
            for name, values in packed.arrays.items():
                _array(root, name)[first:last] = values
        count += last - first
    if count != store.rows:
        raise ProductMismatch(f"{store.path}: {count} cutouts written of {store.rows}.")


def write_kept(store: CutoutStore, shards: Iterable[tuple[int, Packed]]) -> None:
    """Write the cutouts of a store that keeps some only.

    Parameters
    ----------
    store : CutoutStore
    shards : iterable of (int, Packed)
        Number and all cutouts of every shard of which some are kept; of the others it may hold anything.

    Raises
    ------
    ProductMismatch
        If a shard with cutouts to keep is missing.
    """
    root = open_group(store.path, "r+")
    kept = np.array(store.kept or (), np.int64)
    count = 0
    for index, packed in shards:
        first, last = store.span(index)
        mine = kept[(kept >= first) & (kept < last)] - first
        with writing():
            for name, values in packed.arrays.items():
                array = _array(root, name)
                whole = np.full(values.shape, array.fill_value, values.dtype)
                whole[mine] = values[mine]
                array[first:last] = whole
        count += len(mine)
    if count != len(kept):
        raise ProductMismatch(f"{store.path}: {count} cutouts written, {len(kept)} are to be kept.")


def open_store(folder: Place) -> CutoutStore:
    """Open the group in a generation's folder.

    Raises
    ------
    ProductMismatch
        If there is none or it lacks its attributes.
    """
    path = folder / NAME
    try:
        attrs = reading(path, lambda root: root.attrs.asdict())
        return CutoutStore(
            path=path,
            bands=tuple(str(band) for band in attrs["bands"]),  # type: ignore[union-attr]
            pixel_scale=float(attrs["pixel_scale"]),  # type: ignore[arg-type]
            rows=int(attrs["rows"]),  # type: ignore[arg-type]
            size=int(attrs["size"]),  # type: ignore[arg-type]
            shard=int(attrs["shard"]),  # type: ignore[arg-type]
            quantised=attrs.get("codec") == "quantised",
            kept=None if "kept" not in attrs else tuple(int(row) for row in attrs["kept"]),  # type: ignore[union-attr, arg-type]
        )
    except StoreUnavailable:
        raise
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ProductMismatch(f"{path}: no readable cutouts ({error}); rerun the field from cutouts.") from error


def seeing(folder: Place) -> dict[str, float]:
    """Seeing of the field in arcsec, by band, as its cutouts carry it."""
    path = folder / NAME
    found: Any = reading(path, lambda root: root.attrs["seeing"])
    return {str(band): float(value) for band, value in found.items()}


def read(store: CutoutStore, first: int, last: int) -> Stamps:
    """Cutouts `first` to `last` (exclusive).

    Raises
    ------
    ProductMismatch
        If one of them was not kept.
    """
    there = last - first if store.kept is None else bisect_left(store.kept, last) - bisect_left(store.kept, first)
    if there != last - first:
        raise ProductMismatch(
            f"{store.path}: of the cutouts {first} to {last - 1} only {there} were kept (cutouts.keep in the scan's "
            'config); set keep = "all" and run the scan again to have them cut.'
        )
    return _read(store, first, last).stamps()


def read_between(store: CutoutStore, first: int, last: int) -> Stamps:
    """Cutouts `first` to `last` (exclusive); one that was not kept is without data."""
    return _read(store, first, last).stamps()


def reader(store: CutoutStore) -> Callable[[int], Stamps]:
    """What reads one cutout at a time, with the store's arrays opened once: for whoever reads many here and there.

    Opening them takes longer than reading a cutout. A store that is removed meanwhile is noticed and raises
    FileNotFoundError, where Zarr would take what it does not find for empty.
    """
    names = [spec.name for spec in array_specs("quantised" if store.quantised else "none")]
    arrays = reading(store.path, lambda root: {name: _array(root, name) for name in names})
    mark = store.path / "zarr.json"

    def one(row: int) -> Stamps:
        read_there = {name: np.asarray(array[row : row + 1]) for name, array in arrays.items()}
        if not mark.is_file():
            raise FileNotFoundError(f"{store.path} has been removed.")
        return Packed(read_there, store.quantised).stamps()

    return one


def read_shard(store: CutoutStore, index: int) -> Stamps:
    """All cutouts of one shard; raises ProductMismatch if one was not kept."""
    return read(store, *store.span(index))


def read_packed(store: CutoutStore, index: int) -> Packed:
    """One shard as it is stored; a cutout that was not kept is without data."""
    return _read(store, *store.span(index))


def _read(store: CutoutStore, first: int, last: int) -> Packed:
    names = [spec.name for spec in array_specs("quantised" if store.quantised else "none")]

    def packed(root: zarr.Group) -> Packed:
        return Packed({name: np.asarray(_array(root, name)[first:last]) for name in names}, store.quantised)

    return reading(store.path, packed)


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    if not isinstance(array, zarr.Array):
        raise ProductMismatch(f"{root.store}: {name} is not an array.")
    return array
