"""Everything that is known of one row of a scan: its catalogue values, its stamp, and which way north is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.query import query
from pipeline.catalogue.stamps import Stamp, scan_stamps
from pipeline.errors import ProductMismatch, QueryError
from pipeline.flags import FATAL, FATAL_MASK, FOUND_SHIFT, PixelFlag, VetFlag, decode
from pipeline.io import ownership, products
from pipeline.io.exports import json_rows
from pipeline.io.places import Place
from pipeline.io.tables import read_table

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_LARGEST = 2**63
"""An objid is int64."""

_NEIGHBOURS = 30
"""Detections whose places and positions tell which way the sky's axes run."""


@dataclass(frozen=True)
class FlagCount:
    """One pixel flag in a stamp: pixels of any band that the survey and that we have given it, and in which bands."""

    name: str
    survey: int
    found: int
    bands: tuple[str, ...]
    fatal: bool


@dataclass(frozen=True)
class Explained:
    """One row of a scan and its stamp.

    Attributes
    ----------
    scan_id : str
    row : mapping
        Every column of the score table, JSON values: ids as text, missing numbers as None.
    members : mapping
        Member -> its calibrated score, or None.
    vet_flags : tuple of str
    flags : tuple of FlagCount
        Pixel flags that the stamp has, in order of their bits.
    stamp : Stamp
    axes : float64 (2, 2) or None
        Unit vectors (x, y) in pixels towards north and towards east; None where the field has too few detections
        to tell.
    """

    scan_id: str
    row: Mapping[str, Any]
    members: Mapping[str, float | None]
    vet_flags: tuple[str, ...]
    flags: tuple[FlagCount, ...]
    stamp: Stamp
    axes: Float64 | None


def explained(output: Place, objid: int, field: str | None = None) -> Explained:
    """Read one detection's row and stamp from a scan's output.

    Parameters
    ----------
    output : Path or ObjectPath
        A scan's output folder; candidates and all other scored detections are looked through.
    objid : int
    field : str, optional
        Needed where the objid stands in several fields.

    Raises
    ------
    ProductMismatch
        If the folder is no scan's output, or holds the stamp no longer.
    QueryError
        If there is no such objid or field, or the objid stands in several fields, naming them.
    """
    scan_id = str(ownership.identity(output).get("scan_id", ""))
    row = _row(output, objid, field)
    field_id = str(row["field_id"])
    _check_cutouts(output, field_id)
    if row["row"] is None:
        raise ProductMismatch(
            f"{output}: the cutout of objid {objid} was not kept (cutouts.keep in the scan's config); "
            'set keep = "all" and run the scan again, which cuts its fields once more.'
        )
    stamp = scan_stamps(output)(field_id, objid, row["row"])
    if stamp is None:
        raise ProductMismatch(
            f"{output}: field {field_id} was cut again since objid {objid} was scored; run the scan to its end first."
        )
    members = {name.removeprefix("score_"): row[name] for name in row if name.startswith("score_")}
    members.pop("std", None)
    return Explained(
        scan_id=scan_id,
        row=row,
        members=members,
        vet_flags=tuple(decode(row["vet_flags"], VetFlag)),
        flags=count_flags(stamp.mask, stamp.bands),
        stamp=stamp,
        axes=sky_axes(output, field_id, objid),
    )


def ensemble_of(output: Place, field_id: str) -> tuple[str | None, dict[str, str]]:
    """The ensemble that scored a field, as its scan's config calls it, and the sha256 of each member's weights."""
    manifest = products.live_manifest(output, field_id, "candidates")
    provenance = manifest.provenance if manifest is not None else {}
    config, packages = provenance.get("config") or {}, provenance.get("packages") or {}
    return config.get("ensemble"), {str(name): str(digest) for name, digest in packages.items()}


def count_flags(mask: npt.NDArray[np.uint32], bands: Sequence[str]) -> tuple[FlagCount, ...]:
    """The pixel flags of a stamp (band, y, x), in order of their bits."""
    counts = []
    for flag in PixelFlag:
        given = (mask & np.uint32(flag)) != 0
        found = (mask & np.uint32(flag << FOUND_SHIFT)) != 0
        touched = (given | found).any(axis=(1, 2))
        if touched.any():
            names = tuple(band for band, some in zip(bands, touched, strict=True) if some)
            survey, ours = int(given.any(axis=0).sum()), int(found.any(axis=0).sum())
            counts.append(FlagCount(str(flag.name), survey, ours, names, bool(flag & FATAL)))
    return tuple(counts)


