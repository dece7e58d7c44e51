"""Cross-match a catalogue with known lenses: which candidates are known, which known lenses were found, what is new.

A scan's own products are not changed: lists of known lenses grow every month, and a scan that read one would be stale
with each. The marks go into a table of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.spatial import KDTree

from pipeline.catalogue.field_rows import Catalogue, FieldRows, open_catalogue, read_some
from pipeline.catalogue.field_shape import FieldShape, field_shape, uncovered
from pipeline.catalogue.known import ARCSEC, KnownLenses, arcsec_chord, chord_arcsec, nearest, read_known
from pipeline.catalogue.known_choice import KnownSystems, choose, systems
from pipeline.catalogue.marks import MARKS, RADIUS, mark_known
from pipeline.catalogue.recovered import State
from pipeline.catalogue.region import Region
from pipeline.errors import QueryError
from pipeline.geometry import Footprint, unit_vectors
from pipeline.io.footprints import read_footprints
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place, place

__all__ = [
    "MARKS",
    "RADIUS",
    "Crossmatch",
    "KnownLenses",
    "KnownSystems",
    "choose",
    "crossmatch",
    "mark_known",
    "nearest",
    "read_known",
    "systems",
]

_MATCHED = ("objid", "ra", "dec", "score", "vet_flags", "is_primary")

CHANCE_ARCSEC = 30.0
"""How far known positions are moved, in eight directions, to count what matches by chance."""


@dataclass
class Crossmatch:
    """What became of known lenses, one element a system of `known`.

    Attributes
    ----------
    known : KnownSystems
    radius : float, arcsec
    state : int8 (n,)
        See `State`.
    field_id : object array of str (n,)
        Of the row that the lens was matched with; empty where there is none, as below.
    objid : int64 (n,)
        -1 where there is none, which no test of its own should rest on.
    separation : float64 (n,), arcsec
        NaN where there is none.
    score : float64 (n,)
        NaN where there is none.
    vet_flags : uint32 (n,)
    is_primary : bool (n,)
    rows, marked, new : int
        Candidates (or scores) gone through, those with a known lens, and primary ones without that have at least
        `min_score`.
    by_chance : float
        Candidates that would match if the lenses were elsewhere nearby: the mean over eight shifts of the list.
    fields, unfinished : int
        Fields gone through, and those of them that have no catalogue.
    """

    known: KnownSystems
    radius: float
    state: npt.NDArray[np.int8]
    field_id: npt.NDArray[np.object_]
    objid: npt.NDArray[np.int64]
    separation: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    vet_flags: npt.NDArray[np.uint32]
    is_primary: npt.NDArray[np.bool_]
    rows: int = 0
    marked: int = 0
    new: int = 0
    by_chance: float = 0.0
    fields: int = 0
    unfinished: int = 0
    vectors: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """Which lenses have a row."""
        return np.isfinite(self.separation)


def crossmatch(
    path: str | Path | ObjectPath,
    known: KnownLenses,
    *,
    radius: float = RADIUS,
    every: bool = False,
    min_score: float = 0.5,
    region: Region | None = None,
    keep: Callable[[pa.Table], None] = lambda table: None,
    keep_new: Callable[[pa.Table], None] = lambda table: None,
) -> Crossmatch:
    """Match a scan's rows, field by field, with known lenses.

    Parameters
    ----------
    path : str, Path or ObjectPath
        A scan's output, or Parquet exported from one; only a scan tells what could have been found.
    known : KnownLenses
        As chosen; entries within `radius` of each other become one system.
    radius : float
        Arc seconds.
    every : bool
        Mark every score instead of the candidates.
    min_score : float
        Lowest score of what counts as new.
    region : Region, optional
        What the survey covers: lenses outside of it are `OUTSIDE`, whatever the fields say.
    keep, keep_new : callable
        Are given the marked rows of one field after another, and of them what is new.

    Returns
    -------
    Crossmatch

    Raises
    ------
    QueryError
        If the radius is no angle, `min_score` is not finite, `path` is no catalogue, or `every` is asked of exported
        Parquet.
    ProductMismatch
        If a file of the scan can't be read.
    """
    if not 0 < radius <= 3600:
        raise QueryError(f"radius {radius:g}: give arc seconds, more than 0 and at most 3600.")
    if not np.isfinite(min_score):
        raise QueryError(f"min_score: {min_score} is not a number between 0 and 1.")
    catalogue = open_catalogue(place(path))
    if every and not catalogue.is_scan:
        raise QueryError(f"{path} is not a scan's output: only that has scores besides its candidates.")
    once = systems(known, radius)
    result = _nothing(once, radius, State.OUTSIDE if catalogue.is_scan else State.UNKNOWN)
    footprints = _footprints(catalogue)
    names = sorted({*catalogue.fields(), *footprints})
    for rows in catalogue.each(names):
        result.fields += 1
        result.unfinished += not rows.done
        if catalogue.is_scan:
            _match_field(catalogue, rows, footprints.get(rows.field_id), result)
        else:
            table = rows.read(_MATCHED, False)
            _match_rows(table, None, rows.field_id, _lenses_near(table, result), result)
        if rows.done:
            marked = mark_known(rows.read(None, every), once, radius)
            _count(marked, min_score, result, keep_new)
            keep(marked)
    if region is not None:
        covered = region.inside(once.lenses.ra, once.lenses.dec)
        result.state[np.flatnonzero(covered & (result.state == State.UNKNOWN))] = State.NOT_LISTED
        result.state[np.flatnonzero(~covered & ~result.matched)] = State.OUTSIDE
    return result


def _nothing(known: KnownSystems, radius: float, state: State) -> Crossmatch:
    count = len(known)
    names = np.full(count, "", object)
    return Crossmatch(
        known,
        radius,
        np.full(count, state, np.int8),
        names,
        np.full(count, -1, np.int64),
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.zeros(count, np.uint32),
        np.zeros(count, bool),
        vectors=unit_vectors(known.lenses.ra, known.lenses.dec).reshape(-1, 3),
    )


def _footprints(catalogue: Catalogue) -> dict[str, Footprint]:
    if not catalogue.is_scan:
        return {}
    remembered = read_footprints(catalogue.path).footprints
    found = {name: remembered.get(number) for number, name in enumerate(remembered.ids)}
    return {name: footprint for name, footprint in found.items() if footprint is not None}


def _match_field(catalogue: Catalogue, rows: FieldRows, footprint: Footprint | None, result: Crossmatch) -> None:
    """Settle what is known of the lenses that lie in one field; a field without any opens no table."""
    lenses, tree = result.known.lenses, result.known.lenses.tree
    if footprint is not None:
        reach = arcsec_chord(footprint.radius * ARCSEC + result.radius)
        near = np.array(sorted(tree.query_ball_point(footprint.centre, reach)), np.int64)
        if not len(near):
            return
    else:
        near = np.arange(len(lenses))
    shape, detections = _shape(catalogue.path, rows, footprint)
    if shape is None:
        return
    inside = shape.inside(lenses.ra[near], lenses.dec[near])
    rim = near[~inside]
    rim = rim[_within_reach(shape, result.vectors[rim], result.radius)] if rows.done else rim[:0]
    near = near[inside]
    if not len(near) and not len(rim):
        return
    if not rows.done:
        _settle(result, near, State.NOT_SCANNED)
        return
    area = 2 * np.pi * (1 - np.cos(shape.radius)) if footprint is None else footprint.area / (60 * np.degrees(1)) ** 2
    bare = uncovered(result.vectors[near], detections, float(area))
    _settle(result, near[bare], State.NO_COVERAGE)
    _settle(result, near[~bare], State.NOT_DETECTED)
    candidates = rows.read(["objid"], False)["objid"].to_numpy()
    _match_rows(rows.read(_MATCHED, True), candidates, rows.field_id, near, result, rim)


def _within_reach(shape: FieldShape, vectors: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.bool_]:
    """Which positions outside a field are near enough to it for a detection in it to be within the radius (arcsec)."""
    found = np.zeros(len(vectors), bool)
    for moved in _around(vectors, arcsec_chord(radius / np.cos(np.pi / 8))):
        found |= shape.inside(np.degrees(np.arctan2(moved[:, 1], moved[:, 0])), np.degrees(np.arcsin(moved[:, 2])))
    return found


def _around(vectors: npt.NDArray[np.float64], step: float) -> Iterator[npt.NDArray[np.float64]]:
    """The positions moved by a step in eight directions, one after another."""
    east = np.cross(np.where(np.abs(vectors[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]), vectors)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    north = np.cross(vectors, east)
    for angle in np.arange(8) * np.pi / 4:
        moved = vectors + step * (np.cos(angle) * east + np.sin(angle) * north)
        yield moved / np.linalg.norm(moved, axis=1, keepdims=True)


def _shape(
    output: Place, rows: FieldRows, footprint: Footprint | None
) -> tuple[FieldShape | None, npt.NDArray[np.float64]]:
    """A field's outline, and its detections as unit vectors."""
    manifest = rows.live.get("detect")
    if manifest is None or "detections.parquet" not in manifest.files:
        nothing = np.empty(0)
        return field_shape(nothing, nothing, nothing, nothing, footprint), np.empty((0, 3))
    table = read_some(output / manifest.place / "detections.parquet", ["ra", "dec", "x", "y"])
    ra, dec, x, y = (table[name].to_numpy() for name in ("ra", "dec", "x", "y"))
    return field_shape(ra, dec, x, y, footprint), unit_vectors(ra, dec).reshape(-1, 3)


