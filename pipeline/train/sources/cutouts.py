"""Cutouts of a scan: its live products, found through their manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.flags import fatal
from pipeline.io import cutout_store, ownership, products
from pipeline.io.tables import read_table
from pipeline.splits import stamps_in_split
from pipeline.train.data_config import CutoutsConfig, SkyConfig
from pipeline.train.sources.opened import AT_ONCE, Opened, Part, Rows, indices


@dataclass(frozen=True)
class FieldCutouts:
    """The cutouts of one field.

    Attributes
    ----------
    field_id : str
    store : CutoutStore
    objid : int64 (n,)
    seen : bool (n,)
        Whether a cutout has data in any of the wanted bands.
    detections : Path or None
        Table of the field's detections, with their positions.
    order : list of int
        Where the wanted bands stand in the store.
    """

    field_id: str
    store: cutout_store.CutoutStore
    objid: Rows
    seen: npt.NDArray[np.bool_]
    detections: Path | None
    order: list[int]

    @cached_property
    def position(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Ra and dec (ICRS degrees) of every cutout.

        Raises
        ------
        ConfigError
            If the field's detections are not there, or not those that were cut.
        """
        again = f"run field {self.field_id} of the scan again before training on it"
        if self.detections is None:
            raise ConfigError(f"{self.store.path}: the field's detections are missing; {again}.")
        table = read_table(self.detections)
        ids = table["objid"].to_numpy()
        order = np.argsort(ids, kind="stable")
        place = order[np.minimum(np.searchsorted(ids, self.objid, sorter=order), max(0, len(ids) - 1))]
        if len(self.objid) and (not len(ids) or not np.array_equal(ids[place], self.objid)):
            raise ConfigError(f"{self.detections}: not the detections that {self.store.path} was cut for; {again}.")
        return table["ra"].to_numpy()[place], table["dec"].to_numpy()[place]


def open_cutouts(config: CutoutsConfig, bands: tuple[str, ...]) -> Opened:
    """Every cutout that has data, or those of some fields or of some cells of the sky; none has a label.

    Raises
    ------
    ConfigError
        If the folder is no scan's output, lacks a field, band or product, or nothing is left.
    """
    fields = scan_fields(config.scan, bands, config.fields)
    numbers = np.concatenate([np.full(len(field.objid), index) for index, field in enumerate(fields)])
    places = np.concatenate([np.arange(len(field.objid)) for field in fields])
    seen = np.concatenate([field.seen for field in fields])
    if not seen.any():
        raise ConfigError(f"{config}: no cutout with data; run the scan over fields that have some.")
    numbers, places = numbers[seen].astype(np.int64), places[seen].astype(np.int64)
    kept = rows_of_part(config, fields, numbers, places)
    numbers, places = numbers[kept], places[kept]
    return Opened(
        str(config),
        np.zeros(len(places), np.bool_),
        np.full(len(places), "unlabelled"),
        lambda rows: read_cutouts(fields, numbers[rows], places[rows]),
        lambda row: f"field {fields[numbers[row]].field_id}, objid {fields[numbers[row]].objid[places[row]]}",
    )


def scan_fields(scan: str, bands: tuple[str, ...], chosen: Sequence[str] = ()) -> list[FieldCutouts]:
    """The fields of a scan whose cutouts are published, sorted; the chosen ones, or all.

    Raises
    ------
    ConfigError
        If the folder is no scan's output, a field is not there, or a band is missing.
    """
    output = Path(scan)
    try:
        ownership.identity(output)
        there = products.listing(output)
        names = sorted(name for name, stages in there.items() if "cutouts" in stages)
        if lost := [name for name in chosen if name not in names]:
            raise ConfigError(f"{scan}: no cutouts of {', '.join(lost)}; it has {', '.join(names[:8]) or 'none'}.")
        found = [_field(output, name, bands) for name in (sorted(chosen) or names)]
    except ProductMismatch as error:
        raise ConfigError(f"{error} Give the output of a scan as the source's scan.") from error
    if not found:
        raise ConfigError(f"{scan}: no field has cutouts; run the scan first.")
    return [field for field in found if field is not None] or _none(scan)


