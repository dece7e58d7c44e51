"""Two scans compared: what is new, what is gone, what moved in score and by how much, and why.

Strategy: the fields that both have are gone through one at a time, so that memory holds one field's rows of each. A
field whose catalogues carry one fingerprint in both scans is the same by construction and is not opened. Of others
every score is read, since what is no candidate in one scan may have a score there all the same; logits and stamps are
read as far as fingerprints leave it open why a score moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.diff import TOLERANCE
from pipeline.catalogue.field_rows import Catalogue, FieldRows, open_catalogue
from pipeline.catalogue.scan_diff_changes import field_changes
from pipeline.catalogue.scan_diff_reasons import evidence, flag_reasons, list_reasons, score_reasons, words
from pipeline.catalogue.scan_diff_rows import Bools, Pairs, Side, at, pair, read_side
from pipeline.errors import ProductMismatch, QueryError
from pipeline.io import ownership
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place
from pipeline.schema import Column, arrow_schema

RADIUS = 0.5
"""Arc seconds within which a detection of another id is the same object; a rerun keeps ids as far."""

KINDS = ("new", "gone", "moved", "reflagged")

COLUMNS = (
    Column("field_id", pa.string(), "", "meta.id;obs.field", "the survey's sky unit"),
    Column("kind", pa.string(), "", "meta.code", "new, gone, moved (in score) or reflagged"),
    Column("reason", pa.string(), "", "meta.note", "causes, joined by +"),
    Column("objid_a", pa.int64(), "", "meta.id", "in A; null: no detection", nullable=True),
    Column("objid_b", pa.int64(), "", "meta.id", "in B; null: no detection", nullable=True),
    Column("ra", pa.float64(), "deg", "pos.eq.ra;meta.main", "right ascension in B, else in A, ICRS"),
    Column("dec", pa.float64(), "deg", "pos.eq.dec;meta.main", "declination in B, else in A, ICRS"),
    Column("separation", pa.float64(), "arcsec", "pos.angDistance", "between the two positions", nullable=True),
    Column("score_a", pa.float32(), "", "stat.probability", "in A; null: none", nullable=True),
    Column("score_b", pa.float32(), "", "stat.probability", "in B; null: none", nullable=True),
    Column("score_change", pa.float32(), "", "stat.probability;arith.diff", "B less A", nullable=True),
    Column("candidate_a", pa.bool_(), "", "meta.code", "whether A lists it"),
    Column("candidate_b", pa.bool_(), "", "meta.code", "whether B lists it"),
    Column("vet_flags_a", pa.uint32(), "", "meta.code.qual", "VetFlag bits in A", nullable=True),
    Column("vet_flags_b", pa.uint32(), "", "meta.code.qual", "VetFlag bits in B", nullable=True),
    Column("members_moved", pa.string(), "", "meta.note", "members whose logit moved; null: not known", nullable=True),
    Column("is_primary", pa.bool_(), "", "meta.code", "in B, else in A"),
)
"""One row a difference."""

SCHEMA = arrow_schema(COLUMNS)


@dataclass(frozen=True)
class FieldDifference:
    """One field: `state` is "compared", "same" (one fingerprint), "only a" or "only b"; numbers of rows by kind.

    `changes` are the differences in what the scans were told of the field, as a person reads them.
    """

    field_id: str
    state: str
    counts: Mapping[str, int]
    changes: tuple[str, ...] = ()


@dataclass
class ScanDifference:
    """Two scans compared.

    Attributes
    ----------
    every : bool
        Whether all rows were compared, not candidates alone.
    fields : list of FieldDifference
    counts : Counter
        Rows by kind, and "same".
    reasons : Counter
        Rows by (kind, reason).
    changes : Counter
        Fields by what the scans were told differently.
    """

    every: bool
    fields: list[FieldDifference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)

    def in_state(self, state: str) -> int:
        """How many fields are in a state."""
        return sum(one.state == state for one in self.fields)


def scan_diff(
    first: str | Path | ObjectPath,
    second: str | Path | ObjectPath,
    *,
    radius: float = RADIUS,
    tolerance: float = TOLERANCE,
    every: bool = False,
    keep: Callable[[pa.Table], None] = lambda table: None,
    look: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], None] = lambda a, b: None,
) -> ScanDifference:
    """Compare two scans of one survey, field by field.

    Parameters
    ----------
    first, second : str, Path or ObjectPath
        A and B: scans' outputs, or Parquet exported from them, which tells less of why.
    radius : float
        Arc seconds within which rows of other ids are one object.
    tolerance : float
        A score that moved by more has moved; so has one that came or went.
    every : bool
        Compare every detection; else what is a candidate in either scan.
    keep : callable
        Is given the differences of one field after another, see `COLUMNS`.
    look : callable
        Is given the scores in A and in B of all rows compared, field by field; NaN where there is none.

    Returns
    -------
    ScanDifference

    Raises
    ------
    QueryError
        If a radius or tolerance is none, or a place no catalogue.
    ProductMismatch
        If the two are of different surveys, or a product can't be read.
    """
    if not 0 < radius <= 60 or not 0 <= tolerance < 1:
        raise QueryError(f"radius {radius:g}, tolerance {tolerance:g}: give 0 to 60 arc seconds, and 0 to 1.")
    catalogues = open_catalogue(place(first)), open_catalogue(place(second))
    if every and not all(one.is_scan for one in catalogues):
        raise QueryError(
            "every score can be compared of two scans' outputs only; exported rows are compared as they are."
        )
    by_id = _one_survey(*catalogues)
    result = ScanDifference(every)
    names = sorted({*catalogues[0].fields(), *catalogues[1].fields()})
    for fields in zip(*(one.each(names) for one in catalogues), strict=True):
        _compare(catalogues, fields, result, radius, tolerance, by_id, keep, look)
    return result


def _one_survey(first: Catalogue, second: Catalogue) -> bool:
    """Whether ids mean the same in both; raises ProductMismatch for two surveys."""
    surveys = first.survey, second.survey
    if None not in surveys and surveys[0] != surveys[1]:
        raise ProductMismatch(
            f"{first.path} is of survey {surveys[0]!r}, {second.path} of {surveys[1]!r}: their fields and ids are not "
            "the same. By position alone: lensscan query B --output b.parquet, lensscan crossmatch A --known b.parquet."
        )
    if not (first.is_scan and second.is_scan):
        return True
    releases = [ownership.identity(one.path).get("release") for one in (first, second)]
    return releases[0] == releases[1]


def _compare(
    catalogues: tuple[Catalogue, Catalogue],
    fields: tuple[FieldRows, FieldRows],
    result: ScanDifference,
    radius: float,
    tolerance: float,
    by_id: bool,
    keep: Callable[[pa.Table], None],
    look: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], None],
) -> None:
    field_id = fields[0].field_id
    changes = field_changes(fields[0].live, fields[1].live)
    if not fields[0].done or not fields[1].done:
        # A field that one scan has not finished says nothing of its rows: they are neither new nor gone.
        if fields[0].done or fields[1].done:
            alone = fields[0] if fields[0].done else fields[1]
            state = "only a" if fields[0].done else "only b"
            result.fields.append(FieldDifference(field_id, state, {"rows": len(alone.read(["objid"], result.every))}))
        else:
            result.fields.append(FieldDifference(field_id, "in neither", {}))
        return
    if changes.same.get("candidates"):
        rows = len(fields[0].read(["objid"], result.every))
        result.counts["same"] += rows
        result.fields.append(FieldDifference(field_id, "same", {"same": rows}))
        return
    sides = tuple(
        read_side(rows, every=result.every, is_scan=one.is_scan) for rows, one in zip(fields, catalogues, strict=True)
    )
    assert len(sides) == 2
    pairs = pair(*sides, radius, by_id=by_id)
    wanted = at(sides[0].listed, pairs.first, False) | at(sides[1].listed, pairs.second, False)
    pairs = Pairs(pairs.first[wanted], pairs.second[wanted], pairs.separation[wanted])
    look(at(sides[0].score, pairs.first, np.nan), at(sides[1].score, pairs.second, np.nan))
    outputs = catalogues[0].path, catalogues[1].path
    proof = evidence(outputs, fields, sides, pairs, changes)
    kind, moved = _kinds(sides, pairs, tolerance)
    is_scan = catalogues[0].is_scan, catalogues[1].is_scan
    listing = list_reasons(sides, pairs, changes, moved, is_scan)
    reason = np.where(pairs.both & moved, score_reasons(sides, pairs, changes, proof, tolerance), 0)
    reason = np.where(np.isin(kind, [KINDS.index("new"), KINDS.index("gone")]), reason | listing, reason)
    flagged = kind == KINDS.index("reflagged")
    reason = np.where(flagged, flag_reasons(sides, pairs, changes, proof), reason)
    names = {bits: words(bits) for bits in np.unique(reason).tolist()}
    told = [names[bits] for bits in reason.tolist()]
    counts = Counter({name: int((kind == number).sum()) for number, name in enumerate(KINDS)})
    counts["same"] = int((kind < 0).sum())
    result.counts.update(counts)
    result.reasons.update((KINDS[one], text) for one, text in zip(kind.tolist(), told, strict=True) if one >= 0)
    result.changes.update(changes.told())
    result.fields.append(FieldDifference(field_id, "compared", counts, changes.told()))
    keep(_table(field_id, sides, pairs, kind, told, _members(proof.moved, proof.members)))


def _kinds(sides: tuple[Side, Side], pairs: Pairs, tolerance: float) -> tuple[npt.NDArray[np.int8], Bools]:
    """The kind of each pair by its number in `KINDS`, -1 for the same; and whether its score moved."""
    listed = at(sides[0].listed, pairs.first, False), at(sides[1].listed, pairs.second, False)
    score = at(sides[0].score, pairs.first, np.nan), at(sides[1].score, pairs.second, np.nan)
    flags = at(sides[0].flags, pairs.first, 0), at(sides[1].flags, pairs.second, 0)
    with np.errstate(invalid="ignore"):
        moved = (np.abs(score[1] - score[0]) > tolerance) | (np.isnan(score[0]) != np.isnan(score[1]))
    kind = np.select(
        [~listed[0] & listed[1], listed[0] & ~listed[1], moved, flags[0] != flags[1]], [0, 1, 2, 3], default=-1
    )
    return kind.astype(np.int8), np.asarray(moved, bool)


def _members(moved: Bools | None, names: tuple[str, ...]) -> Callable[[int], str | None]:
    """The members whose logit moved in a pair, joined by a bar."""
    if moved is None:
        return lambda row: None
    return lambda row: "|".join(name for name, one in zip(names, moved[row], strict=True) if one)


def _table(
    field_id: str,
    sides: tuple[Side, Side],
    pairs: Pairs,
    kind: npt.NDArray[np.int8],
    reasons: list[str],
    members: Callable[[int], str | None],
) -> pa.Table:
    """The pairs that differ, the largest change of score first."""
    score = [at(side.score, rows, np.nan) for side, rows in zip(sides, (pairs.first, pairs.second), strict=True)]
    change = score[1] - score[0]
    rows = np.flatnonzero(kind >= 0)
    rows = rows[np.argsort(-np.nan_to_num(np.abs(change[rows]), nan=2.0), kind="stable")]
    first, second = pairs.first[rows], pairs.second[rows]
    here, there = first < 0, second < 0

    def floats(values: npt.NDArray[np.float64]) -> pa.Array:
        return pa.array(values[rows], mask=np.isnan(values[rows]))

    def later(name: str, otherwise: object) -> npt.NDArray[np.generic]:
        old, new = (
            at(getattr(side, name), which, otherwise) for side, which in zip(sides, (first, second), strict=True)
        )
        return np.where(there, old, new)

    columns = [
        pa.array([field_id] * len(rows), pa.string()),
        pa.array([KINDS[one] for one in kind[rows]], pa.string()),
        pa.array([reasons[row] for row in rows], pa.string()),
        pa.array(at(sides[0].objid, first, 0), mask=here),
        pa.array(at(sides[1].objid, second, 0), mask=there),
        pa.array(later("ra", np.nan)),
        pa.array(later("dec", np.nan)),
        floats(pairs.separation),
        floats(score[0]).cast(pa.float32()),
        floats(score[1]).cast(pa.float32()),
        floats(change).cast(pa.float32()),
        pa.array(at(sides[0].listed, first, False)),
        pa.array(at(sides[1].listed, second, False)),
        pa.array(at(sides[0].flags, first, 0), mask=here),
        pa.array(at(sides[1].flags, second, 0), mask=there),
        pa.array([members(int(row)) for row in rows], pa.string()),
        pa.array(later("primary", True)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)
