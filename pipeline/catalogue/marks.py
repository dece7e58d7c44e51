"""Rows of a catalogue with the known lens that each one is, if it is one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.catalogue.known import KnownLenses, nearest
from pipeline.catalogue.known_choice import KnownSystems, systems
from pipeline.flags import VetFlag
from pipeline.schema import Column, arrow_schema

RADIUS = 2.0
"""Arc seconds between a detection and a published position that are one lens: both err by some tenths, and either may
stand on the arc instead of the lens, an Einstein radius of 1 to 2 away."""

MARKS = (
    Column("known_name", pa.string(), "", "meta.id.cross", "nearest known lens; null: none near", nullable=True),
    Column("known_grade", pa.string(), "", "meta.code.qual", "grade that its list gives it", nullable=True),
    Column("known_separation", pa.float32(), "arcsec", "pos.angDistance", "from its published position", nullable=True),
)
"""Columns that `mark_known` adds."""


def mark_known(table: pa.Table, known: KnownLenses | KnownSystems, radius: float = RADIUS) -> pa.Table:
    """A table with `KNOWN_LENS` set where a known lens lies within a radius, and which one it is.

    Parameters
    ----------
    table : pyarrow.Table
        With `ra, dec`; `vet_flags` too, or no flag is set. Marks that it carries already are replaced.
    known : KnownLenses or KnownSystems
        Several entries for one lens count as one (`pipeline.catalogue.known_choice.systems`).
    radius : float
        Arc seconds, the edge included.

    Returns
    -------
    pyarrow.Table
        The same rows in the same order, the columns `MARKS` behind the others: the nearest known lens within the
        radius. Two rows near one lens both carry it.
    """
    once = known if isinstance(known, KnownSystems) else systems(known, radius)
    lenses = once.lenses
    index, separation = nearest(lenses, table["ra"].to_numpy(), table["dec"].to_numpy())
    found = (index >= 0) & (separation <= radius)
    if "vet_flags" in table.column_names:
        bits = table["vet_flags"].to_numpy() & ~np.uint32(VetFlag.KNOWN_LENS)
        bits |= np.where(found, np.uint32(VetFlag.KNOWN_LENS), np.uint32(0)).astype(np.uint32)
        place = table.column_names.index("vet_flags")
        table = table.set_column(place, table.schema.field(place), pa.array(bits, pa.uint32()))
    table = table.drop_columns([column.name for column in MARKS if column.name in table.column_names])
    chosen = index[found]
    values = (
        _spread(found, lenses.name[chosen].tolist(), pa.string()),
        _spread(found, lenses.grade[chosen].tolist(), pa.string()),
        pa.array(separation.astype(np.float32), mask=~found),
    )
    for field, column in zip(arrow_schema(MARKS), values, strict=True):
        table = table.append_column(field, column)
    return table


def _spread(found: np.ndarray[tuple[int], np.dtype[np.bool_]], values: list[str], kind: pa.DataType) -> pa.Array:
    """Values where something was found; null elsewhere, and for empty text."""
    waiting = iter(values)
    return pa.array([next(waiting) or None if one else None for one in found.tolist()], kind)
