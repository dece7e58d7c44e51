"""The survey's own catalogue, as the positions to look at in one field.

A file a field is read whole. A survey-wide Parquet file, folder or HATS catalogue is read for the field's rows
only: HATS partitions (`Norder=K/Dir=D/Npix=P`) that the field's bounding circle doesn't touch are never opened, and
inside the rest a filter on position is pushed down, so that Parquet skips row groups by their statistics.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import cdshealpix.nested
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units as u
from astropy.coordinates import Latitude, Longitude

from pipeline.errors import BadSurveyData
from pipeline.field import Field
from pipeline.geometry import FieldGeometry, bounding_circle, to_pixel
from pipeline.io.arrow_objects import file_system, name_in
from pipeline.io.folders import Folder
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place, place
from pipeline.surveys.description import CatalogueConfig
from pipeline.surveys.expressions import columns_of, evaluate, evaluate_integers
from pipeline.surveys.paths import resolve
from pipeline.surveys.tables import check_columns, from_arrow, read_columns
from pipeline.surveys.zero_points import AB_ZERO_NJY, njy_per_unit

_PARTITION = re.compile(r"Norder=(\d+)/(?:Dir=\d+/)?Npix=(\d+)")
_HEALPIX = "_healpix_29"

Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ExternalDetections:
    """Rows of an external catalogue on one field, in the order of the catalogue.

    Attributes
    ----------
    objid : int64 (n,)
        The survey's id by its formula; the HEALPix-29 index where its ids are text.
    ra, dec : float64 (n,), ICRS degrees
    source_id : object (n,) of str, or None
        The survey's id where that is text.
    mags : band -> float32 (n,)
        AB magnitudes, NaN where there is none.
    read, left_out, off_image : int
        Rows looked at; those that `where` left out; those whose position is not on the field's pixels (or is no
        position). `read - left_out - off_image` is n.
    """

    objid: npt.NDArray[np.int64]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    source_id: npt.NDArray[np.object_] | None = None
    mags: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    read: int = 0
    left_out: int = 0
    off_image: int = 0

    def __len__(self) -> int:
        return int(self.objid.size)


@dataclass(frozen=True)
class CatalogueFiles:
    """The files of a survey-wide catalogue.

    Attributes
    ----------
    path : str
        The catalogue, as errors name it.
    base : Place
        The folder of its rows; the file itself, where it is one.
    names : tuple of str
        Below `base`, in order; none where it is a file.
    """

    path: str
    base: Place
    names: tuple[str, ...]

    def near(self, geometry: FieldGeometry) -> list[Place]:
        """The files that may hold rows on a field: of HATS partitions those that touch it, else all."""
        if not self.names:
            return [self.base]
        pixels = [_PARTITION.search(name) for name in self.names]
        if not any(pixels):
            # HATS keeps a thumbnail of itself beside the rows.
            return [self.base / name for name in self.names if not name.endswith("/data_thumbnail.parquet")]
        near = _touched(geometry, sorted({int(pixel.group(1)) for pixel in pixels if pixel}))
        return [
            self.base / name
            for name, pixel in zip(self.names, pixels, strict=True)
            if pixel and int(pixel.group(2)) in near[int(pixel.group(1))]
        ]


def survey_files(config: CatalogueConfig, folder: Folder) -> CatalogueFiles:
    """Look for the files of a survey-wide catalogue; raises BadSurveyData if there are none."""
    path = resolve(folder, config.path, {})
    where, name = place(path), path.removeprefix(f"{folder.root}/")
    if folder.is_file(name):
        return CatalogueFiles(path, where, ())
    if not where.is_dir():
        raise BadSurveyData(f"{path}: no such catalogue; restore it or mend catalogue.path in the survey's TOML.")
    inner = _primary_table(where)
    base = where / inner
    found = folder.glob(f"{glob.escape(str(PurePosixPath(name) / inner))}/**/*.parquet", recursive=True)
    names = sorted(((folder.root / item).relative_to(base) for item in found), key=lambda item: item.parts)  # type: ignore[arg-type]
    rows = tuple(item.as_posix() for item in names if not item.name.startswith(("_", ".")))
    if not rows:
        raise BadSurveyData(f"{path}: holds no .parquet file; mend catalogue.path in the survey's TOML.")
    return CatalogueFiles(path, base, rows)


def read(config: CatalogueConfig, folder: Folder, target: Field, geometry: FieldGeometry) -> ExternalDetections:
    """The catalogue's rows that lie on a field; see the module's text.

    Raises
    ------
    BadSurveyData
        If file or column is missing or unreadable, or ids are not integers, don't fit in int64 or are not unique.
    """
    if config.kind == "field":
        path = str(target.catalogue)
        columns: Columns = read_columns(path, _needed(config), config.hdu, _integers(config))
    else:
        found = survey_files(config, folder)
        path = found.path
        columns = _survey_rows(config, found, geometry)
    total = len(columns[config.ra])
    if config.where is not None:
        keep = np.asarray(evaluate(config.where, columns), bool)
        columns = {name: column[keep] for name, column in columns.items()}
    left_out = total - len(columns[config.ra])
    ra, dec = _degrees(columns[config.ra], config.ra, path), _degrees(columns[config.dec], config.dec, path)
    objid, source_id = _ids(config, columns, ra, dec, path)
    inside = _on_image(geometry, ra, dec)
    return ExternalDetections(
        objid=objid[inside],
        ra=ra[inside],
        dec=dec[inside],
        source_id=None if source_id is None else source_id[inside],
        mags={band: mag[inside] for band, mag in _magnitudes(config, columns).items()},
        read=total,
        left_out=left_out,
        off_image=int((~inside).sum()),
    )


def _needed(config: CatalogueConfig) -> list[str]:
    names = [config.ra, config.dec]
    names += columns_of(config.objid) if config.objid else []
    names += [config.source_id] if config.source_id else []
    names += columns_of(config.where) if config.where else []
    return list(dict.fromkeys([*names, *config.magnitudes.values(), *config.fluxes.values()]))


def _survey_rows(config: CatalogueConfig, found: CatalogueFiles, geometry: FieldGeometry) -> Columns:
    # With it comes pandas: 45 MB, which whoever submits a scan, and reads no row, does without.
    import pyarrow.dataset as ds

    files = found.near(geometry)
    needed = _needed(config)
    if not files:
        return {name: np.empty(0) for name in needed} | {name: np.empty(0, np.int64) for name in _integers(config)}
    try:
        dataset = ds.dataset(
            [name_in(file) for file in files],
            filesystem=file_system(found.base),
            format="parquet",
            partitioning="hive",
            partition_base_dir=name_in(found.base) if found.names else None,
        )
        check_columns(needed, dataset.schema.names, found.path)
        wanted = _position_filter(config, dataset.schema, geometry)
        return from_arrow(dataset.to_table(columns=needed, filter=wanted), needed, found.path, _integers(config))
    except StoreUnavailable:
        raise
    except (OSError, pa.ArrowException) as error:
        raise BadSurveyData(f"{found.path}: not readable as Parquet ({error}); fetch it again.") from error


def _integers(config: CatalogueConfig) -> list[str]:
    return columns_of(config.objid) if config.objid else []


def _primary_table(where: Place) -> str:
    """The folder of the rows themselves, "." if it is this: a HATS collection has margins, which repeat rows."""
    properties = where / "collection.properties"
    if properties.is_file():
        for line in properties.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "hats_primary_table_url":
                return value.strip().strip("/")
    return "."


def _touched(geometry: FieldGeometry, orders: Sequence[int]) -> dict[int, set[int]]:
    """HEALPix pixels (nested) of each order that the field's bounding circle touches."""
    ra, dec, radius = _circle(geometry)
    touched = {}
    for order in orders:
        pixels, depths, _ = cdshealpix.nested.cone_search(
            Longitude(ra, u.deg), Latitude(dec, u.deg), radius=radius * u.deg, depth=order, flat=True
        )
        touched[order] = {int(pixel) for pixel, depth in zip(pixels, depths, strict=True) if int(depth) == order}
    return touched


