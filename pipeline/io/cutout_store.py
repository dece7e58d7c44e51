"""Cutouts in Zarr: one group a field, one shard file an array and shard.

Row k of every array is the cutout of row k of the field's stamp table. A shard is written whole by one
writer; two writers in one shard would lose data without a word (zarr-python issue 3682).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
import zarr.codecs

from pipeline.errors import ProductMismatch
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place
from pipeline.io.zarr_groups import open_group, reading

NAME = "cutouts.zarr"
_ARRAYS: tuple[tuple[str, str, Any], ...] = (
    ("image", "float32", float("nan")),
    ("ivar", "float32", 0.0),
    ("mask", "uint32", 1),
)


@dataclass(frozen=True)
class Stamps:
    """Cutouts in memory.

    Attributes
    ----------
    image : float32 (cutout, band, y, x), nJy; NaN where there is no data
    ivar : float32 (cutout, band, y, x), nJy^-2; 0 where there is no data
    mask : uint32 (cutout, band, y, x); see `pipeline.flags`
    """

    image: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class CutoutStore:
    """What the group of a field says of itself."""

    path: Place
    bands: tuple[str, ...]
    pixel_scale: float
    rows: int
    size: int
    shard: int

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
    codec : {"lz4", "zstd", "none"}
    seeing : mapping
        band -> FWHM in arcsec, for the bands whose survey says it.
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
    compressors = {
        "lz4": zarr.codecs.BloscCodec(cname="lz4", clevel=1, shuffle=zarr.codecs.BloscShuffle.shuffle),
        "zstd": zarr.codecs.ZstdCodec(level=1),
        "none": None,
    }[codec]
    root = open_group(path, "w")
    root.attrs.update(attributes)
    for name, dtype, fill in _ARRAYS:
        root.create_array(
            name,
            shape=(rows, len(bands), size, size),
            dtype=dtype,
            chunks=(chunk, len(bands), size, size),
            shards=(shard, len(bands), size, size),
            compressors=compressors,
            fill_value=fill,
        )
    return CutoutStore(path, tuple(bands), pixel_scale, rows, size, shard)


def write(store: CutoutStore, shards: Iterable[Stamps]) -> None:
    """Write a field's shards in order, each whole; checks that they fill the group exactly.

    Raises
    ------
    ProductMismatch
        If a shard has not the number of cutouts that its place has, or there are too few.
    """
    root = open_group(store.path, "r+")
    arrays = {name: _array(root, name) for name, _, _ in _ARRAYS}
    count = 0
    for index, stamps in enumerate(shards):
        first, last = store.span(index)
        if index >= store.shards or len(stamps.image) != last - first:
            raise ProductMismatch(f"{store.path}: shard {index} has {len(stamps.image)} cutouts, not {last - first}.")
        arrays["image"][first:last] = stamps.image
        arrays["ivar"][first:last] = stamps.ivar
        arrays["mask"][first:last] = stamps.mask
        count += last - first
    if count != store.rows:
        raise ProductMismatch(f"{store.path}: {count} cutouts written of {store.rows}.")


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
    """Cutouts `first` to `last` (exclusive)."""

    def stamps(root: zarr.Group) -> Stamps:
        return Stamps(*(np.asarray(_array(root, name)[first:last]) for name, _, _ in _ARRAYS))

    return reading(store.path, stamps)


def read_shard(store: CutoutStore, index: int) -> Stamps:
    """All cutouts of one shard."""
    return read(store, *store.span(index))


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    if not isinstance(array, zarr.Array):
        raise ProductMismatch(f"{root.store}: {name} is not an array.")
    return array
