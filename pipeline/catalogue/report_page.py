"""The HTML of a scan's report. Everything is escaped; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from pipeline.catalogue.purity import PurityRow
from pipeline.catalogue.report_facts import CandidateFacts, FieldFacts, ReportFacts, ScoreHistogram
from pipeline.flags import VetFlag, describe
from pipeline.provenance import STAGES

MOST_FIELDS = 300
"""Rows of the table of fields; failed ones come first."""

_COUNTS = ("detections", "cutouts", "scored", "unscorable", "stopped", "candidates")
_FORECAST = (
    ("fields", "fields"),
    ("objects", "objects"),
    ("wall time, s", "seconds"),
    ("read, MB", "bytes_in"),
    ("written, MB", "bytes_out"),
    ("memory, MB", "memory_mb"),
    ("scoring, worker s", "device_seconds"),
)


def page(facts: ReportFacts) -> str:
    """The whole document."""
    style = files("pipeline.catalogue").joinpath("report.css").read_text()
    body = [
        _header(facts),
        _failures(facts.fields),
        _notes(facts.fields),
        _candidates(facts),
        _scores(facts.scores),
        _purity(facts.purity),
        _fields(facts.fields),
        _forecast(facts.forecast, facts.actual),
        _flags(facts.scores),
        _provenance(facts),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(facts.scan_id)} – lens scan</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _header(facts: ReportFacts) -> str:
    totals = facts.totals
    failed = sum(field.reason is not None for field in facts.fields)
    tiles = [("fields", len(facts.fields)), *((name, totals[name]) for name in ("detections", "scored", "candidates"))]
    cells = "".join(f"<div><b>{number:,}</b><span>{name}</span></div>" for name, number in tiles)
    cells += f'<div class="{"bad" if failed else ""}"><b>{failed:,}</b><span>failed</span></div>'
    return (
        f"<header><p>{escape(facts.survey)} {escape(facts.release)}</p><h1>{escape(facts.scan_id)}</h1></header>"
        f'<section class="tiles">{cells}</section>'
    )


def _failures(fields: Sequence[FieldFacts]) -> str:
    rows = [field for field in fields if field.reason is not None]
    if not rows:
        return ""
    items = "".join(
        f"<li><b>{escape(field.field_id)}</b> at {_failed_stage(field)}: {escape(str(field.reason))}</li>"
        for field in rows[:MOST_FIELDS]
    )
    return (
        f'<section class="warning"><h2>Failed fields</h2><ul>{items}</ul>{_rest(len(rows))}'
        "<p>Mend the input, then <code>lensscan field SCAN.toml FIELD</code>.</p></section>"
    )


def _notes(fields: Sequence[FieldFacts]) -> str:
    rows = [(field.field_id, text) for field in fields for text in field.notes]
    if not rows:
        return ""
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in rows[:MOST_FIELDS])
    return f"<section><h2>Notes on fields</h2><ul>{items}</ul>{_rest(len(rows))}</section>"


def _failed_stage(field: FieldFacts) -> str:
    return next((stage for stage, state in zip(STAGES, field.states, strict=True) if state == "failed"), "start")


def _candidates(facts: ReportFacts) -> str:
    if facts.scores is None:
        return "<section><h2>Candidates</h2><p>No scores: the scan has no ensemble, or is not done.</p></section>"
    if not facts.candidates:
        return "<section><h2>Candidates</h2><p>No detection has a score that passes the floor.</p></section>"
    cards = "".join(_card(number, row) for number, row in enumerate(facts.candidates, start=1))
    shown = len(facts.candidates)
    return (
        f"<section><h2>Best candidates</h2><p>The {shown:,} best of {facts.totals['candidates']:,}, each object of "
        "overlapping fields once. Red outlines: pixels with a fatal flag. Grey: no data. Bar: 5 arcsec.</p>"
        f'<div class="cards">{cards}</div></section>'
    )


def _card(number: int, row: CandidateFacts) -> str:
    flags = "".join(f"<i>{escape(name.lower().replace('_', ' '))}</i>" for name in row.flags)
    members = "".join(
        f"<tr><td>{escape(name)}</td><td>{_score(value)}</td>"
        f'<td><span class="bar"><span style="width:{100 * (value or 0):.1f}%"></span></span></td></tr>'
        for name, value in row.members.items()
    )
    spread = f" ± {row.score_std:.3f}" if row.score_std is not None else ""
    return (
        f'<article>{_picture(row)}<div class="facts"><h3><span>{number}</span>{_score(row.score)}'
        f"<small>{spread}</small></h3><table>{members}</table>"
        f"<p>{escape(row.field_id)}<br>{row.ra:.5f} {row.dec:+.5f}<br><code>{row.objid}</code></p>"
        f"<p>{flags}</p></div></article>"
    )


def _picture(row: CandidateFacts) -> str:
    if not row.picture:
        return '<div class="stamp"></div>'
    side, bar = row.side_pix, min(5.0 / row.pixel_scale, row.side_pix - 2.0)
    data = base64.b64encode(row.picture).decode()
    outline = f'<path class="fatal" d="{row.outline}"/>' if row.outline else ""
    label = escape(f"{row.objid}: bands {row.bands}, {side * row.pixel_scale:.1f} arcsec across")
    return (
        f'<div class="stamp"><img alt="{label}" title="{label}" src="data:image/png;base64,{data}">'
        f'<svg viewBox="0 0 {side} {side}">{outline}'
        f'<path class="scale" d="M{side * 0.04:.1f} {side * 0.95:.1f}h{bar:.1f}"/></svg></div>'
    )


def _scores(scores: ScoreHistogram | None) -> str:
    if scores is None or not scores.scored.sum():
        return ""
    unflagged = int(scores.unflagged.sum())
    return (
        f"<section><h2>Scores</h2>{_histogram(scores)}<p>{int(scores.scored.sum()):,} detections have a score, "
        f"{unflagged:,} of them no vet flag. Both axes are logarithmic; scores below "
        f"{_power(scores.edges[0])} count in the lowest bin.</p></section>"
    )


def _purity(rows: Sequence[PurityRow]) -> str:
    """What the scores promise above thresholds; nothing where no score reaches the lowest."""
    if not any(row.candidates for row in rows):
        return ""
    lines = "".join(
        f"<tr><td>{row.threshold:g}</td><td>{row.candidates:,}</td><td>{row.expected_lenses:,.1f}</td>"
        f"<td>{'-' if row.purity is None else f'{row.purity:.3f}'}</td></tr>"
        for row in rows
    )
    return (
        "<section><h2>Expected purity</h2><table><tr><th>score at least</th><th>detections</th>"
        f"<th>expected lenses</th><th>expected purity</th></tr>{lines}</table>"
        "<p>Primary rows; the sum and the mean of their scores: as good as the calibration at the top.</p></section>"
    )


def _histogram(scores: ScoreHistogram) -> str:
    """Steps of all scores, those without a flag and the candidates, as SVG."""
    width, height, left, bottom = 640.0, 240.0, 44.0, 40.0
    low, high = float(scores.edges[0]), float(scores.edges[-1])
    decades = max(1, math.ceil(math.log10(int(scores.scored.max()) + 1)))

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 10)

    def y(count: float) -> float:
        # A count of one stands half a decade above none.
        level = (math.log10(count) + 0.5) / (decades + 0.5) if count > 0 else 0.0
        return height - bottom - level * (height - bottom - 12)

    def steps(counts: Iterable[Any]) -> str:
        path = f"M{x(low):.1f} {y(0):.1f}"
        for count, first, last in zip(counts, scores.edges[:-1], scores.edges[1:], strict=True):
            path += f"L{x(first):.1f} {y(count):.1f}H{x(last):.1f}"
        return path + f"V{y(0):.1f}Z"

    ticks = "".join(
        f'<path d="M{x(tick):.1f} {height - bottom}v4"/><text x="{x(tick):.1f}" y="{height - bottom + 17}">'
        f"{_power(tick)}</text>"
        for tick in range(math.ceil(low), math.floor(high) + 1)
    )
    lines = "".join(
        f'<path class="grid" d="M{left} {y(10**tick):.1f}H{width - 10}"/>'
        f'<text class="side" x="{left - 6}" y="{y(10**tick) + 4:.1f}">{10**tick:,}</text>'
        for tick in range(decades + 1)
    )
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="Histogram of scores">{lines}'
        f'<path class="all" d="{steps(scores.scored)}"/><path class="clean" d="{steps(scores.unflagged)}"/>'
        f'<path class="chosen" d="{steps(scores.candidates)}"/>{ticks}'
        f'<text x="{(left + width) / 2:g}" y="{height - 4:g}">score</text></svg>'
        '<p class="key"><span class="all">every score</span> <span class="clean">no vet flag</span> '
        '<span class="chosen">candidates</span></p>'
    )


def _fields(fields: Sequence[FieldFacts]) -> str:
    ordered = sorted(fields, key=lambda field: (field.reason is None, field.field_id))
    head = "".join(f"<th>{name}</th>" for name in (*STAGES, *_COUNTS))
    total = "".join(
        f"<td>{sum(field.states[index] == 'done' for field in fields):,} done</td>" for index in range(len(STAGES))
    )
    total += "".join(f"<td>{sum(field.counts.get(name, 0) for field in fields):,}</td>" for name in _COUNTS)
    rows = "".join(
        f"<tr><th>{escape(field.field_id)}{' <small>empty</small>' if field.empty else ''}</th>"
        + "".join(f'<td class="{"" if state == "-" else state}">{state}</td>' for state in field.states)
        + "".join(f"<td>{field.counts[name]:,}</td>" if name in field.counts else "<td></td>" for name in _COUNTS)
        + "</tr>"
        for field in ordered[:MOST_FIELDS]
    )
    return (
        f'<section><h2>Fields</h2><div class="wide"><table class="grid"><thead><tr><th>field</th>{head}</tr></thead>'
        f'<tbody><tr class="sum"><th>all {len(fields):,}</th>{total}</tr>{rows}</tbody></table></div>'
        f"{_rest(len(fields))}</section>"
    )


def _forecast(forecast: Mapping[str, Any], actual: Mapping[str, Any]) -> str:
    if not forecast and not actual:
        return ""
    rows = ""
    for name, key in _FORECAST:
        cells = [_amount(values.get(key), 1e-6 if key.startswith("bytes") else 1.0) for values in (forecast, actual)]
        rows += f"<tr><th>{name}</th><td>{cells[0]}</td><td>{cells[1]}</td></tr>"
    basis = f"<p>{escape(str(forecast['basis']))}.</p>" if forecast.get("basis") else ""
    return (
        '<section><h2>Last run</h2><div class="wide"><table class="grid"><thead><tr><th></th><th>forecast</th>'
        f"<th>actual</th></tr></thead><tbody>{rows}</tbody></table></div>{basis}</section>"
    )


def _flags(scores: ScoreHistogram | None) -> str:
    if scores is None:
        return ""
    rows = "".join(
        f"<tr><th>{escape(flag.name.lower().replace('_', ' '))}</th><td>{scores.flags.get(flag.name, 0):,}</td>"
        f'<td class="text">{escape(flag.description)}</td></tr>'
        for flag in describe(VetFlag)
    )
    return (
        '<section><h2>Vet flags</h2><div class="wide"><table class="grid"><thead><tr><th>flag</th><th>detections</th>'
        f'<th class="text">meaning</th></tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _provenance(facts: ReportFacts) -> str:
    if not facts.provenance:
        return ""
    mixed = (
        f"<p>Fields rest on {facts.variants} different settings; these are one field's.</p>"
        if facts.variants > 1
        else ""
    )
    parts = "".join(
        f"<details><summary>{escape(key)}</summary><pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
        "</details>"
        for key, value in facts.provenance.items()
    )
    return f"<section><h2>Provenance</h2>{mixed}{parts}</section>"


def _rest(count: int) -> str:
    return f"<p>{count - MOST_FIELDS:,} more: <code>lensscan status</code>.</p>" if count > MOST_FIELDS else ""


def _score(value: float | None) -> str:
    """A probability with as many digits as tell it from 0 and 1."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


def _power(exponent: float) -> str:
    if exponent == 0:
        return "1"
    return "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _amount(value: Any, scale: float) -> str:
    if not isinstance(value, int | float):
        return ""
    number = value * scale
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:,.1f}"