def _circle(geometry: FieldGeometry) -> tuple[float, float, float]:
    """Centre and radius of the field in degrees, the radius a little on the large side."""
    centre, radius = bounding_circle(geometry)
    ra = float(np.degrees(np.arctan2(centre[1], centre[0]))) % 360.0
    dec = float(np.degrees(np.arcsin(np.clip(centre[2], -1.0, 1.0))))
    return ra, dec, float(np.degrees(radius)) * 1.01 + 1e-3


def _position_filter(config: CatalogueConfig, schema: pa.Schema, geometry: FieldGeometry) -> pc.Expression:
    """Rows that can lie on the field: a box in ra and dec, and ranges of `_healpix_29` where the column is there."""
    ra, dec, radius = _circle(geometry)
    low, high = dec - radius, dec + radius
    wanted = (pc.field(config.dec) >= low) & (pc.field(config.dec) <= high)
    if low > -90.0 and high < 90.0:
        # Half width in ra of a circle on the sphere; a box in plain degrees would be too narrow off the equator.
        half = float(np.degrees(np.arcsin(min(1.0, np.sin(np.radians(radius)) / np.cos(np.radians(dec))))))
        boxes = [(ra - half, ra + half), (ra - half + 360.0, ra + half + 360.0), (ra - half - 360.0, ra + half - 360.0)]
        column = pc.field(config.ra)
        tests = [(column >= a) & (column <= b) for a, b in boxes if a <= 360.0 and b >= -180.0]
        either = tests[0]
        for test in tests[1:]:
            either = either | test
        wanted = wanted & either
    if _HEALPIX in schema.names:
        first, last = _healpix_range(ra, dec, radius)
        index = pc.field(_HEALPIX)
        wanted = wanted & (index >= first) & (index <= last)
    return wanted


