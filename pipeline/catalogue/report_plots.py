"""The scores of a scan: their distribution, what they promise, and how much of it artefacts touch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.catalogue.proportion import Share
from pipeline.catalogue.report_facts import ArtefactShare, ObservedRow, ReportFacts, ScoreHistogram
from pipeline.catalogue.report_html import per_cent, power, section, table, text
from pipeline.flags import VetFlag, describe

_BINS_A_DECADE = 5
_FEWEST_DECADES = 3
_TICKS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9)


def scores(facts: ReportFacts) -> str:
    """The section of the distribution of scores."""
    histogram = facts.scores
    if histogram is None or not histogram.scored.sum():
        return ""
    words = (
        f"<p>{int(histogram.scored.sum()):,} detections have a score, {int(histogram.unflagged.sum()):,} of them no "
        f"vet flag, {int(histogram.candidates.sum()):,} are candidates. Both axes are logarithmic; scores below "
        f"{power(histogram.edges[0])} count in the lowest bin.</p>"
    )
    return section("Scores", _histogram(histogram) + words)


def artefacts(rows: Sequence[ArtefactShare]) -> str:
    """The section of how many detections an artefact touches."""
    shown = [row for row in rows if row.number]
    if not shown:
        return ""
    lines = [
        (row.group, f"{row.number:,}", f"{row.flagged:,}", per_cent(row.share.value), interval(row.share))
        for row in shown
    ]
    head = ("primary detections", "number", "flagged", "share", "95 % interval")
    words = (
        "<p>With a vet flag of something that is no sky: centre masked, chip gap, trail, partial coverage, bright "
        "star, seam, or the artefact map. What vetting does not see does not count. Wilson's interval.</p>"
    )
    return section("Artefacts", table(head, lines, label="Share of artefacts") + words)


def flags(histogram: ScoreHistogram | None) -> str:
    """The section of vet flags and what they mean."""
    if histogram is None:
        return ""
    rows = [
        (flag.name.lower().replace("_", " "), f"{histogram.flags.get(flag.name, 0):,}", text(flag.description))
        for flag in describe(VetFlag)
    ]
    return section("Vet flags", table(("flag", "detections", "meaning"), rows, label="Vet flags", words=(2,)))


def interval(share: Share) -> str:
    """An interval of a share, in per cent."""
    return "–" if share.value is None else f"{per_cent(share.low)} – {per_cent(share.high)}"


def reliability(rows: Sequence[ObservedRow]) -> str:
    """Observed shares of lenses against mean scores, in log-odds, as SVG; on the line where scores are calibrated."""
    side, left, bottom = 300.0, 52.0, 40.0
    lowest = min(0.01, *(row.expected / row.judged for row in rows))
    ends = [math.log10(max(lowest, 1e-6) / 2), 2.0]

    def along(probability: float) -> float:
        level = math.log10(max(probability, 1e-9) / max(1 - probability, 1e-9))
        return min(max((level - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0)

    def x(probability: float) -> float:
        return left + along(probability) * (side - left - 12)

    def y(probability: float) -> float:
        return side - bottom - along(probability) * (side - bottom - 12)

    ticks = [tick for tick in _TICKS if 0 < along(tick) < 1]
    grid = "".join(
        f'<path class="grid" d="M{x(tick):.1f} {y(0):.1f}V{y(1):.1f}M{x(0):.1f} {y(tick):.1f}H{x(1):.1f}"/>'
        f'<text x="{x(tick):.1f}" y="{side - bottom + 17:.1f}">{tick:g}</text>'
        f'<text class="side" x="{left - 6}" y="{y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in ticks
    )
    points = "".join(
        f'<path class="error" d="M{x(row.expected / row.judged):.1f} {y(row.share.low):.1f}V{y(row.share.high):.1f}"/>'
        f'<circle cx="{x(row.expected / row.judged):.1f}" cy="{y(row.share.value or 0.0):.1f}" r="4"/>'
        for row in rows
    )
    told = ", ".join(f"{row.expected / row.judged:.2g}: {per_cent(row.share.value)}" for row in rows)
    return (
        f'<svg class="plot square" viewBox="0 0 {side:g} {side:g}" role="img" '
        f'aria-label="Observed share by mean score: {told}">{grid}'
        f'<path class="even" d="M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"/>{points}'
        f'<text x="{(left + side) / 2:g}" y="{side - 4:g}">mean score</text>'
        f'<text transform="translate(11 {(side - bottom) / 2:g}) rotate(-90)">observed share</text></svg>'
    )


def _histogram(histogram: ScoreHistogram) -> str:
    """Steps of all scores, those without a flag and the candidates, as SVG."""
    edges, scored, unflagged, chosen = _coarser(histogram)
    width, height, left, bottom = 720.0, 250.0, 56.0, 42.0
    low, high = float(edges[0]), float(edges[-1])
    decades = max(1, math.ceil(math.log10(int(scored.max()) + 1)))

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 10)

    def y(count: float) -> float:
        # A count of one stands half a decade above none.
        level = (math.log10(count) + 0.5) / (decades + 0.5) if count > 0 else 0.0
        return height - bottom - level * (height - bottom - 12)

    def steps(counts: Any) -> str:
        path = f"M{x(low):.1f} {y(0):.1f}"
        for count, first, last in zip(counts, edges[:-1], edges[1:], strict=True):
            path += f"L{x(first):.1f} {y(count):.1f}H{x(last):.1f}"
        return path + f"V{y(0):.1f}Z"

    ticks = "".join(
        f'<path d="M{x(tick):.1f} {height - bottom}v4"/><text x="{x(tick):.1f}" y="{height - bottom + 17}">'
        f"{power(tick)}</text>"
        for tick in range(math.ceil(low), math.floor(high) + 1)
    )
    lines = "".join(
        f'<path class="grid" d="M{left} {y(10**tick):.1f}H{width - 10}"/>'
        f'<text class="side" x="{left - 6}" y="{y(10**tick) + 4:.1f}">'
        f"{f'{10**tick:,}' if tick < 5 else power(tick)}</text>"
        for tick in range(decades + 1)
    )
    per_decade = ", ".join(f"{power(tick)}: {int(count):,}" for tick, count in _by_decade(edges, scored) if count)
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="Histogram of scores; detections from each power of ten on: {per_decade}">{lines}'
        f'<path class="all" d="{steps(scored)}"/><path class="clean" d="{steps(unflagged)}"/>'
        f'<path class="chosen" d="{steps(chosen)}"/>{ticks}'
        f'<text x="{(left + width) / 2:g}" y="{height - 4:g}">score</text></svg>'
        '<p class="key"><span class="all">every score</span> <span class="clean">no vet flag</span> '
        '<span class="chosen">candidates</span></p>'
    )


def _coarser(histogram: ScoreHistogram) -> tuple[Any, Any, Any, Any]:
    """Edges and the three counts in bins that can be seen, from the lowest decade that holds a score."""
    fine = round(1 / float(histogram.edges[1] - histogram.edges[0]))
    group = max(1, fine // _BINS_A_DECADE)
    first = int(np.flatnonzero(histogram.scored)[0]) // fine * fine
    first = max(0, min(first, len(histogram.scored) - _FEWEST_DECADES * fine))
    parts = [
        counts[first:].reshape(-1, group).sum(axis=1)
        for counts in (histogram.scored, histogram.unflagged, histogram.candidates)
    ]
    return histogram.edges[first::group], parts[0], parts[1], parts[2]


def _by_decade(edges: Any, counts: Any) -> list[tuple[int, int]]:
    decades = np.floor(edges[:-1] + 1e-9).astype(int)
    return [(int(decade), int(counts[decades == decade].sum())) for decade in np.unique(decades)]
