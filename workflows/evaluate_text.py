"""What `evaluate` says to a person: one table, a column a sample, in the three columns."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.table import Table

from pipeline.evaluate.config import COLUMNS
from pipeline.evaluate.figures import Figure
from pipeline.evaluate.result import Drift, Evaluation, SampleResult
from pipeline.evaluate.samples.pools import CLEAR

_LABEL, _CELL = 58, 30
_COMPLETENESS = "completeness at FPR"
_OF_EACH = ("AUROC", _COMPLETENESS)
"""Figures that members and baselines have a line of, too."""


def evaluation_text(evaluation: Evaluation, output: Path) -> Group:
    """Figures of the ensemble, then of members and baselines; the probe; thresholds on other samples; the rest."""
    # The table is as wide as its columns are, not as the terminal is: a wrapped interval can't be read.
    places: list[SampleResult | None] = []
    headings = []
    for column, title in COLUMNS.items():
        samples = [sample for sample in evaluation.samples if sample.column == column]
        places += samples or [None]
        headings += [f"{title}\n{sample.name}" for sample in samples] or [f"{title}\nNOT MEASURED"]
    table = Table(box=None, pad_edge=False, width=_LABEL + _CELL * len(headings))
    table.add_column(evaluation.name, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=_CELL - 2)
    for name, counts in (
        ("lenses", [sample and _count(sample.n_lenses, sample.n_lens_groups) for sample in places]),
        ("others", [sample and _count(sample.n_others, sample.n_other_groups) for sample in places]),
    ):
        table.add_row(name, *(count or "–" for count in counts))
    for index, scorer in enumerate(evaluation.samples[0].scorers):
        table.add_row(f"{scorer.kind}: {scorer.name}", *("" for _ in places))
        for figure in scorer.figures:
            if scorer.kind == "ensemble" or figure.name.startswith(_OF_EACH):
                table.add_row(f"  {figure.name}", *(_cell(sample, index, figure.name) for sample in places))
                if figure.name.startswith(_COMPLETENESS) and scorer.kind != "baseline":
                    member = scorer.name if scorer.kind == "member" else None
                    label = "    realism probe" if member else "    realism probe, the member's that tells best"
                    table.add_row(label, *(_probe(evaluation, sample, member) for sample in places))
    lines = (_clear_lines, _probe_lines, _drift_lines)
    return Group(table, "", *(line for some in lines for line in some(evaluation)), *_rest(evaluation, output))


def _count(stamps: int, groups: int) -> str:
    """A number of stamps, and of the groups that they are of where those are fewer."""
    return f"{stamps:,}" if stamps == groups else f"{stamps:,} in {groups:,} groups"


def _cell(sample: SampleResult | None, index: int, name: str) -> str:
    return "–" if sample is None else figure_text(sample.scorers[index].figure(name))


def _probe(evaluation: Evaluation, sample: SampleResult | None, member: str | None) -> str:
    """The probe beside a completeness, with a star where the real lenses are of other pixels; real ones need none."""
    if sample is None or sample.column == "real":
        return ""
    found = evaluation.probe_of(sample.name, member)
    if found is None:
        return "none"
    return figure_text(found.auc) + ("" if found.like else "*")


def figure_text(figure: Figure) -> str:
    """A figure with its interval; a dash where it was not measured."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "–"
    if abs(figure.value) >= 10:
        return f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
    if 0 < abs(figure.value) < 0.005:
        return f"{figure.value:.1e} [{figure.low:.0e}, {figure.high:.0e}]"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _probe_lines(evaluation: Evaluation) -> list[str]:
    if evaluation.no_probe is not None:
        return [f"realism probe: none: {evaluation.no_probe}"]
    lines = [
        f"realism probe, {probe.member}: {_named(probe.first, probe.first_pixels)} against "
        f"{_named(probe.second, probe.second_pixels)}{'' if probe.like else ', other pixels*'}: "
        f"AUC {_or_reason(probe.auc)} ({_count(probe.auc.n_lenses, probe.auc.n_lens_groups)} and "
        f"{_count(probe.auc.n_others, probe.auc.n_other_groups)} lenses); control {_or_reason(probe.control)}"
        for probe in evaluation.probes
    ]
    if not all(probe.like for probe in evaluation.probes):
        lines.append("* real lenses in another survey's pixels: such a probe may tell nothing but the surveys")
    return lines


def _clear_lines(evaluation: Evaluation) -> list[str]:
    rate = evaluation.config["breakdown_rate"]
    return [
        f"clear lenses of {sample.name} ({_count(item.n, item.groups)}): completeness at FPR {rate:g} "
        f"{item.value:.3f} [{item.low:.3f}, {item.high:.3f}]"
        for sample in evaluation.samples
        for item in sample.slices
        if (item.column, item.label) == (CLEAR, CLEAR)
    ]


def _named(sample: str, pixels: str) -> str:
    return f"{sample} ({pixels})" if pixels else sample


def _drift_lines(evaluation: Evaluation) -> list[str]:
    return [
        f"threshold of {row.threshold_from} at {row.rate:.2g}: {_or_reason(row.share)} of the {row.share.n_others:,} "
        f"others of {row.measured_on} pass{_lenses(row)}"
        for row in evaluation.drift
        if row.scorer == evaluation.ensemble
    ]


def _lenses(row: Drift) -> str:
    found = row.completeness
    return f", and {figure_text(found)} of its {found.n_lenses:,} lenses" if found.value is not None else ""


def _rest(evaluation: Evaluation, output: Path) -> list[str]:
    unmeasured = {
        f"{figure.name}, {sample.name}: {figure.reason}"
        for sample in evaluation.samples
        for figure in sample.ensemble.figures
        if figure.reason is not None and figure.name.startswith(_COMPLETENESS)
    }
    checks = [
        f"split: {check.first} and {check.second} share {check.shared:,} of {check.what} ({check.note})"
        if check.shared is not None
        else f"split: {check.first} and {check.second}: {check.what} not checked: {check.note}"
        for check in evaluation.splits
    ]
    titles = {str(column): title for column, title in COLUMNS.items()}
    missing = [f"NOT MEASURED: {titles.get(name, name)}: {why}" for name, why in evaluation.not_measured.items()]
    return [*(f"– {text}" for text in sorted(unmeasured)), *checks, *missing, f"{output}/report.html"]


def _or_reason(figure: Figure) -> str:
    return figure_text(figure) if figure.reason is None else f"not measured ({figure.reason})"