def _healpix_range(ra: float, dec: float, radius: float) -> tuple[int, int]:
    """First and last HEALPix-29 index of the pixels that a circle touches, at an order that fits its size."""
    pixels, depths, _ = cdshealpix.nested.cone_search(
        Longitude(ra, u.deg), Latitude(dec, u.deg), radius=radius * u.deg, depth=10, flat=False
    )
    starts = [int(pixel) << (2 * (29 - int(depth))) for pixel, depth in zip(pixels, depths, strict=True)]
    ends = [(int(pixel) + 1) << (2 * (29 - int(depth))) for pixel, depth in zip(pixels, depths, strict=True)]
    return min(starts), max(ends) - 1


def _degrees(column: npt.NDArray[Any], name: str, path: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise BadSurveyData(f"{path}: column {name} is not in degrees ({error}); mend catalogue.ra or .dec.") from error


def _ids(
    config: CatalogueConfig, columns: Columns, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], path: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_] | None]:
    source_id = None
    if config.source_id is not None:
        source_id = np.array([_as_text(value) for value in columns[config.source_id]], dtype=object)
        _refuse_duplicates(source_id, f"source_id {config.source_id}", path)
    if config.objid is None:
        objid = healpix_29(ra, dec)
        if source_id is None:
            _refuse_duplicates(objid[np.isfinite(ra)], "position (as objid)", path)
        return objid, source_id
    for name in columns_of(config.objid):
        _refuse_other_than_integers(columns[name], name, path)
    try:
        objid = evaluate_integers(config.objid, {name: columns[name] for name in columns_of(config.objid)})
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        raise BadSurveyData(f"{path}: catalogue.objid: {error}; mend the formula or the table.") from error
    _refuse_duplicates(objid, f"objid = {config.objid}", path)
    return objid, source_id


def healpix_29(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Nested HEALPix index of order 29 as int64; -1 where a position is not finite or off the sphere."""
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    index = np.full(ra.shape, -1, np.int64)
    if good.any():
        found = cdshealpix.nested.lonlat_to_healpix(Longitude(ra[good], u.deg), Latitude(dec[good], u.deg), 29)
        index[good] = found.astype(np.int64)
    return index


def _refuse_other_than_integers(column: npt.NDArray[Any], name: str, path: str) -> None:
    if column.dtype.kind in "iu" or (column.dtype.kind == "f" and column.size == 0):
        return
    odd = next((value for value in column.tolist() if not _is_whole_text(value)), column.tolist()[0])
    raise BadSurveyData(
        f"{path}: id column {name} is {column.dtype}, not integers; its value {odd!r} cannot be an objid without loss. "
        "Store it as int64, or name it as catalogue.source_id if ids are text."
    )


def _is_whole_text(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse_duplicates(ids: npt.NDArray[Any], what: str, path: str) -> None:
    values, counts = np.unique(ids.astype(str) if ids.dtype == object else ids, return_counts=True)
    twice = values[counts > 1]
    if twice.size:
        listed = ", ".join(str(value) for value in twice[:5])
        more = f" and {twice.size - 5} more" if twice.size > 5 else ""
        raise BadSurveyData(
            f"{path}: {what} is not unique: {listed}{more} stand there more than once. Remove the duplicates, or make "
            "the id of more columns."
        )


def _on_image(
    geometry: FieldGeometry, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Which positions fall on a pixel of the field, up to the outer border of the outermost ones."""
    inside = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    if inside.any():
        x, y = to_pixel(geometry.wcs, ra[inside], dec[inside])
        ny, nx = geometry.shape
        with np.errstate(invalid="ignore"):
            inside[inside] = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    return inside


def _magnitudes(config: CatalogueConfig, columns: Columns) -> dict[str, npt.NDArray[np.float32]]:
    mags = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for band, name in config.magnitudes.items():
            values = np.asarray(columns[name], np.float64)
            mags[band] = np.where(np.isfinite(values) & (np.abs(values) < 90.0), values, np.nan).astype(np.float32)
        for band, name in config.fluxes.items():
            flux = np.asarray(columns[name], np.float64) * njy_per_unit(config.flux_unit)
            mags[band] = np.where(flux > 0, AB_ZERO_NJY - 2.5 * np.log10(flux), np.nan).astype(np.float32)
    return mags


def _as_text(value: Any) -> str:
    return str(value.decode() if isinstance(value, bytes) else value).strip()
