"""What a scan remembers of its fields' headers: a table that may be lost, and is then made again from the headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import ProductMismatch
from pipeline.geometry import Footprints
from pipeline.io.places import Place
from pipeline.io.tables import build_table, read_table, write_table
from pipeline.schema import FOOTPRINTS

NAME = "footprints.parquet"

Identities = npt.NDArray[np.bytes_]
"""Identities of the files that headers are looked for in: 32 hex digits each."""


@dataclass(frozen=True)
class RememberedFootprints:
    """The table that an output holds: footprints, and the identity of each one's files, which rise."""

    footprints: Footprints
    identities: Identities

    def of(self, identities: Identities, ids: list[str]) -> Footprints:
        """Footprints of fields whose files have these identities; unknown where the table has none of them."""
        found = Footprints(ids)
        if self.identities.size:
            rows = np.minimum(np.searchsorted(self.identities, identities), self.identities.size - 1)
            found.known[:] = self.identities[rows] == identities
            for mine, theirs in zip(found.columns(), self.footprints.columns(), strict=True):
                mine[found.known] = theirs[rows[found.known]]
        return found

    def holds(self, identities: Identities, footprints: Footprints) -> bool:
        """Whether these are what the table holds, no more and no less."""
        return np.array_equal(np.sort(identities[footprints.known]), self.identities)


def read_footprints(output: Place) -> RememberedFootprints:
    """The footprints that an output remembers; none where the table is missing or unreadable."""
    path = output / NAME
    try:
        if path.is_file():
            return _remembered(read_table(path, FOOTPRINTS))
    except (ProductMismatch, pa.ArrowException):
        pass  # as good as lost
    return RememberedFootprints(Footprints([]), np.zeros(0, "S32"))


def _remembered(table: pa.Table) -> RememberedFootprints:
    footprints = Footprints(table["field_id"].to_pylist())
    footprints.known[:] = True
    for axis, name in enumerate(("ny", "nx")):
        footprints.shape[:, axis] = _values(table[name], "i4")
    for axis, name in enumerate("xyz"):
        footprints.centre[:, axis] = _values(table[name], "f8")
    footprints.pixel_scale[:] = _values(table["pixel_scale"], "f8")
    footprints.radius[:] = _values(table["radius"], "f8")
    footprints.token[:] = _hex(table["token"])
    return RememberedFootprints(footprints, _hex(table["identity"]))


def write_footprints(output: Place, identities: Identities, footprints: Footprints) -> None:
    """Replace the table by the known ones of these, by identity."""
    known = np.flatnonzero(footprints.known)
    rows = known[np.argsort(identities[known])]
    columns = {
        "identity": identities[rows].astype(str),
        "field_id": [footprints.ids[row] for row in rows],
        "ny": footprints.shape[rows, 0],
        "nx": footprints.shape[rows, 1],
        "pixel_scale": footprints.pixel_scale[rows],
        **{axis: footprints.centre[rows, index] for index, axis in enumerate("xyz")},
        "radius": footprints.radius[rows],
        "token": footprints.token[rows].astype(str),
    }
    write_table(output / NAME, build_table(FOOTPRINTS, columns))


def _hex(column: pa.ChunkedArray) -> Identities:
    """Texts of 32 hex digits; raises ArrowException for any other."""
    return _values(column.cast(pa.binary()).cast(pa.binary(32)), "S32")


def _values(column: pa.ChunkedArray, kind: str) -> npt.NDArray[Any]:
    """A column without nulls, of one size a value; Arrow's own way to NumPy loads pandas, 40 MB, for nothing."""
    values = column.combine_chunks()
    size = np.dtype(kind).itemsize
    return np.frombuffer(values.buffers()[1], kind, len(values), size * values.offset)
