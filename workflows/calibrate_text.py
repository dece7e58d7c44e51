"""What `calibrate` says to a person, made from the same values that `--json` prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from pipeline.catalogue.purity import PurityRow
from pipeline.evaluate.calibration.compare import TOP_SHARE, RuleFigures
from pipeline.evaluate.calibration.purity import LabelledPurity
from pipeline.evaluate.figures import Figure
from pipeline.evaluate.metrics import Estimate
from workflows.calibrate_result import DETECTIONS, CalibrateResult, CascadeResult, FitOptions
from workflows.recombine import RecombineOutcome


def calibrate_text(result: CalibrateResult, options: FitOptions) -> Group:
    """The comparison, what moved, the purity, and the files written."""
    parts: list[RenderableType] = []
    if result.comparison:
        parts += [_comparison(result.comparison), ""]
        parts.append(
            f"Held out in {options.folds} folds, 68 % bootstrap intervals; log-loss with as many lenses as others; "
            f"purity over the best {TOP_SHARE:.0%} of detections at prior {options.prior:g}."
        )
    if result.purity:
        parts += ["", f"{result.best}: {DETECTIONS:,} detections at prior {options.prior:g}", _labelled(result.purity)]
    for name, (moved, low, high) in (result.shifts or {}).items():
        parts.append(f"{name}: log-odds moved by {moved:+.2f} ({low:+.2f} to {high:+.2f})")
    if result.scan_purity:
        parts += ["", f"{result.best}: the scan's detections at prior {options.prior:g}", _purity(result.scan_purity)]
    if result.cascade is not None:
        parts += _cascade(result.cascade)
    parts += ["", *(f"written: {path}" for path in result.ensembles)]
    return Group(*parts)


def recombine_text(outcome: RecombineOutcome, scan: str, ensemble: str) -> Group:
    """Fields done again, those that wait, the expected purity, and how to stay with the ensemble."""
    parts: list[RenderableType] = [
        f"{outcome.fields:,} fields, {outcome.ran:,} of them made again: {outcome.candidates:,} candidates in "
        f"{outcome.output}"
    ]
    if outcome.waiting:
        shown = ", ".join(outcome.waiting[:8]) + (" ..." if len(outcome.waiting) > 8 else "")
        parts.append(
            f"{len(outcome.waiting):,} fields need a scan first and were left alone: {shown}; "
            f"run: lensscan scan {shlex.quote(scan)}"
        )
    parts += [f"failed: {failure.field_id}: {failure.reason}" for failure in outcome.failures]
    parts += ["", _purity(outcome.purity), "", f'To stay with it, set ensemble = "{ensemble}" in {scan}.']
    return Group(*parts)


def _cascade(result: CascadeResult) -> list[str]:
    figures = result.figures
    held = "too few to hold some out" if result.held_out is None else f"{_share(result.held_out)} of held-out folds"
    return [
        *(f"gate {name} stops sums below {low:.4f}" for name, low in zip(result.gates, result.thresholds, strict=True)),
        f"{_share(figures.lost)} of the {figures.candidates:,} lenses that are candidates without gates are lost",
        held,
        f"{_share(figures.lost_of_all)} of all lenses, candidates or not, are stopped",
        f"{_share(figures.passed)} of the others are passed on",
    ]


def _share(value: Estimate) -> str:
    return f"{value.value:.3%} [{value.low:.3%}, {value.high:.3%}]"


def _comparison(lines: Sequence[RuleFigures]) -> Group:
    """Three tables, since one would be wider than a terminal."""
    first = lines[0]
    ranks = _table("completeness", *(figure.name.removeprefix("completeness ") for figure in first.completeness))
    odds = _table("", first.gain.name.partition(" over ")[0], "log-loss")
    top = _table("purity", "expected", "observed")
    for line in lines:
        name = line.name if line.is_rule else f"  {line.name}"
        span = "" if line.purity_range is None else f" {line.purity_range[0]:.4f}..{line.purity_range[1]:.4f}"
        ranks.add_row(name, *(_figure(figure) for figure in line.completeness))
        odds.add_row(name, _figure(line.gain), _figure(line.log_loss))
        top.add_row(name, _number(line.purity_expected), _number(line.purity_observed) + span)
    return Group(
        ranks, "", odds, f"(the gain is over {first.gain.name.partition(' over ')[2]}, the best member)", "", top
    )


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return f"- ({figure.reason})"
    return f"{figure.value:.3f} {figure.low:.3f}..{figure.high:.3f}"


def _labelled(rows: Sequence[LabelledPurity]) -> Table:
    table = _table("score above", "candidates", "lenses", "purity expected", "observed")
    for row in rows:
        counts = f"{row.candidates:,.1f}", f"{row.lenses:,.1f}"
        table.add_row(f"{row.threshold:g}", *counts, _number(row.expected), _number(row.observed))
    return table


def _purity(rows: Sequence[PurityRow]) -> Table:
    table = _table("score above", "candidates", "expected lenses", "expected purity")
    for row in rows:
        table.add_row(
            f"{row.threshold:g}", f"{row.candidates:,}", f"{row.expected_lenses:,.1f}", _number(row.purity, 3)
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
