"""Stamps of a scan's catalogue rows, read from its cutouts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ProductMismatch
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

FIELDS = 64
"""Fields whose cutouts stay open."""


@dataclass(frozen=True)
class Cut:
    """A field's cutouts, opened.

    Attributes
    ----------
    store : CutoutStore
    objid : int64 (row,)
    read : callable
        Row -> its cutout.
    """

    store: cutout_store.CutoutStore
    objid: npt.NDArray[np.int64]
    read: Reader

    def stamp(self, objid: int, row: int) -> Stamp | None:
        """The stamp of an object, which stood at `row` when its row of the catalogue was written; None without one."""
        if row >= len(self.objid) or self.objid[row] != objid:
            places = np.flatnonzero(self.objid == objid)
            if not places.size:
                return None
            row = int(places[0])
        if self.store.kept is not None and row not in self.store.kept:
            return None
        cutout = self.read(row)
        return Stamp(cutout.image[0], cutout.mask[0], self.store.bands, self.store.pixel_scale, cutout.ivar[0])


StampSource = Callable[[str, int, int | None], Stamp | None]
"""(field_id, objid, row) -> the stamp, or None where there is none to show."""


def scan_stamps(output: Place) -> StampSource:
    """Stamps of a scan's live cutouts.

    Where a field was cut again since its first stamp was read, those that are live now are taken, by their ids. A row
    whose cutout was not kept has no stamp, nor has one whose object is not among the live cutouts.

    Any thread may call.

    Raises
    ------
    ProductMismatch, FileNotFoundError
        When called, if a field's cutouts can't be read.
    """
    held: dict[str, Cut] = {}
    lock = threading.Lock()

    def opened(field_id: str) -> Cut | None:
        manifest = products.live_manifest(output, field_id, "cutouts")
        if manifest is None:
            return None
        folder = output / manifest.place
        store = cutout_store.open_store(folder)
        found = Cut(store, read_table(folder / "stamps.parquet")["objid"].to_numpy(), cutout_store.reader(store))
        with lock:
            held[field_id] = found
            while len(held) > FIELDS:
                held.pop(next(iter(held)))
        return found

    def stamp(field_id: str, objid: int, row: int | None) -> Stamp | None:
        if row is None:
            return None
        before = held.get(field_id)
        if before is not None:
            try:
                return before.stamp(objid, row)
            except (ProductMismatch, OSError):
                with lock:
                    held.pop(field_id, None)  # removed since, it may be for newer ones
        found = opened(field_id)
        return None if found is None else found.stamp(objid, row)

    return stamp
