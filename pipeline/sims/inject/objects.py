"""What a scan holds for injection: its objects, their cutouts, and each field's PSF and noise."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.spatial import cKDTree

from pipeline.errors import ConfigError
from pipeline.flags import FATAL
from pipeline.geometry import unit_vectors
from pipeline.io import cutout_store, products
from pipeline.io.cutout_store import CutoutStore, Stamps
from pipeline.io.places import Place
from pipeline.io.tables import read_table
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.inject.split import in_split
from pipeline.sims.render.light import Float32, Float64
from pipeline.splits import cell_order

Int64 = npt.NDArray[np.int64]

_SAME = 1.0
"""Arcsec within which detections of different fields are one object."""


@dataclass(frozen=True)
class HeldCutouts:
    """Cutouts in memory, with the names of the files that they come from."""

    bands: tuple[str, ...]
    pixel_scale: float
    stamps: Stamps
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.stamps.image.shape[-1])


@dataclass(frozen=True)
class FieldCutouts:
    """The cutouts of one field of a scan, opened, or those of a folder of stamps."""

    scan: str
    field_id: str
    store: CutoutStore | HeldCutouts

    def origin(self, row: int) -> str:
        """The field of a cutout, or its file."""
        return self.store.names[row] if isinstance(self.store, HeldCutouts) else self.field_id

    def read(self, start: int, stop: int) -> Stamps:
        """Cutouts from one row up to another."""
        if isinstance(self.store, CutoutStore):
            return cutout_store.read(self.store, start, stop)
        held = self.store.stamps
        return Stamps(held.image[start:stop], held.ivar[start:stop], held.mask[start:stop])


@dataclass(frozen=True)
class Objects:
    """Detections with a cutout, of all fields of all scans; every array has one element an object.

    Attributes
    ----------
    fields : tuple of FieldCutouts
    field : int64 (n,)
        Index into `fields`.
    row : int64 (n,)
        Of the cutout in the field's arrays.
    objid : int64 (n,)
    ra, dec : float64 (n,), degrees
    x, y : float64 (n,), pixels of the field
    mags : float32 (n, band), AB; NaN where there is none
    valid : float32 (n,)
        Share of the stamp with data, the smallest over the bands.
    centre_clear : bool (n,)
        No fatal flag within the scan's own centre radius.
    """

    fields: tuple[FieldCutouts, ...]
    field: Int64
    row: Int64
    objid: Int64
    ra: Float64
    dec: Float64
    x: Float64
    y: Float64
    mags: Float32
    valid: Float32
    centre_clear: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.objid)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Objects:
        """Some of the objects."""
        return Objects(
            self.fields,
            self.field[rows],
            self.row[rows],
            self.objid[rows],
            self.ra[rows],
            self.dec[rows],
            self.x[rows],
            self.y[rows],
            self.mags[rows],
            self.valid[rows],
            self.centre_clear[rows],
        )


def read_objects(folders: Sequence[Path], config: InjectionConfig) -> Objects:
    """Every detection of the scans that has a cutout in all bands, once.

    Where fields overlap the primary copy is kept, or without scores the first by field and row.

    Raises
    ------
    ConfigError
        If a folder is no scan's, holds no cutouts or lacks a band, or if its stamps are smaller than the pool's or
        larger than the cells of the sky.
    """
    parts: list[Objects] = []
    for folder in folders:
        for field_id in sorted(products.listing(folder)):
            cut = products.live_manifest(folder, field_id, "cutouts")
            detected = products.live_manifest(folder, field_id, "detect")
            if cut is None or detected is None or cut.rows == 0:
                continue
            store = cutout_store.open_store(folder / cut.place)
            field = FieldCutouts(str(folder), field_id, store)
            _check(field, config)
            parts.append(_field_objects(folder, field, store.path.parent, folder / detected.place, config))
    if not parts:
        raise ConfigError(f"{', '.join(map(str, folders))}: no cutouts there; run `lensscan scan` to its end first.")
    return _once(_joined(parts))


def in_sky(objects: Objects, config: InjectionConfig) -> Objects:
    """The objects whose stamps lie wholly in the config's split of the sky, `most_objects` of them at most.

    Raises
    ------
    ConfigError
        If none does.
    """
    sides = [field.store.size * field.store.pixel_scale for field in objects.fields]
    chosen = objects.take(in_split(objects.ra, objects.dec, max(sides) / 2 / 3600, config.sky))
    if not len(chosen):
        raise ConfigError(
            f"sky: no detection of {', '.join(config.scans)} in split {config.sky.split!r} of cells of order "
            f"{cell_order(config.sky.cell)}; give smaller cells or larger shares."
        )
    return at_most(chosen, config.most_objects)


def read_cutouts(objects: Objects, rows: Int64, bands: tuple[str, ...]) -> list[Stamps]:
    """Cutouts of some objects, one `Stamps` of arrays (band, y, x) each, in the order asked for.

    Stores are read in runs of neighbouring rows, each cutout once.
    """
    answer: list[Stamps | None] = [None] * len(rows)
    for number in np.unique(objects.field[rows]):
        field = objects.fields[int(number)]
        order = [field.store.bands.index(band) for band in bands]
        here = np.flatnonzero(objects.field[rows] == number)
        wanted = objects.row[rows[here]]
        for run in np.split(places := np.unique(wanted), np.flatnonzero(np.diff(places) > 64) + 1):
            stamps = field.read(int(run[0]), int(run[-1]) + 1)
            for index in here[(wanted >= run[0]) & (wanted <= run[-1])]:
                at = int(objects.row[rows[index]] - run[0])
                parts = (stamps.image, stamps.ivar, stamps.mask)
                answer[index] = Stamps(*(part[at][order].copy() for part in parts))
    return [stamps for stamps in answer if stamps is not None]


def _check(field: FieldCutouts, config: InjectionConfig) -> None:
    store, where = field.store, f"{field.scan}, field {field.field_id}"
    if missing := [band for band in config.bands if band not in store.bands]:
        raise ConfigError(f"{where}: cutouts of {', '.join(store.bands)}; bands asks for {', '.join(missing)}.")
    have, wanted = store.size * store.pixel_scale, config.size * config.pixel_scale
    if have < wanted * 0.98:
        raise ConfigError(
            f"{where}: cutouts of {have:.1f} arcsec, and the pool wants {config.size} pixels of "
            f'{config.pixel_scale:g} arcsec, {wanted:.1f} in all; scan again with cutouts.size = "{wanted:.1f} arcsec".'
        )
    if config.sky.split != "all" and config.sky.cell * 3600 < have:
        raise ConfigError(f"sky.cell: {config.sky.cell * 60:g} arcmin is smaller than the stamps of {where}.")


def _field_objects(folder: Path, field: FieldCutouts, cut: Place, detected: Path, config: InjectionConfig) -> Objects:
    stamps = read_table(cut / "stamps.parquet")
    detections = read_table(detected / "detections.parquet")
    scores = products.live_files(folder, "candidates", "scores.parquet").get(field.field_id)
    primary = {}
    if scores is not None:
        table = read_table(scores)
        primary = dict(zip(table["objid"].to_pylist(), table["is_primary"].to_pylist(), strict=True))
    place = {objid: row for row, objid in enumerate(detections["objid"].to_pylist())}
    kept = [row for row, objid in enumerate(stamps["objid"].to_pylist()) if objid in place and primary.get(objid, True)]
    stamps = stamps.take(pa.array(kept, pa.int64()))
    detections = detections.take(pa.array([place[objid] for objid in stamps["objid"].to_pylist()], pa.int64()))
    whole = stamps["bands_missing"].to_numpy() == 0
    mags = np.stack([_floats(detections, f"mag_{band}") for band in config.bands], axis=1)
    centre = stamps["centre_flags"].to_numpy()
    return Objects(
        fields=(field,),
        field=np.zeros(len(stamps), np.int64),
        row=stamps["row"].to_numpy().astype(np.int64),
        objid=stamps["objid"].to_numpy(),
        ra=detections["ra"].to_numpy(),
        dec=detections["dec"].to_numpy(),
        x=detections["x"].to_numpy(),
        y=detections["y"].to_numpy(),
        mags=mags,
        valid=stamps["valid_fraction"].to_numpy(),
        centre_clear=(centre & np.uint32(int(FATAL))) == 0,
    ).take(whole)


def _floats(table: pa.Table, name: str) -> Float32:
    if name not in table.column_names:
        return np.full(len(table), np.nan, np.float32)
    values: Float32 = pc.fill_null(table[name], float("nan")).to_numpy().astype(np.float32)
    return values


def _joined(parts: Sequence[Objects]) -> Objects:
    names = ("row", "objid", "ra", "dec", "x", "y", "mags", "valid", "centre_clear")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    field = np.concatenate([np.full(len(part), number, np.int64) for number, part in enumerate(parts)])
    return Objects(fields=tuple(part.fields[0] for part in parts), field=field, **columns)


def _once(objects: Objects) -> Objects:
    """Without the second copy of an object that another field holds too."""
    if not len(objects):
        return objects
    tree = cKDTree(unit_vectors(objects.ra, objects.dec))
    pairs = tree.query_pairs(float(np.radians(_SAME / 3600)), output_type="ndarray")
    other = objects.field[pairs[:, 0]] != objects.field[pairs[:, 1]]
    kept = np.ones(len(objects), np.bool_)
    kept[pairs[other].max(axis=1)] = False
    return objects.take(kept)


def at_most(objects: Objects, most: int) -> Objects:
    """The objects with the lowest hashes of their ids, in their order."""
    if len(objects) <= most:
        return objects
    places = [hashlib.blake2b(str(objid).encode(), digest_size=8).digest() for objid in objects.objid.tolist()]
    chosen = np.sort(np.array(sorted(range(len(objects)), key=places.__getitem__)[:most], np.int64))
    return objects.take(chosen)
