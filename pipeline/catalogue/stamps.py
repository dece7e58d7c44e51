"""Stamps of a scan's catalogue rows, read from its cutouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.io import cutout_store, products
from pipeline.io.places import Place
from pipeline.io.tables import read_table


@dataclass(frozen=True)
class Stamp:
    """The cutout around one detection.

    Attributes
    ----------
    image : float32 (band, y, x), nJy; NaN where there is no data
    mask : uint32 (band, y, x); see `pipeline.flags`
    bands : tuple of str
        In the order of the first axis.
    pixel_scale : float, arcsec
    ivar : float32 (band, y, x), nJy^-2, or None where it is not known
    """

    image: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]
    bands: tuple[str, ...]
    pixel_scale: float
    ivar: npt.NDArray[np.float32] | None = None


Reader = Callable[[int], cutout_store.Stamps]

StampSource = Callable[[str, int, int | None], Stamp | None]
"""(field_id, objid, row) -> the stamp, or None where there is none to show."""


def scan_stamps(output: Place) -> StampSource:
    """Stamps of a scan's live cutouts.

    A row whose place holds another object by now, because its field was cut again and not yet scored, has no stamp,
    nor has one whose cutout was not kept.

    Raises
    ------
    ProductMismatch, FileNotFoundError
        When called, if a field's cutouts can't be read, or were removed since the first were.
    """

    @lru_cache(maxsize=64)
    def opened(field_id: str) -> tuple[cutout_store.CutoutStore, npt.NDArray[np.int64], Reader] | None:
        manifest = products.live_manifest(output, field_id, "cutouts")
        if manifest is None:
            return None
        folder = output / manifest.place
        store = cutout_store.open_store(folder)
        return store, read_table(folder / "stamps.parquet")["objid"].to_numpy(), cutout_store.reader(store)

    def stamp(field_id: str, objid: int, row: int | None) -> Stamp | None:
        found = opened(field_id)
        if found is None or row is None or row >= len(found[1]) or found[1][row] != objid:
            return None
        store, _, read = found
        if store.kept is not None and row not in store.kept:
            return None
        cutout = read(row)
        return Stamp(cutout.image[0], cutout.mask[0], store.bands, store.pixel_scale, cutout.ivar[0])

    return stamp
