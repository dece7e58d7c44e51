"""What a folder of grades comes to: who graded how much and how well, the consensus, how far all agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.inspector.agreement import Agreement, agreement
from pipeline.inspector.consensus import Rule, consensus
from pipeline.inspector.graders import Class, GraderMeasure, Rate, measure
from pipeline.inspector.history import GRADES, History
from pipeline.inspector.planted import Planted
from pipeline.inspector.ratings import ratings


@dataclass(frozen=True)
class Summary:
    """A folder of grades in short.

    Attributes
    ----------
    objects : int
        Candidates that somebody gave a grade; planted objects are not among them.
    planted : int
        Planted objects that somebody gave a grade.
    rule : str
    consensus : dict of str to int
        Candidates with each consensus grade.
    graders : tuple of GraderMeasure
    agreement : Agreement or None
        Where it was asked for.
    """

    objects: int
    planted: int
    rule: Rule
    consensus: dict[str, int]
    graders: tuple[GraderMeasure, ...]
    agreement: Agreement | None

    def as_dict(self) -> dict[str, Any]:
        """Values fit for JSON."""
        return asdict(self)


def summarise(history: History, planted: Planted, rule: Rule = "median", *, agree: bool = False) -> Summary:
    """Sum up the grades that hold.

    Parameters
    ----------
    history : History
    planted : Planted
        Neither counted in the consensus nor in the agreement.
    rule : str
        Of the consensus.
    agree : bool
        Work out the agreement, which takes a second for 10,000 candidates.
    """
    grades = history.all_current()
    matrix = ratings(grades)
    found = consensus(matrix, rule, planted.truth)
    own = [grade for key, grade in zip(found.objects, found.grades, strict=True) if key not in planted]
    return Summary(
        objects=len(own),
        planted=len(found.objects) - len(own),
        rule=rule,
        consensus={letter: own.count(letter) for letter in GRADES},
        graders=measure(grades, planted),
        agreement=agreement(ratings(grades, without=planted)) if agree else None,
    )


def summary_lines(summary: Summary) -> list[str]:
    """The same for people, a line a fact."""
    counts = ", ".join(f"{letter} {number:,}" for letter, number in summary.consensus.items())
    lines = [f"{summary.objects:,} candidates graded; consensus ({summary.rule}): {counts}"]
    for grader in summary.graders:
        own = ", ".join(f"{letter} {number:,}" for letter, number in grader.given.items())
        lines.append(f"{grader.grader}: {sum(grader.given.values()):,} graded: {own}")
        if grader.completeness.whole or grader.false_positives.whole:
            found, fooled = _rate(grader.completeness), _rate(grader.false_positives)
            lines.append(f"  planted lenses called A or B: {found}; planted duds: {fooled}")
        lines += [_class(one, "theta_E", " arcsec") for one in grader.by_theta_E]
        lines += [_class(one, "magnitude", "") for one in grader.by_magnitude]
    if summary.agreement is not None:
        lines += _agreement_lines(summary.agreement)
    return lines


def _agreement_lines(found: Agreement) -> list[str]:
    if found.alpha is None:
        return ["agreement: no value (fewer than two graders on the same candidates, or one grade throughout)"]
    interval = f" ({found.alpha_low:.2f} to {found.alpha_high:.2f})" if found.alpha_low is not None else ""
    lines = [f"agreement: Krippendorff's alpha {found.alpha:.2f}{interval} on {found.objects:,} candidates"]
    for pair in found.pairs:
        if pair.same is not None:
            kappas = [value for value in (pair.kappa, pair.weighted_kappa) if value is not None]
            told = f", kappa {kappas[0]:.2f}, weighted {kappas[-1]:.2f}" if kappas else ""
            lines.append(f"  {pair.first} and {pair.second}: {pair.same:.0%} of {pair.objects:,} the same{told}")
    return lines


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "none graded"
    return f"{rate.part} of {rate.whole} ({rate.value:.0%}, {rate.low:.0%} to {rate.high:.0%})"


def _class(one: Class, name: str, unit: str) -> str:
    low = "" if one.low is None else f"{one.low:g} to "
    high = "more" if one.high is None else f"{one.high:g}"
    return f"    {name} {low if low else 'below '}{high}{unit}: {_rate(one.rate)}"
