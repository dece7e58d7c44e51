"""Cutouts of chosen rows of a scan's catalogue, field by field: those it kept, or cut again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.io import cutout_store, products
from pipeline.io.cutout_store import Stamps
from pipeline.io.places import Place
from workflows import field_tables
from workflows.cut_again import reopened
from workflows.field_cutouts import CutoutSource, Stored, shards_of
from workflows.setup import ScanSetup

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FieldStamps:
    """Cutouts of some objects of a field.

    Attributes
    ----------
    field_id : str
    places : int64 (n,)
        Row of each object's cutout among the field's.
    bands : tuple of str
    pixel_scale : float, arcsec
    seeing : float64 (band,), arcsec
        FWHM; NaN where the survey does not say.
    shard : int
        Cutouts a shard.
    source : CutoutSource
    """

    field_id: str
    places: Int64
    bands: tuple[str, ...]
    pixel_scale: float
    seeing: npt.NDArray[np.float64]
    shard: int
    source: CutoutSource

    def shards(self) -> Iterator[tuple[Int64, Stamps]]:
        """Numbers of objects, in order of their cutouts, and these; one shard of the field at a time."""
        order = np.argsort(self.places, kind="stable")
        for index, packed in self.source.shards(shards_of(self.places.tolist(), self.shard)):
            mine = order[self.places[order] // self.shard == index]
            stamps, rows = packed.stamps(), self.places[mine] - index * self.shard
            yield mine, Stamps(stamps.image[rows], stamps.ivar[rows], stamps.mask[rows])


def field_stamps(output: Place, field_id: str, objid: Sequence[int], setup: ScanSetup | None) -> FieldStamps:
    """Where the cutouts of some objects of a field are.

    Parameters
    ----------
    output : Path or ObjectPath
        A scan's.
    field_id : str
    objid : sequence of int
    setup : ScanSetup or None
        The scan, opened, with which cutouts that were not kept are cut again.

    Raises
    ------
    ConfigError
        If some were not kept and there is no `setup`.
    ProductMismatch
        If the field's cutouts are gone, or are not of these objects.
    """
    manifest = products.live_manifest(output, field_id, "cutouts")
    if manifest is None:
        raise ProductMismatch(f"{output}: field {field_id} has no cutouts; run the scan to its end first.")
    folder = output / manifest.place
    store = cutout_store.open_store(folder)
    there = {number: row for row, number in enumerate(field_tables.read_stamps(folder).objid.tolist())}
    lost = [number for number in objid if number not in there]
    if lost:
        raise ProductMismatch(
            f"{output}: field {field_id} was cut again since objid {lost[0]} was scored; run the scan to its end first."
        )
    places = np.array([there[number] for number in objid], np.int64)
    source: CutoutSource = Stored(store)
    if store.kept is not None and not set(places.tolist()) <= set(store.kept):
        if setup is None:
            raise ConfigError(
                f"{output} did not keep the cutouts of {field_id} (cutouts.keep in the scan's config); give that "
                "config with --scan to have them cut again."
            )
        source = reopened(setup, field_id)
    told = cutout_store.seeing(folder)
    seeing = np.array([told.get(band, np.nan) for band in store.bands])
    return FieldStamps(field_id, places, store.bands, store.pixel_scale, seeing, store.shard, source)
