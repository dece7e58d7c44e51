"""What a cross-match found, as tables and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.catalogue.chart import INKS, Chart
from pipeline.catalogue.crossmatch import Crossmatch
from pipeline.catalogue.interval import wilson
from pipeline.catalogue.known_choice import grade_order
from pipeline.catalogue.recovered import ALL, COVERED, RecoveredRow, State
from pipeline.flags import VetFlag
from pipeline.io.tables import build_table
from pipeline.schema import Column

KNOWN = (
    Column("name", pa.string(), "", "meta.id;meta.main", "of the best graded entry"),
    Column("aliases", pa.string(), "", "meta.id", "names of its other entries, separated by |"),
    Column("entries", pa.int64(), "", "meta.number", "entries of the list for this lens"),
    Column("ra", pa.float64(), "deg", "pos.eq.ra;meta.main", "right ascension as published"),
    Column("dec", pa.float64(), "deg", "pos.eq.dec;meta.main", "declination as published"),
    Column("grade", pa.string(), "", "meta.code.qual", "as the list has it"),
    Column("kind", pa.string(), "", "meta.code.class", "as the list has it"),
    Column("reference", pa.string(), "", "meta.ref", "as the list has it"),
    Column("state", pa.string(), "", "meta.code.status", "what became of it in the scan"),
    Column("field_id", pa.string(), "", "meta.id;obs.field", "of the row; null: none", nullable=True),
    Column("objid", pa.int64(), "", "meta.id.cross", "of the row; null: none", nullable=True),
    Column("separation", pa.float64(), "arcsec", "pos.angDistance", "of the row; null: none", nullable=True),
    Column("score", pa.float64(), "", "stat.probability", "of the row; null: none", nullable=True),
    Column("vet_flags", pa.uint32(), "", "meta.code.qual", "of the row, KNOWN_LENS set; null: none", nullable=True),
    Column("is_primary", pa.bool_(), "", "meta.code", "whether the row is its object's own; null: none", nullable=True),
)
"""One row a known lens that lies in the scan, whether or not it was found."""

_GRADES_SHOWN = len(INKS) - 1


def known_table(result: Crossmatch, *, outside: bool = False) -> pa.Table:
    """What became of each known lens; those outside of the scan are left out unless asked for."""
    chosen = np.flatnonzero(outside | (result.state != State.OUTSIDE))
    lenses, free = result.known.lenses, ~result.matched[chosen]

    def given(values: Any) -> Any:
        return np.ma.MaskedArray(values[chosen], mask=free)

    score = result.score[chosen]
    return build_table(
        KNOWN,
        {
            "name": lenses.name[chosen].tolist(),
            "aliases": result.known.aliases[chosen].tolist(),
            "entries": result.known.entries[chosen],
            "ra": lenses.ra[chosen],
            "dec": lenses.dec[chosen],
            "grade": lenses.grade[chosen].tolist(),
            "kind": lenses.kind[chosen].tolist(),
            "reference": lenses.reference[chosen].tolist(),
            "state": [State(code).words for code in result.state[chosen]],
            "field_id": [None if bare else name for name, bare in zip(result.field_id[chosen], free, strict=True)],
            "objid": given(result.objid),
            "separation": result.separation[chosen],
            "score": score,
            "vet_flags": given(result.vet_flags | np.uint32(VetFlag.KNOWN_LENS)),
            "is_primary": given(result.is_primary),
        },
    )


def recovered_table(rows: Sequence[RecoveredRow]) -> pa.Table:
    """The recovered share by grade and threshold; null where there was nothing to recover."""

    def part(name: str, index: int) -> pa.Array:
        shares = [getattr(row, name) for row in rows]
        return pa.array([None if share is None else share[index] for share in shares], pa.float64())

    columns: dict[str, Any] = {
        "grade": [row.grade for row in rows],
        "threshold": [row.threshold for row in rows],
        "recovered": [row.recovered for row in rows],
        "covered": [row.covered for row in rows],
        "scored": [row.scored for row in rows],
    }
    for name in ("of_covered", "of_scored"):
        for index, suffix in enumerate(("", "_low", "_high")):
            columns[name + suffix] = part(name, index)
    return pa.table(columns)


def recovered_plot(result: Crossmatch) -> bytes:
    """The share of the known lenses covered that has at least a score, against that score, as SVG.

    One line a grade, of the best five, and one for all of them with its 68 % Wilson interval.
    """
    covered = np.isin(result.state, COVERED)
    if (result.state == State.UNKNOWN).any():
        covered[:] = False  # a share of those found alone would be of none missed
    score, grades = result.score[covered], result.known.lenses.grade[covered]
    present = score[np.isfinite(score) & (score > 0)]
    low = min(1e-4, float(present.min()) / 2) if present.size else 1e-4
    chart = Chart(
        "Known lenses recovered", "score at least", "share of the known lenses covered", (max(low, 1e-8), 0.9999)
    )
    groups = [(ALL, np.ones(len(score), bool))]
    if len(set(grades)) > 1:
        groups += [(grade, grades == grade) for grade in grade_order(grades.tolist())[:_GRADES_SHOWN]]
    told = []
    for ink, (name, mine) in zip(INKS, groups, strict=False):
        total = int(mine.sum())
        if not total:
            continue
        x, share = _steps(score[mine], chart.x_range)
        if name == ALL:
            low_high = np.array([wilson(value, total) for value in share])
            chart.band(x, low_high[:, 0], low_high[:, 1], ink)
        chart.line(x, share, ink, f"{name or 'no grade'} ({total:,})")
        told.append(f"{name or 'no grade'}: {total} lenses, {np.isfinite(score[mine]).sum()} with a score")
    return chart.svg("; ".join(told) or "no known lens lies where the scan is known to have looked")


def _steps(score: Any, span: tuple[float, float]) -> tuple[Any, Any]:
    """A falling staircase: the share of scores at or above each one, NaN below all."""
    values = np.sort(score[np.isfinite(score)])
    edges = np.clip(values, *span)
    share = (len(values) - np.arange(len(values))) / len(score)
    after = np.r_[share[1:], 0.0] if len(values) else share
    x = np.r_[span[0], np.repeat(edges, 2), span[1]]
    first = share[0] if len(share) else 0.0
    return x, np.r_[first, np.stack([share, after], axis=1).ravel(), 0.0]
