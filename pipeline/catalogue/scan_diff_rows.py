"""Rows of one field in two scans side by side: the same object by id, else by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.spatial import KDTree

from pipeline.catalogue.diff import order_by_id
from pipeline.catalogue.field_rows import FieldRows
from pipeline.catalogue.known import arcsec_chord, chord_arcsec
from pipeline.geometry import unit_vectors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_FIXED = ("objid", "ra", "dec", "score", "vet_flags", "artefact_fraction", "valid_fraction", "is_primary")

_NOT_MEMBERS = {"score_std"}


@dataclass(frozen=True)
class Side:
    """One scan's rows of a field.

    Attributes
    ----------
    objid : int64 (n,)
    ra, dec : float64 (n,), degrees
    score : float64 (n,)
        NaN where there is none.
    flags : uint32 (n,)
    fractions : float64 (n, 2)
        Artefact and valid fraction; NaN where the table has none.
    primary : bool (n,)
    listed : bool (n,)
        Whether the row is in what is compared: a candidate, or any row.
    members : tuple of str
    member_scores : float64 (n, members)
    """

    objid: Ints
    ra: Floats
    dec: Floats
    score: Floats
    flags: npt.NDArray[np.uint32]
    fractions: Floats
    primary: Bools
    listed: Bools
    members: tuple[str, ...]
    member_scores: Floats

    def __len__(self) -> int:
        return len(self.objid)


@dataclass(frozen=True)
class Pairs:
    """Rows side by side: of A and of B, -1 where one has no such row.

    Attributes
    ----------
    first, second : int64 (n,)
        Row numbers.
    separation : float64 (n,), arcsec
        NaN where there is one row alone.
    """

    first: Ints
    second: Ints
    separation: Floats

    @property
    def both(self) -> Bools:
        """Where both have a row."""
        return (self.first >= 0) & (self.second >= 0)


def read_side(rows: FieldRows, *, every: bool, is_scan: bool) -> Side:
    """One scan's rows of a field: every score of a scan, so that what is no candidate still has its score here.

    Parameters
    ----------
    rows : FieldRows
    every : bool
        Compare all rows, not candidates alone.
    is_scan : bool
        Exported rows are all listed.

    Raises
    ------
    ProductMismatch
        If a file can't be read, or an id stands in it twice.
    """
    table = _score_columns(rows) if is_scan else rows.read(None, False)
    objid = table["objid"].to_numpy()
    order_by_id(objid)
    members = tuple(
        name.removeprefix("score_")
        for name in table.column_names
        if name.startswith("score_") and name not in _NOT_MEMBERS
    )
    listed = np.ones(len(table), bool)
    if is_scan and not every:
        listed = np.asarray(np.isin(objid, rows.read(["objid"], False)["objid"].to_numpy()), bool)
    scores = [_floats(table, f"score_{member}") for member in members]
    return Side(
        objid=objid,
        ra=_floats(table, "ra"),
        dec=_floats(table, "dec"),
        score=_floats(table, "score"),
        flags=np.asarray(
            table["vet_flags"].to_numpy() if "vet_flags" in table.column_names else np.zeros(len(table)), np.uint32
        ),
        fractions=np.stack([_floats(table, "artefact_fraction"), _floats(table, "valid_fraction")], axis=1),
        primary=np.asarray(
            table["is_primary"].to_numpy() if "is_primary" in table.column_names else np.ones(len(table)), bool
        ),
        listed=listed,
        members=members,
        member_scores=np.stack(scores, axis=1) if scores else np.empty((len(table), 0)),
    )


def _score_columns(rows: FieldRows) -> pa.Table:
    """The columns of a scan's scores that are compared; its packages name the members, and more."""
    manifest = rows.live.get("candidates")
    packages = manifest.provenance.get("packages", {}) if manifest is not None else {}
    return rows.read([*_FIXED, *(f"score_{name}" for name in packages)], True)


