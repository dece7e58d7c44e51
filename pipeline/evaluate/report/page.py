"""The HTML of an evaluation: one file, everything escaped, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from pipeline.evaluate.config import COLUMNS
from pipeline.evaluate.figures import Figure
from pipeline.evaluate.histories import History
from pipeline.evaluate.report.gallery import Picture
from pipeline.evaluate.report.plots import breakdown_plots, curve_plots, history_plots, reliability_plots
from pipeline.evaluate.result import Evaluation, OthersResult, SampleResult, ScorerResult

_TITLES = {"false alarms": "Top false alarms", "missed": "Missed lenses", "predictions": "Drawn at random"}
_OF_EACH = ("AUROC", "completeness at FPR")
"""Figures that members and baselines show without being asked."""


def page(evaluation: Evaluation, pictures: Sequence[Picture], histories: Sequence[History]) -> str:
    """The whole document."""
    style = "".join(
        files(place).joinpath("report.css").read_text(encoding="utf-8")
        for place in ("pipeline.catalogue", "pipeline.evaluate.report")
    )
    body = [
        _header(evaluation),
        _missing(evaluation),
        _figures(evaluation),
        _probe(evaluation),
        _drift(evaluation),
        *(_sample(evaluation, sample, pictures) for sample in evaluation.samples),
        *(_others(sample, pictures) for sample in evaluation.others),
        _histories(histories),
        _members(evaluation),
        _splits(evaluation),
        _config(evaluation),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(evaluation.ensemble)} – evaluation</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _header(evaluation: Evaluation) -> str:
    tiles = "".join(
        f"<div><b>{sample.n_lenses:,} / {sample.n_others:,}</b>"
        f"<span>lenses / others{_groups(sample)}, {escape(sample.name)}</span></div>"
        for sample in evaluation.samples
    )
    tiles += "".join(
        f"<div><b>{sample.n_others:,}</b><span>without a known lens, {escape(sample.name)}</span></div>"
        for sample in evaluation.others
    )
    tiles += "".join(
        f'<div class="missing"><b>not measured</b><span>{escape(_title(name))}</span></div>'
        for name in evaluation.not_measured
    )
    return (
        f"<header><p>{escape(evaluation.name)} {escape(evaluation.description)}</p>"
        f'<h1>Ensemble {escape(evaluation.ensemble)}</h1></header><section class="tiles">{tiles}</section>'
    )


def _missing(evaluation: Evaluation) -> str:
    items = "".join(
        f"<li><b>{escape(_title(name))}</b>: {escape(reason)}</li>" for name, reason in evaluation.not_measured.items()
    )
    return f'<section class="warning"><h2>Not measured</h2><ul>{items}</ul></section>' if items else ""


def _figures(evaluation: Evaluation) -> str:
    places: list[SampleResult | str] = []
    for column in COLUMNS:
        found = [sample for sample in evaluation.samples if sample.column == column]
        places.extend(found or [column])
    head = "".join(
        f'<th class="missing">{escape(_title(place))}<br>not measured</th>'
        if isinstance(place, str)
        else f"<th>{escape(COLUMNS[place.column])}<br><b>{escape(place.name)}</b></th>"
        for place in places
    )
    scorers = evaluation.samples[0].scorers
    rows, rest = "", ""
    for index, scorer in enumerate(scorers):
        title = f"{escape(scorer.kind)}: {escape(scorer.name)}"
        group = f'<tr class="group"><th colspan="{len(places) + 1}">{title}</th></tr>'
        lines = {
            figure.name: f"<tr><th>{escape(figure.name)}</th>"
            + "".join(f"<td>{_cell(evaluation, place, index, figure.name)}</td>" for place in places)
            + "</tr>"
            for figure in scorer.figures
        }
        short = scorer.kind != "ensemble"
        rows += group + "".join(line for name, line in lines.items() if not short or name.startswith(_OF_EACH))
        rest += group + "".join(lines.values()) if short else ""
    top = f'<div class="wide"><table class="grid figures"><thead><tr><th></th>{head}</tr></thead><tbody>'
    end = "</tbody></table></div>"
    return (
        "<section><h2>Figures</h2><p>Value, 68 % bootstrap interval; lenses / others that it rests on. Stamps that "
        "show the same object or frame are a group: groups are drawn for the intervals. Beside each "
        "completeness on made lenses stands the probe: the AUC with which a line through the embedding tells them from "
        "real ones (0.5: not at all, 1: always). TPR0 and TPR10 as in Metcalf et al. 2019: they fall as the "
        f"number of others grows.</p>{top}{rows}{end}"
        f"<details><summary>every figure of members and baselines</summary>{top}{rest}{end}</details></section>"
    )


def _cell(evaluation: Evaluation, place: SampleResult | str, index: int, name: str) -> str:
    if isinstance(place, str):
        return "–"
    scorer: ScorerResult = place.scorers[index]
    figure = scorer.figure(name)
    if figure.reason is not None:
        return f"–<small>{escape(figure.reason)}</small>"
    text = f"{_value(figure)}<small>{_interval(figure)}; {_count(figure)}</small>"
    if name.startswith("completeness at FPR") and scorer.kind != "baseline" and place.column != "real":
        probe = evaluation.probe_of(place.name, scorer.name if scorer.kind == "member" else None)
        if probe is None:
            return f"{text}<small>no probe</small>"
        against = "" if probe.like else ", of other pixels"
        text += f"<small>probe {_value(probe.auc)} {_interval(probe.auc)}{against}</small>"
    return text


def _probe(evaluation: Evaluation) -> str:
    if evaluation.no_probe is not None:
        return f"<section><h2>Realism probe</h2><p>None: {escape(evaluation.no_probe)}.</p></section>"
    rows = "".join(
        f"<tr><th>{escape(probe.member)}</th><td>{_pixels(probe.first, probe.first_pixels)}</td>"
        f"<td>{_pixels(probe.second, probe.second_pixels)}</td><td>{'yes' if probe.like else 'no'}</td>"
        f"<td>{_long(probe.auc)}</td><td>{_count(probe.auc)}</td>"
        f"<td>{_long(probe.control)}</td></tr>"
        for probe in evaluation.probes
    )
    return (
        "<section><h2>Realism probe</h2><p>A logistic regression on each member's embedding, cross-validated by "
        "groups, between made and real lenses of like magnitude, each seen through its partner's missing "
        "pixels and its own. Of another survey's pixels it may tell nothing but the surveys. The control is the same "
        "between two halves of the made ones.</p>"
        '<div class="wide"><table class="grid"><thead><tr><th>member</th><th>made</th><th>real</th>'
        f"<th>same pixels</th><th>AUC</th><th>lenses</th><th>control</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _pixels(sample: str, pixels: str) -> str:
    """A sample's name, and whose pixels it has."""
    return escape(f"{sample} ({pixels})" if pixels else sample)