def _lenses_near(table: pa.Table, result: Crossmatch) -> npt.NDArray[np.int64]:
    """Lenses in the circle that holds a field's rows, and a little around it."""
    vectors = unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy()).reshape(-1, 3)
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    if not len(vectors) or not len(result.known):
        return np.empty(0, np.int64)
    centre = vectors.mean(axis=0)
    reach = float(np.linalg.norm(vectors - centre, axis=1).max()) + arcsec_chord(4 * CHANCE_ARCSEC)
    return np.array(sorted(result.known.lenses.tree.query_ball_point(centre, reach)), np.int64)


def _settle(result: Crossmatch, lenses: npt.NDArray[np.int64], state: State) -> None:
    """Raise the state of lenses that have no row yet."""
    free = lenses[~result.matched[lenses]]
    result.state[free] = np.maximum(result.state[free], np.int8(state))


def _match_rows(
    table: pa.Table,
    candidates: npt.NDArray[np.int64] | None,
    field_id: str,
    lenses: npt.NDArray[np.int64],
    result: Crossmatch,
    rim: npt.NDArray[np.int64] | None = None,
) -> None:
    """Give each lens its best row of one field: a primary one before others, then by score, then by distance.

    Lenses of the `rim` lie just outside the field; they are no part of the number that chance would give.
    """
    absent = [name for name in ("objid", "ra", "dec", "score") if name not in table.column_names]
    if absent or not len(table):
        return
    objid = table["objid"].to_numpy()
    score = table["score"].to_numpy().astype(np.float64)
    primary = _column(table, "is_primary", True, np.bool_)
    flags = _column(table, "vet_flags", 0, np.uint32)
    vectors = unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy()).reshape(-1, 3)
    placed = np.asarray(np.isfinite(vectors).all(axis=1))
    tree = KDTree(np.where(placed[:, None], vectors, 9.0))  # what has no position is near nothing on the sphere
    reach = arcsec_chord(result.radius)
    listed = np.ones(len(table), bool) if candidates is None else np.asarray(np.isin(objid, candidates), bool)
    every = lenses if rim is None else np.concatenate([lenses, rim])
    for lens, found in zip(every.tolist(), tree.query_ball_point(result.vectors[every], reach), strict=True):
        if not found:
            continue
        near = np.array(found)
        apart = chord_arcsec(np.linalg.norm(vectors[near] - result.vectors[lens], axis=1))
        order = np.lexsort((apart, -np.nan_to_num(score[near], nan=-1.0), ~primary[near]))
        row, distance = int(near[order[0]]), float(apart[order[0]])
        state = State.NO_SCORE if np.isnan(score[row]) else State.CANDIDATE if listed[row] else State.BELOW_FLOOR
        if result.matched[lens] and (bool(result.is_primary[lens]), result.state[lens]) >= (bool(primary[row]), state):
            continue
        result.state[lens], result.field_id[lens], result.objid[lens] = state, field_id, objid[row]
        result.separation[lens], result.score[lens] = distance, score[row]
        result.vet_flags[lens], result.is_primary[lens] = flags[row], primary[row]
    result.by_chance += _by_chance(tree, primary & listed, lenses, result)


