"""What the scores promise, what that rests on, and what people found where they looked."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.catalogue.proportion import share
from pipeline.catalogue.purity import PurityRow
from pipeline.catalogue.recovered import ALL
from pipeline.catalogue.report_facts import CalibrationFacts, KnownFacts, ObservedRow, ReportFacts
from pipeline.catalogue.report_html import fixed, name, per_cent, score, section, table, text
from pipeline.catalogue.report_plots import interval, reliability

_MOST_KNOWN = 100
_KNOWN_AT = (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9)


def calibration(facts: ReportFacts) -> str:
    """The section of calibration; empty before any score is there."""
    if not facts.primary_scored:
        return ""
    body = _promise(facts) + _purity(facts.purity) + _observed(facts.observed, facts.observed_by)
    return section("Calibration", body + _known(facts.known) + _fits(facts.calibration))


def _promise(facts: ReportFacts) -> str:
    """Lenses that the scores add up to, beside those that the prior puts into as many detections."""
    words = (
        f"The scores of {facts.primary_scored:,} primary detections add up to <b>{_lenses(facts.expected_lenses)}</b> "
        "lenses"
    )
    if facts.prior is not None:
        prior = facts.prior * facts.primary_scored
        words += (
            f"; a share of {facts.prior:g}, the survey's prior, of as many would be <b>{_lenses(prior)}</b>. The two "
            "agree where the scores are calibrated for this sky and the prior is its own"
        )
    return f"<p>{words}.</p>"


def _purity(rows: Sequence[PurityRow]) -> str:
    """What the scores promise above thresholds; nothing where no score reaches the lowest."""
    shown = [row for row in rows if row.candidates]
    if not shown:
        return ""
    lines = [
        (
            f"{row.threshold:g}",
            f"{row.candidates:,}",
            _lenses(row.expected_lenses),
            "–" if row.purity is None else score(row.purity),
        )
        for row in shown
    ]
    head = ("score at least", "detections", "expected lenses", "expected purity")
    return (
        "<h3>Expected above thresholds</h3>"
        + table(head, lines, label="Expected purity")
        + ("<p>Primary rows; the sum and the mean of their scores: as good as the calibration at the top.</p>")
    )


def _observed(rows: Sequence[ObservedRow], by: str) -> str:
    if not rows:
        return ""
    lines = [
        (
            f"{score(row.low)} – {score(row.high)}",
            f"{row.judged:,}",
            f"{row.lenses:,}",
            fixed(row.expected, 1),
            per_cent(row.share.value),
            interval(row.share),
        )
        for row in rows
    ]
    head = ("score", "judged", "lenses", "expected", "observed share", "95 % interval")
    return (
        f"<h3>Observed</h3><p>{text(by)}</p>"
        + f'<div class="beside">{table(head, lines, label="Lenses found among what was judged")}'
        + f"{reliability(rows)}</div>"
        + "<p>Of what was judged alone: people look at the best first, so that a bin is no fair sample of its scores "
        "unless all of it was judged.</p>"
    )


def _known(known: KnownFacts | None) -> str:
    """Known lenses at or above thresholds, by grade: of those observed; grades of which none was are left out."""
    if known is None:
        return ""
    words = (
        f"<p>{text(known.source)}: {known.systems:,} systems, {known.covered:,} of them observed; of these "
        f"{known.detected:,} have a detection within {known.radius:g}″, and {known.scored:,} a score. "
        f"{fixed(known.by_chance, 1)} candidates would match by chance.</p>"
    )
    grades = {row.grade for row in known.rows if row.covered}
    alone = len(grades) == 2  # one, and all grades together
    rows = [
        row for row in known.rows if row.recovered and row.threshold in _KNOWN_AT and not (alone and row.grade == ALL)
    ]
    if not rows:
        return f"<h3>Known lenses</h3>{words}"
    lines = [
        (
            name(row.grade or "no grade"),
            f"{row.threshold:g}",
            f"{row.covered:,}",
            f"{row.recovered:,}",
            per_cent(share(row.recovered, row.covered).value),
            interval(share(row.recovered, row.covered)),
        )
        for row in rows[:_MOST_KNOWN]
    ]
    head = ("grade", "score at least", "observed", "recovered", "share", "95 % interval")
    return f"<h3>Known lenses</h3>{words}" + table(head, lines, label="Known lenses recovered", kind="tall")


def _fits(facts: CalibrationFacts | None) -> str:
    if facts is None:
        return ""
    lines = [
        (
            name(fit.name),
            text(fit.method, 40),
            f"{fit.prior:g}",
            f"{fit.n_lenses:,}",
            f"{fit.n_others:,}",
            fixed(fit.error, 4),
            text(fit.fitted_on) + (f"; error on {text(fit.error_sample)}" if fit.error_sample else ""),
        )
        for fit in facts.fits
    ]
    head = ("calibrated", "method", "prior", "lenses", "others", "error", "fitted on")
    body = table(head, lines, label="Calibrations of the ensemble", words=(6,)) if lines else ""
    note = f"<p>{text(facts.note)}</p>" if facts.note else ""
    said = "<p>Error: expected calibration error, mean distance of score and share, as the member's card has it.</p>"
    return f"<h3>Ensemble {name(facts.ensemble)}</h3>{note}{body}{said if lines else ''}"


def _lenses(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