def rows_of_part(config: SkyConfig, fields: Sequence[FieldCutouts], numbers: Rows, places: Rows) -> Rows:
    """Which of some cutouts (given by field and place in it) lie wholly in the config's part of the sky.

    Raises
    ------
    ConfigError
        If none does, or cells are smaller than the cutouts.
    """
    if config.part is None:
        return np.arange(len(places))
    kept = np.zeros(len(places), np.bool_)
    for number in np.unique(numbers).tolist():
        mine, store = np.flatnonzero(numbers == number), fields[number].store
        side = store.size * store.pixel_scale / 3600
        if config.cell < side:
            raise ConfigError(
                f"{config}: cells of {config.cell * 60:g} arcmin are smaller than the cutouts ({side * 60:g} arcmin); "
                "give a larger cell."
            )
        ra, dec = (angle[places[mine]] for angle in fields[number].position)
        kept[mine] = stamps_in_split(ra, dec, side / 2, config.part, config.cell, config.shares)
    if not kept.any():
        raise ConfigError(
            f"{config}: none of {len(places)} cutouts lies in part {config.part!r} of cells of {config.cell * 60:g} "
            "arcmin; give smaller cells, larger shares or more fields."
        )
    return np.flatnonzero(kept)


def read_cutouts(fields: Sequence[FieldCutouts], numbers: Rows, places: Rows) -> Iterator[Part]:
    """Cutouts given by field and place, both ascending, some at a time; they must have been kept (see `kept`)."""
    for number in np.unique(numbers).tolist():
        field, mine = fields[number], places[numbers == number]
        for first in range(0, field.store.rows, AT_ONCE):
            rows = mine[np.searchsorted(mine, first) : np.searchsorted(mine, first + AT_ONCE)]
            if not rows.size:
                continue
            start = int(rows[0])
            try:
                stamps = cutout_store.read_between(field.store, start, int(rows[-1]) + 1)
            # Zarr and its codecs raise many things at a damaged shard; the field is named.
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise ConfigError(
                    f"{field.store.path}: unreadable ({error}); run field {field.field_id} again from cutouts."
                ) from error
            cut = np.ix_(rows - start, np.array(field.order))
            yield Part(stamps.image[cut], field.store.pixel_scale, fatal(stamps.mask[cut]))


def kept(fields: Sequence[FieldCutouts], numbers: Rows, places: Rows) -> npt.NDArray[np.bool_]:
    """Which of some cutouts, given by field and place in it, the scan has kept, (n,)."""
    there = np.ones(len(places), np.bool_)
    for number in np.unique(numbers).tolist():
        rows = fields[number].store.kept
        if rows is not None:
            mine = numbers == number
            there[mine] = np.isin(places[mine], np.array(rows, np.int64))
    return there


def _field(output: Path, name: str, bands: tuple[str, ...]) -> FieldCutouts | None:
    """One field, or None where it has no coverage."""
    manifest = products.live_manifest(output, name, "cutouts")
    if manifest is None or manifest.empty or manifest.rows == 0:
        return None
    folder = output / manifest.place
    store = cutout_store.open_store(folder)
    order = indices(store.bands, bands, str(store.path))
    table = read_table(folder / "stamps.parquet")
    wanted = np.uint32(sum(1 << place for place in order))
    seen = (table["bands_missing"].to_numpy() & wanted) != wanted
    detected = products.live_manifest(output, name, "detect")
    path = None if detected is None else output / detected.place / "detections.parquet"
    return FieldCutouts(name, store, table["objid"].to_numpy(), seen, path, order)


def _none(scan: str) -> list[FieldCutouts]:
    raise ConfigError(f"{scan}: no field has a cutout; run the scan over fields with coverage.")
