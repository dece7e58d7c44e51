"""Which curves the report of an evaluation shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipeline.evaluate.breakdown import Slice
from pipeline.evaluate.histories import History
from pipeline.evaluate.report.chart import Axis, Series, chart
from pipeline.evaluate.result import SampleResult, ScorerResult

STYLES = 8
"""Colours that the page has; the ensemble's is the first."""
UNITS = {"theta_E": "arcsec", "seeing": "arcsec", "image_sep": "arcsec", "lens_mag": "mag", "mag_r": "mag"}
"""Of the columns that need one."""


def curve_plots(sample: SampleResult, prior: float, detections: int) -> str:
    """ROC, precision and recall, purity and yield at the survey's prior."""
    floor = 0.5 / max(sample.n_others, 1)
    trained = [scorer for scorer in sample.scorers if scorer.kind != "baseline"]
    roc = chart(
        "ROC",
        [
            _series(scorer, index, "false_positive_rate", "true_positive_rate")
            for index, scorer in enumerate(sample.scorers)
        ],
        Axis("false-positive rate", log=True, low=floor, high=1.0),
        Axis("true-positive rate", low=0.0, high=1.0),
    )
    precision = chart(
        "Precision and recall, at the sample's own mix",
        [_series(scorer, index, "true_positive_rate", "precision") for index, scorer in enumerate(sample.scorers)],
        Axis("recall", low=0.0, high=1.0),
        Axis("precision", low=0.0, high=1.0),
    )
    # Above the highest other the purity is 1 for want of others, which is no measurement.
    purity = chart(
        f"Purity at a prior of {prior:g}",
        [_beyond_first(scorer, index, "true_positive_rate", "purity") for index, scorer in enumerate(trained)],
        Axis("completeness", low=0.0, high=1.0),
        Axis("purity", log=True, low=prior / 2, high=1.0),
    )
    threshold = chart(
        f"Purity against threshold at a prior of {prior:g}",
        [_beyond_first(sample.ensemble, 0, "threshold", "purity")],
        Axis("ensemble's probability", log=True, high=1.0),
        Axis("purity", log=True, low=prior / 2, high=1.0),
        diagonal=True,
    )
    found = chart(
        f"Yield of {detections:,} detections",
        [_beyond_first(scorer, index, "inspected", "found") for index, scorer in enumerate(trained)],
        Axis("inspected", log=True, low=1.0, high=float(detections)),
        Axis("lenses found", low=0.0, high=prior * detections),
    )
    return roc + precision + purity + threshold + found


def reliability_plots(sample: SampleResult) -> str:
    """Expected against observed share of lenses over the best detections."""
    bins = sample.reliability
    values = [value for item in bins for value in (item.expected, item.observed) if value > 0]
    ends = (min(values) / 3, min(1.0, max(values) * 3)) if values else (1e-6, 1.0)
    return chart(
        "Reliability over the best detections, weighted to the prior",
        [
            Series(
                "ensemble",
                [item.expected for item in bins],
                [item.observed for item in bins],
                [item.low for item in bins],
                [item.high for item in bins],
                dots=True,
            )
        ],
        Axis("expected share of lenses", log=True, low=ends[0], high=ends[1]),
        Axis("observed share", log=True, low=ends[0], high=ends[1]),
        diagonal=True,
    )


def breakdown_plots(sample: SampleResult, rate: float) -> str:
    """Completeness against each column with numbers, and a table of each with names."""
    plots, tables = "", ""
    for column in dict.fromkeys(item.column for item in sample.slices):
        mine = [item for item in sample.slices if item.column == column]
        if all(item.middle is not None for item in mine):
            plots += chart(
                f"Completeness against {column}",
                [
                    Series(
                        "ensemble",
                        [item.middle for item in mine if item.middle is not None],
                        [item.value for item in mine],
                        [item.low for item in mine],
                        [item.high for item in mine],
                        dots=True,
                    )
                ],
                Axis(f"{column} ({UNITS[column]})" if column in UNITS else column),
                Axis("completeness", low=0.0, high=1.0),
            )
        else:
            tables += _table(column, mine)
    if not plots and not tables:
        return ""
    return f'<h3>What is found at a false-positive rate of {rate:g}</h3><div class="plots">{plots}</div>{tables}'


def history_plots(histories: Sequence[History]) -> str:
    """One plot a quantity, one curve a run."""
    names = dict.fromkeys(name for history in histories for name in history.series if name != "rate")
    return "".join(
        chart(
            name,
            [
                Series(
                    history.run,
                    [step for step, _ in history.series[name]],
                    [value for _, value in history.series[name]],
                    style=index % STYLES,
                )
                for index, history in enumerate(histories)
                if name in history.series
            ],
            Axis("step"),
            Axis(name),
        )
        for name in names
    )


def _series(scorer: ScorerResult, index: int, x: str, y: str) -> Series:
    return Series(scorer.name, getattr(scorer.curve, x), getattr(scorer.curve, y), style=index % STYLES)


def _beyond_first(scorer: ScorerResult, index: int, x: str, y: str) -> Series:
    some = scorer.curve.false_positive_rate > 0
    return Series(scorer.name, getattr(scorer.curve, x)[some], getattr(scorer.curve, y)[some], style=index % STYLES)


def _table(column: str, slices: Sequence[Slice]) -> str:
    rows = "".join(
        f"<tr><th>{escape(item.label)}</th><td>{'completeness' if item.lens else 'false positives'}</td>"
        f"<td>{item.value:.3f}</td><td>[{item.low:.3f}, {item.high:.3f}]</td><td>{item.n:,}</td></tr>"
        for item in slices
    )
    return (
        f'<div class="wide"><table class="grid"><thead><tr><th>{escape(column)}</th><th></th><th>share</th>'
        f"<th>68 %</th><th>stamps</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
