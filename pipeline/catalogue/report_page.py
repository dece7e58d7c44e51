"""The HTML of a scan's report. Everything is escaped; nothing is loaded from elsewhere, and no script may run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from pipeline.catalogue.report_calibration import calibration
from pipeline.catalogue.report_candidates import candidates
from pipeline.catalogue.report_drift import drift
from pipeline.catalogue.report_facts import COUNTS, DONE, FAILED, FieldNotes, FieldTable, Reading, ReportFacts
from pipeline.catalogue.report_html import amount, name, rest, section, table, text
from pipeline.catalogue.report_plots import artefacts, flags, scores
from pipeline.catalogue.report_quarantine import quarantine
from pipeline.catalogue.report_sky import coverage
from pipeline.provenance import STAGES

MOST_FIELDS = 200
"""Rows of the table of fields."""
_LONGEST_JSON = 20_000

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may load: pictures that the page holds."""

_FORECAST = (
    ("fields", "fields"),
    ("objects", "objects"),
    ("area, deg²", "area_deg2"),
    ("wall time, s", "seconds"),
    ("read, MB", "bytes_in"),
    ("written, MB", "bytes_out"),
    ("memory, MB", "memory_mb"),
    ("scoring, worker s", "device_seconds"),
)


def page(facts: ReportFacts) -> str:
    """The whole document."""
    style = files("pipeline.catalogue").joinpath("report.css").read_text(encoding="utf-8")
    body = [
        quarantine(facts.failures),
        coverage(facts.fields),
        candidates(facts),
        scores(facts),
        calibration(facts),
        artefacts(facts.artefacts),
        drift(facts.drift, facts.conditions, facts.fields),
        _fields(facts),
        _notes(facts.notes),
        _run(facts.forecast, facts.actual),
        flags(facts.scores),
        _provenance(facts),
    ]
    title = text(facts.scan_id, 80)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} – lens scan</title><style>{style}</style></head>\n"
        f"<body><header>{_header(facts)}</header><main>{''.join(body)}</main></body></html>\n"
    )


def _header(facts: ReportFacts) -> str:
    totals, failed = facts.fields.totals, int(facts.fields.failed.sum())
    done = int(facts.fields.finished.sum())
    waiting = len(facts.fields) - int(facts.fields.begun.sum())
    tiles = [(len(facts.fields), "fields", ""), (done, "done", "")]
    tiles += [(totals[kind], kind, "") for kind in ("detections", "scored", "candidates")]
    tiles += [(failed, "failed", "bad" if failed else "")]
    tiles += [(waiting, "not begun", "")] if waiting else []
    tiles += [(int(facts.drift.alarm.sum()), "drift alarms", "")] if facts.drift is not None else []
    cells = "".join(f'<div class="{kind}"><dt>{called}</dt><dd>{number:,}</dd></div>' for number, called, kind in tiles)
    return (
        f"<p>{text(facts.survey, 80)} {text(facts.release, 80)}</p><h1>{name(facts.scan_id)}</h1>"
        f'<dl class="tiles">{cells}</dl>{_reading(facts.reading)}'
    )


def _reading(reading: Reading) -> str:
    """What the numbers rest on where that is not everything."""
    words = ""
    if reading.read + reading.broken_number < reading.fields:
        words += (
            f"<p>Scores were read of <b>{reading.read:,} of {reading.fields:,}</b> fields, chosen by chance, in the "
            "time that was given: candidates, distributions, calibration and drift are theirs, counts are of all.</p>"
        )
    if reading.broken_number:
        which = "; ".join(f"{name(field_id)}: {text(reason)}" for field_id, reason in reading.broken)
        words += f'<p class="bad">The scores of {reading.broken_number:,} fields could not be read: {which}.</p>'
    return words


def _notes(notes: FieldNotes) -> str:
    if not notes.number:
        return ""
    items = "".join(f"<li>{name(field_id)}: {text(told)}</li>" for field_id, told in notes.shown)
    more = rest(notes.number, len(notes.shown), "<code>lensscan status SCAN.toml</code>")
    return section("Notes on fields", f'<ul class="tall" tabindex="0" aria-label="Notes">{items}</ul>{more}')


def _fields(facts: ReportFacts) -> str:
    """Counts by stage and field: the sums, then failed fields, drifting ones, and the others by name."""
    fields = facts.fields
    alarm = facts.drift.alarm if facts.drift is not None else np.zeros(len(fields), bool)
    order = np.lexsort((np.arange(len(fields)), ~fields.begun, ~alarm, ~fields.failed))[:MOST_FIELDS]
    done = [f"{fields.done(stage):,} done" for stage in STAGES]
    sums = [(f"all {len(fields):,}", *done, *(f"{fields.totals[kind]:,}" for kind in COUNTS))]
    rows = [_field(fields, row, bool(alarm[row])) for row in order.tolist()]
    body = table(("field", *STAGES, *COUNTS), [*sums, *rows], label="Fields by stage and count", kind="fields tall")
    ordered = "failed fields first, then those that drift; <code>lensscan status SCAN.toml</code> has all"
    return section("Fields", body + rest(len(fields), MOST_FIELDS, ordered))


def _field(fields: FieldTable, row: int, alarm: bool) -> tuple[str, ...]:
    marks = (" <small>empty</small>" if fields.empty[row] else "") + (" <small>drifts</small>" if alarm else "")
    words = {DONE: '<span class="done">done</span>', FAILED: '<span class="failed">failed</span>'}
    states = [words.get(state, "–") for state in fields.states[row].tolist()]
    counts = ["" if count < 0 else f"{count:,}" for count in fields.counts[row].tolist()]
    return (name(fields.ids[row]) + marks, *states, *counts)


def _run(forecast: Mapping[str, Any], actual: Mapping[str, Any]) -> str:
    if not forecast and not actual:
        return ""
    rows = []
    for called, key in _FORECAST:
        values = [source.get(key) for source in (forecast, actual)]
        scale = 1e-6 if key.startswith("bytes") else 1.0
        cells = [f"{value:.3g}" if key == "area_deg2" and isinstance(value, float) else amount(value, scale)
                 for value in values]  # fmt: skip
        rows.append((called, *cells, _ratio(*values)))
    basis = f"<p>Forecast from {text(forecast['basis'])}.</p>" if forecast.get("basis") else ""
    return section(
        "Last run", table(("quantity", "forecast", "actual", "ratio"), rows, label="Forecast and actual") + basis
    )


def _ratio(forecast: Any, actual: Any) -> str:
    if not isinstance(forecast, int | float) or not isinstance(actual, int | float) or not forecast:
        return "–"
    return f"{actual / forecast:.2f}"


def _provenance(facts: ReportFacts) -> str:
    if not facts.provenance:
        return ""
    mixed = (
        f"<p>Fields rest on {facts.variants:,} different settings; these are those of the most fields.</p>"
        if facts.variants > 1
        else ""
    )
    parts = "".join(
        f"<details><summary>{text(key, 40)}</summary>"
        f"<pre>{text(json.dumps(value, indent=2, ensure_ascii=False), _LONGEST_JSON)}</pre></details>"
        for key, value in facts.provenance.items()
    )
    return section("Provenance", mixed + parts)
