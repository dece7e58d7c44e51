"""Where planted lenses and duds come from: pools of stamps, and tables of rows of the scan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp, StampSource
from pipeline.errors import ConfigError, GradeError, ProductMismatch, QueryError
from pipeline.inspector.planted import PLANTED_FIELD, Kind, Planted, PlantedItem, joined
from pipeline.inspector.planted_tables import of_table
from pipeline.io import cutout_store, products
from pipeline.io.npz import Archive
from pipeline.io.places import Place
from pipeline.io.pools import labels, opened_pool, pools_of

MOST = 1000
"""Stamps of one pattern that are taken where nobody says how many."""

_MEASURES = {"theta_E": "theta_E", "magnitude": "lens_mag", "arc_snr": "arc_snr"}
"""What is known of an item -> the column of a pool that says it."""


@dataclass(frozen=True)
class Look:
    """What the scan's own stamps look like.

    Attributes
    ----------
    bands : tuple of str
    pixel_scale : float, arcsec
    size : int, pixels
    """

    bands: tuple[str, ...]
    pixel_scale: float
    size: int


def read_planted(
    scan: Place, *, lenses: Sequence[str] = (), duds: Sequence[str] = (), most: int | None = MOST
) -> Planted:
    """Items to plant, from pools of stamps and from tables of rows of the scan.

    Parameters
    ----------
    scan : Path or ObjectPath
        The scan's output, whose bands, pixel scale and stamp size pools must have, and whose rows tables name.
    lenses, duds : sequence of str
        Patterns of pools as `lensscan simulate` writes them (`.npz`): of `lenses` the stamps labelled as lenses are
        taken, of `duds` the others. Or tables (CSV, Parquet) with `objid`, and `field_id` where an object stands in
        several fields; or with `ra` and `dec` (ICRS degrees), whose row of the scan lies within 1 arcsec. A row
        without a kept cutout is left out. `theta_E` (arcsec), `magnitude` (else `lens_mag`) and `arc_snr` are taken
        along.
    most : int, optional
        So many stamps of a pattern at most: the first of each pool, whose order is random.

    Raises
    ------
    GradeError
        If something can't be read, is not in the scan, would be told from the scan's own stamps by its size, bands or
        pixels, or is planted both as lens and as dud.
    """
    found = Planted()
    try:
        given: list[tuple[Kind, str]] = [("lens", source) for source in lenses]
        given += [("dud", source) for source in duds]
        for kind, source in given:
            items = _of_pools(source, kind, look(scan), most) if _is_pool(source) else of_table(source, kind, scan)
            if not items:
                raise GradeError(f"{source}: nothing in it to plant as {kind}; give another file.")
            found = joined(found, Planted(tuple(items)))
    except (ConfigError, QueryError, ProductMismatch) as error:
        raise GradeError(f"planted objects: {error}") from error
    return found


def planted_stamps(planted: Planted, scan: Place, of_scan: StampSource) -> StampSource:
    """Stamps of the scan and of what is planted, by the same call.

    A stamp from a pool is cut about its centre to the size of the scan's, in the scan's bands.

    Parameters
    ----------
    planted : Planted
    scan : Path or ObjectPath
        The scan's output.
    of_scan : StampSource
        As `pipeline.catalogue.stamps.scan_stamps` gives it.

    Raises
    ------
    GradeError
        If there are stamps of pools and none of the scan.
    """
    like = look(scan) if any(item.field_id == PLANTED_FIELD for item in planted.items) else None

    @lru_cache(maxsize=256)
    def of_pool(item: PlantedItem) -> Stamp | None:
        with opened_pool(item.source) as archive:
            if item.row >= archive.shape("label")[0] or _objid(archive.row("image", item.row)) != item.objid:
                return None  # the pool has been written again since
            return _stamp(archive, item, like) if like is not None else None

    def stamp(field_id: str, objid: int, row: int | None) -> Stamp | None:
        item = planted.by_key.get((field_id, objid))
        if item is None:
            return of_scan(field_id, objid, row)
        if field_id != PLANTED_FIELD:
            return of_scan(field_id, objid, item.row)
        try:
            return of_pool(item)
        except ConfigError:
            return None

    return stamp


def look(scan: Place) -> Look:
    """What the stamps of a scan look like; raises GradeError if it has none."""
    for field_id in products.listing(scan):
        manifest = products.live_manifest(scan, field_id, "cutouts")
        if manifest is not None and not manifest.empty and manifest.rows:
            store = cutout_store.open_store(scan / manifest.place)
            return Look(store.bands, store.pixel_scale, store.size)
    raise GradeError(f"{scan}: no field has cutouts beside which to show planted stamps; run the scan first.")


def _is_pool(source: str) -> bool:
    return source.endswith(".npz")


def _of_pools(pattern: str, kind: Kind, like: Look, most: int | None) -> list[PlantedItem]:
    items: list[PlantedItem] = []
    for path in pools_of([pattern]):
        room = None if most is None else most - len(items)
        if room is None or room > 0:
            items += _of_pool(str(Path(path).resolve()), kind, like, room)
    return items


def _of_pool(path: str, kind: Kind, like: Look, most: int | None) -> list[PlantedItem]:
    with opened_pool(path) as archive:
        if absent := [name for name in ("image", "label", "bands", "pixel_scale") if name not in archive.names]:
            raise GradeError(f"{path}: a pool to plant needs {', '.join(absent)}; write it with `lensscan simulate`.")
        _require_alike(archive, path, like)
        lens, _ = labels(archive, path)
        rows = np.flatnonzero(lens == (kind == "lens"))[:most]
        measured = {name: _measure(archive, column, len(lens)) for name, column in _MEASURES.items()}
        return [
            PlantedItem(
                PLANTED_FIELD,
                _objid(image),
                kind,
                path,
                row,
                **{name: _number(values[row]) for name, values in measured.items()},
            )
            for row, image in _rows(archive, rows.tolist())
        ]


def _require_alike(archive: Archive, path: str, like: Look) -> None:
    bands, shape = [str(band) for band in archive.whole("bands")], archive.shape("image")
    scale = float(archive.whole("pixel_scale"))
    if absent := [band for band in like.bands if band not in bands]:
        raise GradeError(f"{path}: no band {', '.join(absent)}, which the scan's stamps have; simulate those bands.")
    if len(shape) != 4 or shape[1] != len(bands) or shape[2] != shape[3]:
        raise GradeError(f"{path}: image of shape {shape}; needs (n, {len(bands)}, side, side).")
    if abs(scale / like.pixel_scale - 1) > 1e-3 or shape[3] < like.size:
        raise GradeError(
            f"{path}: stamps of {shape[3]} px at {scale:g} arcsec would be told from the scan's ({like.size} px at "
            f"{like.pixel_scale:g}); simulate them at that scale, and at that size or a larger one."
        )


def _stamp(archive: Archive, item: PlantedItem, like: Look) -> Stamp:
    bands = [str(band) for band in archive.whole("bands")]
    order = [bands.index(band) for band in like.bands]
    margin = (archive.shape("image")[3] - like.size) // 2
    cut = slice(margin, margin + like.size)

    def plane(name: str) -> npt.NDArray[Any]:
        return np.ascontiguousarray(archive.row(name, item.row)[order][:, cut, cut])

    image = plane("image").astype(np.float32)
    mask = plane("mask").astype(np.uint32) if "mask" in archive.names else np.zeros(image.shape, np.uint32)
    ivar = plane("ivar").astype(np.float32) if "ivar" in archive.names else None
    return Stamp(image, mask, like.bands, like.pixel_scale, ivar)


def _rows(archive: Archive, rows: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Images of some rows, ascending, without the others in memory."""
    wanted, start = set(rows), 0
    for block in archive.blocks("image", 64):
        yield from ((start + place, image) for place, image in enumerate(block) if start + place in wanted)
        start += len(block)
        if rows and start > rows[-1]:
            return


def _objid(image: npt.NDArray[Any]) -> int:
    """A number from a stamp's pixels: the same stamp is the same object, wherever its pool lies."""
    digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _measure(archive: Archive, column: str, n: int) -> npt.NDArray[np.float64]:
    """A truth column; NaN where the pool has none."""
    if column not in archive.names or archive.shape(column) != (n,):
        return np.full(n, np.nan)
    return archive.whole(column).astype(np.float64)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
