"""The HTML of an evaluation of few labels: one file, everything escaped, nothing loaded from elsewhere."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files

from pipeline.evaluate.few_shot.probe import Spread
from pipeline.evaluate.few_shot.result import FewShotResult, Line
from pipeline.evaluate.report.chart import Axis, Series, chart
from pipeline.evaluate.result import plain

_STYLES = 8
"""Colours of the page."""


def page(result: FewShotResult) -> str:
    """The whole document."""
    style = "".join(
        files(place).joinpath("report.css").read_text(encoding="utf-8")
        for place in ("pipeline.catalogue", "pipeline.evaluate.report")
    )
    body = [
        f"<header><p>{escape(result.description)}</p><h1>{escape(result.name)}</h1></header>",
        _tiles(result),
        _missing(result),
        _plots(result),
        _table(result),
        _episodes(result),
        "<section><details><summary>configuration</summary><pre>"
        f"{escape(json.dumps(plain(result.config), indent=2))}</pre></details>"
        f"<p>{escape(result.version)}</p></section>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(result.name)} – few labels</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def goal_text(result: FewShotResult) -> str:
    """In a sentence, whether pre-training saves labels."""
    goal = result.goal
    if goal.best is None or goal.scratch is None:
        return "The goal was not measured."
    verdict = "reached" if goal.reached else "missed"
    return (
        f"Goal {verdict}: with {goal.labels:,} labels {goal.best.network} ({goal.best.how}) finds "
        f"{_spread(goal.best.completeness)} of the lenses at {100 * result.rate:g} % false positives; training from "
        f"scratch with {goal.scratch_labels:,} finds {_spread(goal.scratch.completeness)}."
    )


def _tiles(result: FewShotResult) -> str:
    tiles = "".join(
        f"<div><b>{lenses:,} / {others:,}</b><span>lenses / others, {escape(name)}</span></div>"
        for name, (lenses, others) in result.samples.items()
    )
    return f'<section class="tiles">{tiles}</section><section><p>{escape(goal_text(result))}</p></section>'


def _missing(result: FewShotResult) -> str:
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in result.not_measured.items())
    return f'<section class="warning"><h2>Not measured</h2><ul>{items}</ul></section>' if items else ""


def _plots(result: FewShotResult) -> str:
    names = list(dict.fromkeys((line.network, line.how) for line in result.lines))

    def drawn(figure: str) -> list[Series]:
        series = []
        for index, (network, how) in enumerate(names):
            mine = sorted((line for line in result.lines if (line.network, line.how) == (network, how)), key=_labels)
            spreads: list[Spread] = [getattr(line, figure) for line in mine]
            series.append(
                Series(
                    f"{network}, {how}",
                    [line.labels * 1.04**index for line in mine],
                    [spread.value for spread in spreads],
                    [spread.low for spread in spreads],
                    [spread.high for spread in spreads],
                    index % _STYLES,
                )
            )
        return series

    across = Axis("labels", log=True)
    at = f"completeness at {100 * result.rate:g} % false positives"
    return (
        '<section><h2>Labels saved</h2><div class="plots">'
        f"{chart(at, drawn('completeness'), across, Axis('completeness', low=0.0))}"
        f"{chart('AUROC', drawn('auroc'), across, Axis('AUROC'))}</div></section>"
    )


def _table(result: FewShotResult) -> str:
    counts = sorted({line.labels for line in result.lines})
    head = "".join(f"<th>{count:,} labels</th>" for count in counts)
    rows = ""
    for network, how in dict.fromkeys((line.network, line.how) for line in result.lines):
        mine = {line.labels: line for line in result.lines if (line.network, line.how) == (network, how)}
        cells = "".join(f"<td>{_cell(mine[count]) if count in mine else '–'}</td>" for count in counts)
        rows += f"<tr><th>{escape(network)}, {escape(how)}</th>{cells}</tr>"
    return (
        f"<section><h2>Figures</h2><p>Completeness at {100 * result.rate:g} % false positives, and AUROC below it: "
        "median over draws of labels, with the range of 68 % of the draws. A probe's form was chosen on other stamps "
        'than these.</p><div class="wide"><table class="grid figures"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _cell(line: Line) -> str:
    form = f"; {line.form}" if line.form else ""
    return (
        f"{line.completeness.value:.3f}<small>{line.completeness.low:.3f}–{line.completeness.high:.3f}</small>"
        f"<small>AUROC {line.auroc.value:.3f} ({line.auroc.low:.3f}–{line.auroc.high:.3f})</small>"
        f"<small>{line.draws} draws{escape(form)}</small>"
    )


def _episodes(result: FewShotResult) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{found.ways}-way {found.shots}-shot</td><td>{escape(found.among)}</td>"
        f"<td>{found.value:.3f} ± {found.error:.3f}</td><td>{escape(found.space)}</td></tr>"
        for name, accuracies in result.episodes.items()
        for found in accuracies
    )
    if not rows:
        return ""
    return (
        "<section><h2>Episodes</h2><p>Share of stamps that the nearest mean of a kind's examples tells right.</p>"
        '<div class="wide"><table class="grid figures"><thead><tr><th></th><th>episodes</th><th>of</th>'
        f"<th>accuracy</th><th>distances</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _labels(line: Line) -> int:
    return line.labels


def _spread(spread: Spread) -> str:
    return f"{spread.value:.3f} ({spread.low:.3f}–{spread.high:.3f})"