def _drift(evaluation: Evaluation) -> str:
    if not evaluation.drift:
        return ""
    rows = "".join(
        f"<tr><th>{escape(row.scorer)}</th><td>{escape(row.threshold_from)}</td><td>{row.rate:.2g}</td>"
        f"<td>{escape(row.measured_on)}</td><td>{_long(row.share)}</td><td>{row.share.n_others:,}</td>"
        f"<td>{_long(row.completeness)}</td><td>{row.completeness.n_lenses:,}</td></tr>"
        for row in evaluation.drift
    )
    return (
        "<section><h2>Thresholds don't travel</h2><p>The shares of one sample's others and lenses that pass the "
        "threshold which a given share of another's others passes.</p>"
        '<div class="wide"><table class="grid"><thead><tr><th>score</th><th>threshold from</th><th>at</th>'
        "<th>measured on</th><th>share of others</th><th>others</th><th>completeness</th><th>lenses</th>"
        f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _sample(evaluation: Evaluation, sample: SampleResult, pictures: Sequence[Picture]) -> str:
    prior, detections = float(evaluation.config["prior"]), int(evaluation.config["detections"])
    notes = ". ".join(note[:1].upper() + note[1:] for note in sample.notes)
    lost = f"{sample.unscored_lenses:,} lenses and {sample.unscored_others:,} others have no score"
    return (
        f"<section><h2>{escape(sample.name)} <small>({escape(COLUMNS[sample.column])})</small></h2>"
        f"<p>{escape(notes)}. {lost}.</p>"
        f'<div class="plots">{curve_plots(sample, prior, detections)}{reliability_plots(sample)}</div>'
        f"{_confusion(evaluation, sample)}"
        f"{breakdown_plots(sample, float(evaluation.config['breakdown_rate']))}"
        f"{_cards(sample.name, pictures)}</section>"
    )


def _others(sample: OthersResult, pictures: Sequence[Picture]) -> str:
    """A sample without a known lens: what its shares are is told among the thresholds."""
    notes = ". ".join(note[:1].upper() + note[1:] for note in sample.notes)
    return (
        f"<section><h2>{escape(sample.name)} <small>(no known lens)</small></h2>"
        f"<p>{escape(notes)}. {sample.unscored_others:,} have no score.</p>{_cards(sample.name, pictures)}</section>"
    )


def _cards(name: str, pictures: Sequence[Picture]) -> str:
    shown = ""
    for choice, title in _TITLES.items():
        cards = "".join(_card(item) for item in pictures if item.sample == name and item.choice == choice)
        shown += f'<h3>{title}</h3><div class="cards">{cards}</div>' if cards else ""
    return shown


def _confusion(evaluation: Evaluation, sample: SampleResult) -> str:
    tables = ""
    for scorer in sample.scorers:
        matrix = scorer.confusion
        if matrix is not None:
            tables += (
                f'<div class="confusion"><table class="grid"><thead><tr><th>{escape(scorer.name)}</th>'
                "<th>called lens</th><th>not</th></tr></thead><tbody><tr><th>lens</th>"
                f"<td>{matrix.true_positives:,}</td><td>{matrix.false_negatives:,}</td></tr><tr><th>other</th><td>{matrix.false_positives:,}</td>"
                f"<td>{matrix.true_negatives:,}</td></tr></tbody></table></div>"
            )
    told = (
        f"probability above {evaluation.config['threshold']:g} at a prior of {evaluation.config['threshold_prior']:g}"
    )
    return f"<h3>Confusion matrix, {told}</h3>{tables}"


def _card(item: Picture) -> str:
    side, bar = item.side_pix, min(5.0 / item.pixel_scale, item.side_pix - 2.0)
    data = base64.b64encode(item.picture).decode()
    label = escape(f"{item.sample}, row {item.row}, {side * item.pixel_scale:.1f} arcsec across")
    members = "".join(
        f"<tr><td>{escape(name)}</td><td>{'–' if math.isnan(logit) else f'{logit:.1f}'}</td></tr>"
        for name, logit in item.members.items()
    )
    truth = "<br>".join(f"{escape(name)} {escape(text)}" for name, text in item.truth.items())
    return (
        f'<article><div class="stamp"><img alt="{label}" title="{label}" src="data:image/png;base64,{data}">'
        f'<svg viewBox="0 0 {side} {side}"><path class="fatal" d="{item.outline}"/>'
        f'<path class="scale" d="M{side * 0.04:.1f} {side * 0.95:.1f}h{bar:.1f}"/></svg></div>'
        f'<div class="facts"><h3><span>{"lens" if item.lens else "other"}</span>{_probability(item.score)}</h3>'
        f"<p>{item.odds:.2%} of others as high</p><table>{members}</table><p>row {item.row}<br>{truth}</p>"
        "</div></article>"
    )


def _histories(histories: Sequence[History]) -> str:
    plots = history_plots(histories)
    return f'<section><h2>Training histories</h2><div class="plots">{plots}</div></section>' if plots else ""


def _members(evaluation: Evaluation) -> str:
    rows = "".join(
        f'<tr><th>{escape(name)}</th><td class="text"><code>{escape(digest)}</code></td></tr>'
        for name, digest in evaluation.members.items()
    )
    return (
        '<section><h2>Members</h2><div class="wide"><table class="grid"><thead><tr><th>member</th>'
        f'<th class="text">sha256 of weights</th></tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _splits(evaluation: Evaluation) -> str:
    rows = "".join(
        f"<tr><th>{escape(check.first)}</th><td>{escape(check.second)}</td><td>{escape(check.what)}</td>"
        f"<td>{'not checked' if check.shared is None else f'{check.shared:,}'}</td>"
        f'<td class="text">{escape(check.note)}</td></tr>'
        for check in evaluation.splits
    )
    return (
        '<section><h2>What is shared</h2><div class="wide"><table class="grid"><thead><tr><th>sample</th><th>with</th>'
        f'<th>what</th><th>shared</th><th class="text">note</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _config(evaluation: Evaluation) -> str:
    text = json.dumps(evaluation.config, indent=2, ensure_ascii=False)
    return (
        f"<section><h2>Provenance</h2><p>lensscan {escape(evaluation.version)}</p>"
        f"<details><summary>configuration</summary><pre>{escape(text)}</pre></details></section>"
    )


def _title(name: str) -> str:
    return {str(column): title for column, title in COLUMNS.items()}.get(name, name)


def _value(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "–"
    return _number(figure.value)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"[{_number(figure.low)}, {_number(figure.high)}]"


def _count(figure: Figure) -> str:
    """Lenses and others that a figure rests on, and their groups where those are fewer."""
    text = f"{figure.n_lenses:,} / {figure.n_others:,}"
    if (figure.n_lens_groups, figure.n_other_groups) == (figure.n_lenses, figure.n_others):
        return text
    return f"{text} in {figure.n_lens_groups:,} / {figure.n_other_groups:,} groups"


def _groups(sample: SampleResult) -> str:
    if (sample.n_lens_groups, sample.n_other_groups) == (sample.n_lenses, sample.n_others):
        return ""
    return f" in {sample.n_lens_groups:,} / {sample.n_other_groups:,} groups"


def _long(figure: Figure) -> str:
    return escape(figure.reason) if figure.reason is not None else f"{_value(figure)} {_interval(figure)}"


def _number(value: float) -> str:
    if 1e-9 < abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _probability(value: float) -> str:
    if math.isnan(value):
        return "no score"
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"