def _by_chance(
    tree: KDTree, counted: npt.NDArray[np.bool_], lenses: npt.NDArray[np.int64], result: Crossmatch
) -> float:
    """Mean number of lenses that have a primary candidate within the radius after a shift."""
    vectors = result.vectors[lenses]
    step = arcsec_chord(max(CHANCE_ARCSEC, 3 * result.radius))
    hits = 0
    for moved in _around(vectors, step):
        found = tree.query_ball_point(moved, arcsec_chord(result.radius))
        hits += sum(any(counted[row] for row in rows) for rows in found)
    return hits / 8


def _count(marked: pa.Table, min_score: float, result: Crossmatch, keep_new: Callable[[pa.Table], None]) -> None:
    known = marked["known_separation"].is_valid().to_numpy()
    score = marked["score"].to_numpy().astype(np.float64)
    primary = _column(marked, "is_primary", True, np.bool_)
    new = ~known & primary & (score >= np.float32(min_score))
    result.rows += len(marked)
    result.marked += int(known.sum())
    result.new += int(new.sum())
    if new.any():
        keep_new(marked.filter(pa.array(new)))


def _column(table: pa.Table, name: str, otherwise: int, kind: type[np.generic]) -> npt.NDArray[Any]:
    """A column, or one value throughout where the table lacks it."""
    if name not in table.column_names:
        return np.full(len(table), otherwise, kind)
    return np.asarray(table[name].to_numpy(), kind)
