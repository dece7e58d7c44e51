"""Fields whose scores lie elsewhere than the survey's, with what may explain it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.drift import EFFECT, FALSE_DISCOVERIES, FEWEST, RATIO, Drift
from pipeline.catalogue.report_facts import FieldConditions, FieldTable
from pipeline.catalogue.report_html import fixed, name, per_cent, rest, score, section, table

MOST_ROWS = 40
_CALM_ROWS = 5
"""Fields shown where none alarms: those that come the nearest to it."""

Floats = npt.NDArray[np.float64]


def _shifted(value: float, usual: float) -> bool:
    """Whether a share differs by three in a hundred."""
    return abs(value - usual) >= 0.03


_CONDITIONS: tuple[tuple[str, str, Callable[[float], str], Callable[[float, float], bool]], ...] = (
    ("seeing", "seeing", lambda value: f"{value:.2f}″", lambda value, usual: abs(value / usual - 1) >= 0.1),
    ("depth", "depth", lambda value: f"{value:.2f} mag", lambda value, usual: abs(value - usual) >= 0.2),
    ("artefacts", "artefacts", per_cent, _shifted),
    ("unscored", "no score", per_cent, _shifted),
    (
        "density",
        "detections",
        lambda value: f"{value:.1f} arcmin⁻²",
        lambda value, usual: not 0.75 <= value / usual <= 4 / 3,
    ),
)
"""Attribute of `FieldConditions`, what it is called, how it is written, and when it is worth a word."""


def drift(found: Drift | None, conditions: FieldConditions | None, fields: FieldTable) -> str:
    """The section of drift; empty before any score is there."""
    if found is None or conditions is None:
        return ""
    asked, alarms = int(found.asked.sum()), int(found.alarm.sum())
    scored = int((conditions.detections > 0).sum())
    if not asked:
        few = "One field has no other to be held against." if scored == 1 else f"None has {FEWEST} detections to judge."
        return section("Drift", f"<p>{few}</p>")
    order = _order(found)
    shown = order[: min(MOST_ROWS, alarms) if alarms else _CALM_ROWS]
    rows = [_row(row, found, conditions, fields) for row in shown]
    head = ("field", "detections", "median score", "effect w", "candidates", "expected", "q", "scores", "what differs")
    body = table(head, rows, label="Fields by how far their scores depart", words=(8,))
    heading = (
        f'<p class="alarm"><b>{alarms:,}</b> of {asked:,} fields depart from the survey.</p>'
        if alarms
        else f"<p><b>No alarm</b> in {asked:,} fields; the {len(shown)} that come nearest to one:</p>"
    )
    return section("Drift", heading + body + rest(alarms, MOST_ROWS, "the worst are shown") + _told(found, scored))


def explain(row: int, conditions: FieldConditions) -> list[str]:
    """What is unusual about a field, by name and beside the survey's usual value (the median field's)."""
    words = []
    for attribute, called, write, matters in _CONDITIONS:
        values: Floats = getattr(conditions, attribute)
        known = values[np.isfinite(values)]
        if not np.isfinite(values[row]) or len(known) < 2:
            continue
        value, usual = float(values[row]), float(np.median(known))
        scatter = 1.4826 * float(np.median(np.abs(known - usual)))
        # A few fields have no scatter to speak of; there the size of the difference alone decides.
        if matters(value, usual) and (len(known) < 8 or abs(value - usual) > 3 * scatter):
            words.append(f"{called} {write(value)} (usual {write(usual)})")
    return words


def _order(found: Drift) -> npt.NDArray[np.int64]:
    """Fields that were asked: alarms first, then by how far they depart."""
    rows = np.flatnonzero(found.asked)
    with np.errstate(divide="ignore"):
        count = np.minimum(np.abs(np.log(np.maximum(found.ratio[rows], 1e-3))) / np.log(RATIO), 10.0)
    departs = np.maximum(found.effect[rows] / EFFECT, np.where(found.q_value[rows] <= FALSE_DISCOVERIES, count, 0))
    order: npt.NDArray[np.int64] = rows[np.lexsort((rows, -departs, ~found.alarm[rows]))]
    return order


def _row(row: int, found: Drift, conditions: FieldConditions, fields: FieldTable) -> Sequence[str]:
    q = found.q_value[row]
    return (
        name(fields.ids[row]),
        fixed(conditions.detections[row], 0),
        score(10 ** conditions.median[row]),
        fixed(found.effect[row], 2),
        fixed(conditions.candidates[row], 0),
        fixed(found.expected[row], 1),
        "&lt; 1e-6" if q < 1e-6 else f"{q:.1g}",
        _bars(found.shares[row]),
        "; ".join(explain(row, conditions)) or "–",
    )


def _bars(shares: Floats) -> str:
    """A field's detections by the survey's bins of equal shares: level where it is as the survey."""
    even, most = 1 / len(shares), max(float(np.nanmax(shares)), 2 / len(shares))
    bars = "".join(
        f'<path d="M{8 * place + 1} 22v{-20 * value / most:.1f}h6V22Z"/>' for place, value in enumerate(shares.tolist())
    )
    level, words = 22 - 20 * even / most, ", ".join(f"{100 * value:.0f}" for value in shares.tolist())
    return (
        f'<svg class="bars" viewBox="0 0 {8 * len(shares)} 24" role="img" '
        f'aria-label="Shares from low to high scores, per cent: {words}">{bars}'
        f'<path class="even" d="M0 {level:.1f}H{8 * len(shares)}"/></svg>'
    )


def _told(found: Drift, scored: int) -> str:
    unasked = scored - int(found.asked.sum())
    notes = [
        f"Primary detections with a score and no vet flag, each field against all others: chi-square over bins that "
        f"hold equal shares of the survey, and the binomial count of candidates. An alarm is significant at "
        f"{100 * FALSE_DISCOVERIES:g} % false discoveries (Benjamini–Hochberg) and large: w of {EFFECT:g} or more "
        f"(about a shift of {EFFECT:g} of the scores' scatter), or {RATIO:g} times the candidates, or as few.",
        "Bars: the field's scores from low to high; the line is the survey.",
    ]
    if found.spread:
        notes.append(f"Fields of this survey differ by w = {found.spread:.2f} in general, which is allowed for.")
    if unasked:
        notes.append(f"{unasked:,} fields have fewer than {FEWEST} such detections and were not asked.")
    if len(found.asked) > 1 and found.asked.sum() <= 3:
        notes.append("With so few fields an alarm says that they differ, not which of them is wrong.")
    return f'<p class="note">{" ".join(notes)}</p>'