def pair(first: Side, second: Side, radius: float, *, by_id: bool = True) -> Pairs:
    """Match the rows of two scans of a field: one id, else the nearest of each other within a radius.

    Parameters
    ----------
    first, second : Side
    radius : float
        Arc seconds.
    by_id : bool
        Ids mean the same in both; not so where the releases differ.
    """
    ids = np.intersect1d(first.objid, second.objid, return_indices=True)[1:] if by_id else (_none(), _none())
    left, right = ids[0].astype(np.int64), ids[1].astype(np.int64)
    free_left, free_right = _others(len(first), left), _others(len(second), right)
    near_left, near_right = _mutual(
        unit_vectors(first.ra[free_left], first.dec[free_left]),
        unit_vectors(second.ra[free_right], second.dec[free_right]),
        radius,
    )
    left, right = np.r_[left, free_left[near_left]], np.r_[right, free_right[near_right]]
    alone_left, alone_right = _others(len(first), left), _others(len(second), right)
    chord = np.linalg.norm(
        unit_vectors(first.ra[left], first.dec[left]).reshape(-1, 3)
        - unit_vectors(second.ra[right], second.dec[right]).reshape(-1, 3),
        axis=1,
    )
    lonely = np.full(len(alone_left) + len(alone_right), np.nan)
    return Pairs(
        np.r_[left, alone_left, np.full(len(alone_right), -1, np.int64)],
        np.r_[right, np.full(len(alone_left), -1, np.int64), alone_right],
        np.r_[chord_arcsec(chord), lonely],
    )


def at(values: npt.NDArray[Any], rows: Ints, otherwise: Any) -> npt.NDArray[Any]:
    """Values of rows, something else where there is no row."""
    answer = np.full((len(rows), *values.shape[1:]), otherwise, values.dtype)
    there = rows >= 0
    answer[there] = values[rows[there]]
    return answer


def aligned(values: npt.NDArray[Any], objid: Ints, wanted: Ints) -> npt.NDArray[np.float64]:
    """Rows of a table, whose ids are `objid`, in the order of other ids; NaN where it has none of them."""
    answer = np.full((len(wanted), *values.shape[1:]), np.nan)
    if len(objid):
        order = np.argsort(objid, kind="stable")
        place = np.minimum(np.searchsorted(objid[order], wanted), len(objid) - 1)
        found = objid[order][place] == wanted
        answer[found] = values[order[place[found]]]
    return answer


def table_columns(table: pa.Table, names: Sequence[str]) -> Floats:
    """Columns of a table as float64 (n, columns), NaN where null or missing."""
    return np.stack([_floats(table, name) for name in names], axis=1) if names else np.empty((len(table), 0))


def _mutual(left: Floats, right: Floats, radius: float) -> tuple[Ints, Ints]:
    """Those that are each other's nearest within a radius; what has no position has no neighbour."""
    left, right = left.reshape(-1, 3), right.reshape(-1, 3)
    if not len(left) or not len(right):
        return _none(), _none()
    # Far apart off the sphere, one on each side.
    here = np.where(np.isfinite(left), left, 9.0)
    there = np.where(np.isfinite(right), right, -9.0)
    reach = arcsec_chord(radius) * (1 + 1e-9)
    forward = KDTree(there).query(here, distance_upper_bound=reach)[1]
    backward = KDTree(here).query(there, distance_upper_bound=reach)[1]
    found = np.flatnonzero(forward < len(right))
    found = found[backward[forward[found]] == found]
    return found.astype(np.int64), forward[found].astype(np.int64)


def _others(count: int, used: Ints) -> Ints:
    free = np.ones(count, bool)
    free[used] = False
    return np.flatnonzero(free).astype(np.int64)


def _none() -> Ints:
    return np.empty(0, np.int64)


def _floats(table: pa.Table, name: str) -> Floats:
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    return np.asarray(table[name].to_numpy(), np.float64)
