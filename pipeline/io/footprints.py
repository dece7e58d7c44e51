"""What a scan remembers of its fields' headers: a table that may be lost, and is then made again from the headers."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import ProductMismatch
from pipeline.geometry import Footprint
from pipeline.io.places import Place
from pipeline.io.tables import build_table, read_table, write_table
from pipeline.schema import FOOTPRINTS

NAME = "footprints.parquet"


def read_footprints(output: Place) -> dict[str, Footprint]:
    """Footprints by the identity of their files; none where the table is missing or unreadable."""
    path = output / NAME
    try:
        table = read_table(path, FOOTPRINTS) if path.is_file() else None
    except ProductMismatch:
        table = None
    if table is None:
        return {}
    identity, field_id, ny, nx, scale, x, y, z, radius, token = (column.to_pylist() for column in table.columns)
    rows = zip(identity, field_id, ny, nx, scale, x, y, z, radius, token, strict=True)
    return {
        row[0]: Footprint(row[1], (row[2], row[3]), row[4], (row[5], row[6], row[7]), row[8], row[9]) for row in rows
    }


def write_footprints(output: Place, footprints: Mapping[str, Footprint]) -> None:
    """Replace the table by these, by identity."""
    keys = sorted(footprints)
    values = [footprints[key] for key in keys]
    columns = {
        "identity": keys,
        "field_id": [one.field_id for one in values],
        "ny": [one.shape[0] for one in values],
        "nx": [one.shape[1] for one in values],
        "pixel_scale": [one.pixel_scale for one in values],
        **{axis: [one.centre[index] for one in values] for index, axis in enumerate("xyz")},
        "radius": [one.radius for one in values],
        "token": [one.token for one in values],
    }
    write_table(output / NAME, build_table(FOOTPRINTS, columns))
