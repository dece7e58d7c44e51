"""Samples without a known lens: a folder of real stamps, or a scan's own detections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp
from pipeline.errors import ConfigError
from pipeline.evaluate.config import DetectionsConfig, OthersConfig
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.io import cutout_store, products
from pipeline.io.cutout_store import CutoutStore
from pipeline.io.stamps import open_stamps
from pipeline.io.tables import read_table
from pipeline.scan.stamp_objects import middle
from pipeline.splits import in_split, stamps_in_split

_AT_ONCE = 256
"""Stamps in a part, at most."""
_GAP = 16
"""Cutouts that nobody wants, beyond which what follows is read apart."""


def open_others(config: OthersConfig) -> Sample:
    """The middles of a folder's stamps, of which none is taken for a lens.

    Files that can't be read are left out and counted in `notes`.

    Raises
    ------
    ConfigError
        If the folder holds no stamp of the split that can be read, or colour pictures.
    """
    found = open_stamps(Path(config.stamps), config.bands, config.bands, zero_point=config.zero_point)
    if found.colour:
        raise ConfigError(f"sample {config.name!r}: {config.stamps} holds colour pictures; give FITS or arrays.")
    chosen = np.arange(len(found))
    if config.split != "all":
        chosen = np.flatnonzero(in_split(found.names, config.split, config.shares))
    side = max(2, round(config.size / config.pixel_scale))
    read = [found.read(index) for index in chosen.tolist()]
    kept = [stamp for stamp in read if stamp.pixels is not None]
    if not kept:
        raise ConfigError(f"sample {config.name!r}: no stamp of split {config.split!r} in {config.stamps}.")
    image = np.stack([middle(stamp.pixels, side) for stamp in kept if stamp.pixels is not None])

    def parts() -> Iterator[Part]:
        for start in range(0, len(image), _AT_ONCE):
            yield Part(image[start : start + _AT_ONCE], None, None)

    def stamp_of(row: int) -> Stamp:
        return Stamp(image[row], np.zeros(image[row].shape, np.uint32), config.bands, config.pixel_scale)

    lost = len(read) - len(kept)
    return Sample(
        name=config.name,
        column=config.column,
        pixels=config.pixels,
        bands=config.bands,
        pixel_scale=config.pixel_scale,
        lens=np.zeros(len(image), np.bool_),
        truth={"name": np.array([stamp.name for stamp in kept])},
        parts=parts,
        stamp=stamp_of,
        notes=(
            f"{len(kept)} stamps of split {config.split}, none taken for a lens",
            *((f"{lost} files can't be read",) if lost else ()),
        ),
    )


@dataclass(frozen=True)
class _Rows:
    """The detections of one field that are taken: their cutouts' rows, ids and positions."""

    store: CutoutStore
    row: npt.NDArray[np.int64]
    objid: npt.NDArray[np.int64]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]


def open_detections(config: DetectionsConfig, seed: int) -> Sample:
    """A scan's detections, unlabelled: no lens is known among them, and few can be.

    Of overlapping fields the primary copy is taken where the scan is scored.

    Parameters
    ----------
    config : DetectionsConfig
    seed : int
        Of the draw where there are more than `limit`.

    Raises
    ------
    ConfigError
        If the scan has no cutout in the split, or fields of different bands or pixel scales.
    """
    folder = Path(config.scan)
    fields = [rows for field_id in sorted(products.listing(folder)) for rows in _rows(folder, field_id, config)]
    count = sum(len(rows.row) for rows in fields)
    if not count:
        raise ConfigError(f"sample {config.name!r}: {folder} has no cutout in split {config.split!r}; scan it first.")
    if len({(rows.store.bands, rows.store.pixel_scale, rows.store.size) for rows in fields}) > 1:
        raise ConfigError(f"sample {config.name!r}: fields of {folder} differ in bands, pixel scale or stamp size.")
    if count > config.limit:
        kept = np.zeros(count, np.bool_)
        kept[np.random.default_rng(seed).choice(count, config.limit, replace=False)] = True
        edges = np.cumsum([len(rows.row) for rows in fields])[:-1]
        fields = [_take(rows, part) for rows, part in zip(fields, np.split(kept, edges), strict=True)]
    store = fields[0].store

    def parts() -> Iterator[Part]:
        for rows in fields:
            for start in range(0, len(rows.row), _AT_ONCE):
                wanted = rows.row[start : start + _AT_ONCE]
                # A draw of few of a field's cutouts is not read with all that lie between them.
                for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1):
                    stamps = cutout_store.read(rows.store, int(run[0]), int(run[-1]) + 1)
                    here = run - run[0]
                    yield Part(stamps.image[here], stamps.ivar[here], stamps.mask[here])

    def stamp_of(index: int) -> Stamp:
        for rows in fields:
            if index < len(rows.row):
                row = int(rows.row[index])
                stamps = cutout_store.read(rows.store, row, row + 1)
                return Stamp(stamps.image[0], stamps.mask[0], store.bands, store.pixel_scale)
            index -= len(rows.row)
        raise IndexError(index)

    truth = {
        "name": np.concatenate([rows.objid for rows in fields]).astype("U20"),
        "ra": np.concatenate([rows.ra for rows in fields]),
        "dec": np.concatenate([rows.dec for rows in fields]),
    }
    return Sample(
        name=config.name,
        column=config.column,
        pixels=config.pixels,
        bands=store.bands,
        pixel_scale=store.pixel_scale,
        lens=np.zeros(len(truth["ra"]), np.bool_),
        truth=truth,
        parts=parts,
        stamp=stamp_of,
        notes=(f"{len(truth['ra']):,} of {count:,} detections of {folder.name}, split {config.split}, unlabelled",),
    )


def _rows(folder: Path, field_id: str, config: DetectionsConfig) -> Iterator[_Rows]:
    """The field's detections in the split, in the order of their cutouts; nothing for a field without any."""
    cut = products.live_manifest(folder, field_id, "cutouts")
    detected = products.live_manifest(folder, field_id, "detect")
    if cut is None or detected is None or cut.rows == 0:
        return
    store = cutout_store.open_store(folder / cut.place)
    stamps = read_table(folder / cut.place / "stamps.parquet")
    detections = read_table(folder / detected.place / "detections.parquet")
    place = {objid: row for row, objid in enumerate(detections["objid"].to_pylist())}
    objid = stamps["objid"].to_numpy()
    order = np.array([place[key] for key in objid.tolist()], np.int64)
    ra, dec = detections["ra"].to_numpy()[order], detections["dec"].to_numpy()[order]
    kept = np.ones(len(objid), np.bool_)
    scores = products.live_files(folder, "candidates", "scores.parquet").get(field_id)
    if scores is not None:
        table = read_table(scores)
        primary = dict(zip(table["objid"].to_pylist(), table["is_primary"].to_pylist(), strict=True))
        kept = np.array([primary.get(key, True) for key in objid.tolist()], np.bool_)
    if config.split != "all":
        reach = store.size * store.pixel_scale / 2 / 3600
        kept &= stamps_in_split(ra, dec, reach, config.split, config.cell, config.shares)
    if kept.any():
        yield _take(_Rows(store, stamps["row"].to_numpy().astype(np.int64), objid, ra, dec), kept)


def _take(rows: _Rows, kept: npt.NDArray[np.bool_]) -> _Rows:
    return _Rows(rows.store, rows.row[kept], rows.objid[kept], rows.ra[kept], rows.dec[kept])
