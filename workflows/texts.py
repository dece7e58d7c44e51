"""What the commands say to a person, made from the same values that `--json` prints."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table

from workflows.forecast import Forecast
from workflows.outcomes import FieldOutcome, PlanReport, ScanOutcome, Summary
from workflows.results import Failure

_NOTES = 10
"""Notes that a summary shows."""


def plan_text(report: PlanReport) -> Group:
    """Fields by stage and state, then the forecast."""
    table = Table(box=None)
    for heading in ("stage", "done", "stale", "missing", "failed"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, counts in report.states.items():
        table.add_row(stage, *(f"{counts.get(state, 0):,}" for state in ("done", "stale", "missing", "failed")))
    return Group(table, *_forecast_lines(report.forecast))


def scan_text(outcome: ScanOutcome, config: str, out: str | None, cluster: str | None) -> str:
    """A scan's summary, the forecast beside what it took, every field that failed and how to rerun it."""
    lines = _summary_lines(outcome.summary)
    if outcome.summary.ran == 0 and not outcome.failures:
        lines.insert(0, "Nothing to do: every field named is done.")
    elif outcome.summary.ran:
        lines += _beside_lines(outcome.forecast, outcome.actual)
    return "\n".join(lines + _failure_lines(outcome.failures, config, out, cluster))


def field_text(outcome: FieldOutcome, config: str, out: str | None, cluster: str | None) -> str:
    """A rerun's summary and its difference."""
    lines = _summary_lines(outcome.summary)
    if outcome.difference is not None:
        change = outcome.difference
        lines.append(f"candidates: {change.new:,} new, {change.gone:,} gone, {change.changed:,} changed")
    return "\n".join(lines + _failure_lines(outcome.failures, config, out, cluster))


def status_text(rows: Sequence[Mapping[str, str | None]]) -> Group:
    """One line a field, with the reason of each failure below."""
    table = Table(box=None)
    stages = list(dict.fromkeys(str(row["stage"]) for row in rows))
    for heading in ("field", *stages):
        table.add_column(heading)
    states: dict[str, dict[str, str]] = {}
    for row in rows:
        states.setdefault(str(row["field"]), {})[str(row["stage"])] = str(row["state"])
    for field, by_stage in states.items():
        table.add_row(field, *(by_stage.get(stage, "") for stage in stages))
    reasons = [f"{row['field']}: {row['stage']}: {row['reason']}" for row in rows if row["reason"]]
    total = Counter(str(row["state"]) for row in rows)
    noted = [f"note: {row['field']}: {text}" for row in rows if row["notes"] for text in str(row["notes"]).splitlines()]
    return Group(table, *reasons, *noted, ", ".join(f"{count} {state}" for state, count in sorted(total.items())))


def _summary_lines(summary: Summary) -> list[str]:
    return [
        f"{summary.done:,} of {summary.fields:,} fields done, {summary.empty:,} empty, {summary.failed:,} failed; "
        f"{summary.ran:,} products written in {summary.seconds:,.1f} s",
        f"{summary.detections:,} detections = {summary.cutouts:,} cutouts = {summary.scored:,} scores "
        f"({summary.unscorable:,} not scorable, {summary.stopped:,} stopped by gates), "
        f"{summary.candidates:,} candidates",
        f"catalogue: {summary.catalogue}",
        *(f"note: {text}" for text in summary.notes[:_NOTES]),
        *([f"{len(summary.notes) - _NOTES:,} more notes: lensscan status"] if len(summary.notes) > _NOTES else []),
    ]


def _failure_lines(failures: Sequence[Failure], config: str, out: str | None, cluster: str | None) -> list[str]:
    told = (("--out", out), ("--cluster", cluster))
    options = [word for name, value in told if value is not None for word in (name, value)]
    lines = []
    for failure in failures:
        # What begins with a dash is an option unless two dashes stand before it.
        field = ["--", failure.field_id] if failure.field_id.startswith("-") else [failure.field_id]
        lines.append(f"failed: {failure.field_id} at {failure.stage}: {failure.reason}")
        lines.append(f"    rerun: {shlex.join(['lensscan', 'field', *options, config, *field])}")
    return lines


def _beside_lines(expected: Forecast, took: Forecast) -> list[str]:
    rows = [
        ("objects", f"{expected.objects:,}", f"{took.objects:,}"),
        ("read, MB", f"{expected.bytes_in / 1e6:,.0f}", f"{took.bytes_in / 1e6:,.0f}"),
        ("written, MB", f"{expected.bytes_out / 1e6:,.0f}", f"{took.bytes_out / 1e6:,.0f}"),
        ("memory, MB", f"{expected.memory_mb:,.0f}", f"{took.memory_mb:,.0f}"),
        ("scoring, worker s", f"{expected.device_seconds:,.0f}", f"{took.device_seconds:,.0f}"),
        ("wall, s", f"{expected.seconds:,.0f}", f"{took.seconds:,.0f}"),
    ]
    lines = [f"{'':18}{'forecast':>12}{'actual':>12}   ({expected.basis})"]
    return lines + [f"{name:18}{before:>12}{after:>12}" for name, before, after in rows]


def _forecast_lines(forecast: Forecast) -> list[str]:
    return [
        f"to do: {forecast.fields:,} fields, {forecast.area_deg2:.4g} deg2, about {forecast.objects:,} objects",
        f"read {forecast.bytes_in / 1e6:,.0f} MB, write up to {forecast.bytes_out / 1e6:,.0f} MB, "
        f"memory {forecast.memory_mb:,.0f} MB on {forecast.workers} workers",
        f"device {forecast.device_seconds:,.0f} s, wall {forecast.seconds:,.0f} s ({forecast.basis})",
    ]