def saliency_facts(saliency: Float32, stamp: Stamp, axes: Float64 | None) -> dict[str, float | None]:
    """What a saliency map says in numbers.

    Parameters
    ----------
    saliency : float32 (y, x)
        0 or more; NaN where it is not known.
    stamp : Stamp
    axes : float64 (2, 2) or None
        As in `Explained`.

    Returns
    -------
    dict
        `peak`, arcsec from the stamp's centre; `peak_angle`, degrees from north through east, None where north is
        not known or the peak is in the centre; `on_fatal`, share of the saliency on pixels that are fatally flagged
        in some band. All None where the map is 0 or unknown throughout.
    """
    known = np.nan_to_num(saliency.astype(np.float64))
    total = float(known.sum())
    if total <= 0:
        return {"peak": None, "peak_angle": None, "on_fatal": None}
    y, x = np.unravel_index(int(known.argmax()), known.shape)
    offset = np.array([x - (known.shape[1] - 1) / 2, y - (known.shape[0] - 1) / 2])
    angle = None
    if axes is not None and np.hypot(*offset) >= 1:
        north, east = axes @ offset
        angle = float(np.degrees(np.arctan2(east, north)) % 360)
    bad = ((stamp.mask & FATAL_MASK) != 0).any(axis=0)
    peak = float(np.hypot(*offset)) * stamp.pixel_scale
    return {"peak": peak, "peak_angle": angle, "on_fatal": float(known[bad].sum()) / total}


def _row(output: Place, objid: int, field: str | None) -> dict[str, Any]:
    if not -_LARGEST <= objid < _LARGEST:
        raise QueryError(f"objid {objid} is no 64-bit number; `lensscan query {output}` lists the candidates'.")
    table: pa.Table = query(output, f"objid = {objid}", field=field, all=True)
    if not len(table):
        where = f"field {field} of {output}" if field is not None else str(output)
        raise QueryError(f"{where} has no objid {objid}; `lensscan query {output}` lists the candidates.")
    fields = sorted(str(name) for name in table["field_id"].to_pylist())
    if len(fields) > 1:
        raise QueryError(f"{output}: objid {objid} stands in fields {', '.join(fields)}; say which with --field.")
    # Read alone, a field has no columns of members that only others were scored by.
    return json_rows(query(output, f"objid = {objid}", field=fields, all=True))[0]


def _check_cutouts(output: Place, field_id: str) -> None:
    """Refuse cutouts of which files are gone: what Zarr does not find it takes for empty."""
    manifest = products.live_manifest(output, field_id, "cutouts")
    lacking = (
        [name for name in manifest.files if not (output / manifest.place / name).is_file()]
        if manifest is not None
        else ["its manifest"]
    )
    if lacking:
        raise ProductMismatch(
            f"{output}: the cutouts of field {field_id} are no longer there (no {lacking[0]}); "
            f"cut them again with `lensscan field SCAN.toml {field_id} --from cutouts`."
        )


def sky_axes(output: Place, field_id: str, objid: int) -> Float64 | None:
    """North and east in pixels, by what the detections around have for places and positions.

    A linear fit of (x, y) to tangent-plane offsets in degrees; the cutouts have the field's grid and no WCS of
    their own.

    Returns
    -------
    float64 (2, 2) or None
        As `Explained.axes`.
    """
    manifest = products.live_manifest(output, field_id, "detect")
    path = output / manifest.place / "detections.parquet" if manifest is not None else None
    if path is None or not path.is_file():
        return None
    table = read_table(path)
    ids, ra, dec, x, y = (table[name].to_numpy() for name in ("objid", "ra", "dec", "x", "y"))
    (here,) = np.nonzero(ids == objid)
    if len(here) != 1:
        return None
    apart = np.hypot(x - x[here], y - y[here])
    near = np.argsort(apart, kind="stable")[: _NEIGHBOURS + 1]
    east = (np.mod(ra[near] - ra[here] + 180, 360) - 180) * np.cos(np.radians(dec[here]))
    sky = np.stack([dec[near] - dec[here], east], axis=1)
    matrix, _, rank, _ = np.linalg.lstsq(sky, np.stack([x[near] - x[here], y[near] - y[here]], axis=1), rcond=1e-3)
    if rank < 2:
        return None
    axes: Float64 = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return axes
