"""Planted objects that are rows of the scan itself, named by a table: by id, or by position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.spatial import cKDTree

from pipeline.catalogue.query import query
from pipeline.errors import GradeError
from pipeline.geometry import unit_vectors
from pipeline.inspector.planted import Kind, PlantedItem
from pipeline.io.id_tables import integer, read_columns
from pipeline.io.places import Place

SAME_PLACE = 1.0
"""Arcsec within which a position of a table is a row of the scan."""

_COLUMNS = ("objid", "field_id", "ra", "dec", "theta_E", "magnitude", "lens_mag", "arc_snr")


def of_table(source: str, kind: Kind, scan: Place) -> list[PlantedItem]:
    """The rows of a scan that a table names, as far as their cutouts are kept.

    Positions without a row of the scan near them are left out, ids without one are not.

    Raises
    ------
    GradeError
        If the table has neither ids nor positions, names an id that the scan lacks, or one that stands in several
        fields without a `field_id` (the primary copy is taken where there is but one).
    ConfigError, QueryError
        If the table or the scan can't be read.
    """
    path = Path(source)
    columns = read_columns(path, (), _COLUMNS)
    rows = query(scan, all=True, columns=["field_id", "objid", "ra", "dec", "is_primary", "row"])
    if "objid" in columns:
        places = _by_id(path, columns, rows, scan)
    elif {"ra", "dec"} <= set(columns):
        places = _by_position(path, columns, rows)
    else:
        raise GradeError(f"{path}: needs objid, or ra and dec, to say what to plant.")
    cutouts = rows["row"].to_pylist()
    fields, ids = rows["field_id"].to_pylist(), rows["objid"].to_pylist()
    return [
        PlantedItem(
            fields[place],
            ids[place],
            kind,
            str(path.resolve()),
            cutouts[place],
            theta_E=_number(path, columns, ("theta_E",), index),
            magnitude=_number(path, columns, ("magnitude", "lens_mag"), index),
            arc_snr=_number(path, columns, ("arc_snr",), index),
        )
        for index, place in enumerate(places)
        if place is not None and cutouts[place] is not None
    ]


def _by_id(path: Path, columns: Mapping[str, Sequence[object]], rows: pa.Table, scan: Place) -> list[int | None]:
    """The row of the scan that each row of the table names."""
    fields, primary = rows["field_id"].to_pylist(), rows["is_primary"].to_pylist()
    wanted = [integer(value, path) for value in columns["objid"]]
    copies: dict[int, list[int]] = {objid: [] for objid in wanted}
    for place, objid in enumerate(rows["objid"].to_pylist()):
        if objid in copies:
            copies[objid].append(place)
    names = columns.get("field_id", [None] * len(wanted))
    found: list[int | None] = []
    for objid, name in zip(wanted, names, strict=True):
        there = [place for place in copies[objid] if name is None or fields[place] == str(name)]
        if not there:
            field = "" if name is None else f" of field {name}"
            raise GradeError(f"{path}: objid {objid}{field} is not in {scan}; plant rows of the scan that is graded.")
        if len(there) > 1:
            there = [place for place in there if primary[place]]
        if len(there) != 1:
            raise GradeError(f"{path}: objid {objid} stands in several fields; add a column field_id to say which.")
        found.append(there[0])
    return found


def _by_position(path: Path, columns: Mapping[str, Sequence[object]], rows: pa.Table) -> list[int | None]:
    """The primary row of the scan nearest to each position, or None where none is near."""
    primary = np.flatnonzero(rows["is_primary"].to_numpy(zero_copy_only=False))
    if not primary.size:
        return [None] * len(columns["ra"])
    ra, dec = (np.array([_float(path, name, value) for value in columns[name]]) for name in ("ra", "dec"))
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        raise GradeError(f"{path}: a row has no ra or dec; take it out.")
    tree = cKDTree(unit_vectors(rows["ra"].to_numpy()[primary], rows["dec"].to_numpy()[primary]))
    reach = 2 * math.sin(math.radians(SAME_PLACE / 3600) / 2)
    distance, nearest = tree.query(unit_vectors(ra, dec), distance_upper_bound=reach)
    return [
        int(primary[place]) if math.isfinite(far) else None
        for far, place in zip(distance.tolist(), nearest.tolist(), strict=True)
    ]


def _number(path: Path, columns: Mapping[str, Sequence[object]], names: Sequence[str], index: int) -> float | None:
    """A measure of a row; None where the table has none."""
    for name in names:
        value = columns[name][index] if name in columns else None
        if value is not None and value != "":
            number = _float(path, name, value)
            return number if math.isfinite(number) else None
    return None


def _float(path: Path, name: str, value: object) -> float:
    try:
        return float(str(value))
    except ValueError as error:
        raise GradeError(f"{path}: {name} {value!r} is no number.") from error
