"""What changed in one field's table from one run to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import ProductMismatch

TOLERANCE = 1e-4
"""Change of a score that counts. The same inputs on the same kind of device give the same score to the last bit;
this is well above what another device's rounding does and far below what a person would act on."""

_KINDS = ("new", "gone", "changed")

SCHEMA = pa.schema(
    [
        pa.field("objid", pa.int64(), nullable=False),
        pa.field("change", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("ra", pa.float64(), metadata={"unit": "deg"}),
        pa.field("dec", pa.float64(), metadata={"unit": "deg"}),
        pa.field("score_before", pa.float32()),
        pa.field("score_after", pa.float32()),
        pa.field("vet_flags_before", pa.uint32()),
        pa.field("vet_flags_after", pa.uint32()),
    ]
)
"""Columns of `TableDifference.rows`; what a row had not before, or has not now, is null."""


@dataclass(frozen=True)
class TableDifference:
    """Rows of one field's candidates (or scores) that differ.

    Attributes
    ----------
    new, gone, changed, same : int
        Rows that only the later table has, that only the earlier one has, that both have with another score or
        other vet flags, and that both have alike.
    tolerance : float
        Change of a score up to which it is the same.
    rows : pyarrow.Table
        The new, gone and changed rows, see `SCHEMA`, in order of `objid`; positions are the later ones.
    """

    new: int
    gone: int
    changed: int
    same: int
    tolerance: float
    rows: pa.Table


def difference(before: pa.Table | None, after: pa.Table, tolerance: float = TOLERANCE) -> TableDifference:
    """Compare a field's table before and after a rerun, row by row of the same `objid`.

    Parameters
    ----------
    before, after : pyarrow.Table
        Candidates or scores of one field: `objid, ra, dec, score, vet_flags`; None before is a table without rows.
        The order of rows does not matter.
    tolerance : float
        A score that moved by more than this has changed; so has one that came or went.

    Raises
    ------
    ProductMismatch
        If an `objid` stands in one table twice.
    """
    old, now = _columns(before if before is not None else after.slice(0, 0)), _columns(after)
    objid = np.union1d(old.objid, now.objid)
    was, became = _Rows(old, objid), _Rows(now, objid)
    moved = np.abs(became.score.astype(np.float64) - was.score) > tolerance
    moved |= np.isnan(became.score) != np.isnan(was.score)
    moved |= became.flags != was.flags
    kind = np.select([~was.present, ~became.present, moved], [0, 1, 2], default=-1)
    new, gone, changed = (int((kind == number).sum()) for number in range(len(_KINDS)))
    rows = pa.table(
        [
            pa.array(objid),
            pa.DictionaryArray.from_arrays(pa.array(kind, pa.int32(), mask=kind < 0), pa.array(_KINDS)),
            pa.array(np.where(became.present, became.ra, was.ra)),
            pa.array(np.where(became.present, became.dec, was.dec)),
            pa.array(was.score, mask=np.isnan(was.score)),
            pa.array(became.score, mask=np.isnan(became.score)),
            pa.array(was.flags, mask=~was.present),
            pa.array(became.flags, mask=~became.present),
        ],
        schema=SCHEMA,
    )
    same = int((kind < 0).sum())
    return TableDifference(new, gone, changed, same, tolerance, rows.filter(pa.array(kind >= 0)))


@dataclass(frozen=True)
class _Columns:
    """The columns that are compared, sorted by objid; NaN where a score is null."""

    objid: npt.NDArray[np.int64]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    score: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint32]


def order_by_id(objid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What sorts the ids of one field's table; raises ProductMismatch if one stands there twice."""
    order = np.argsort(objid, kind="stable")
    ordered = objid[order]
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise ProductMismatch(f"objid {ordered[twice[0]]} stands twice in one field's table; rerun the field.")
    return order


def _columns(table: pa.Table) -> _Columns:
    order = order_by_id(table["objid"].to_numpy())
    objid = table["objid"].to_numpy()[order]
    score = table["score"].to_numpy().astype(np.float32)[order]
    ra, dec, flags = (table[name].to_numpy()[order] for name in ("ra", "dec", "vet_flags"))
    return _Columns(objid, ra, dec, score, flags)


class _Rows:
    """A table's columns at given ids, sorted like them; NaN and 0 where it lacks one (`present` is False)."""

    def __init__(self, table: _Columns, objid: npt.NDArray[np.int64]) -> None:
        at = np.searchsorted(objid, table.objid)
        self.present = np.zeros(len(objid), bool)
        self.present[at] = True
        self.ra, self.dec = np.full(len(objid), np.nan), np.full(len(objid), np.nan)
        self.score = np.full(len(objid), np.nan, np.float32)
        self.flags = np.zeros(len(objid), np.uint32)
        self.ra[at], self.dec[at], self.score[at], self.flags[at] = table.ra, table.dec, table.score, table.flags
