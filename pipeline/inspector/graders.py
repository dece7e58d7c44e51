"""How good each grader is, measured on planted lenses and duds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.inspector.consensus import LENS
from pipeline.inspector.history import GRADES, Grade
from pipeline.inspector.planted import Planted, PlantedItem

THETA_E = (0.0, 1.0, 1.5, 2.0, 3.0, math.inf)
"""Edges of the classes of theta_E, arcsec."""

MAGNITUDES = (-math.inf, 18.0, 19.0, 20.0, 21.0, 22.0, math.inf)
"""Edges of the classes of magnitude."""

SIGMAS = 1.959963984540054
"""Of a normal distribution, for 95 %."""


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % Wilson interval; all None where there is nothing to have a share of."""

    part: int
    whole: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Class:
    """A share among planted objects of one class, from `low` up to `high` (left out); None: no edge on that side."""

    low: float | None
    high: float | None
    rate: Rate


@dataclass(frozen=True)
class GraderMeasure:
    """One grader.

    Attributes
    ----------
    grader : str
    given : dict of str to int
        How many candidates got each grade; planted objects are not among them.
    completeness : Rate
        Planted lenses graded A or B, of those that the grader graded.
    false_positives : Rate
        Planted duds graded A or B.
    by_theta_E, by_magnitude : tuple of Class
        Completeness in classes of planted lenses of which it is known; empty classes are left out.
    """

    grader: str
    given: dict[str, int]
    completeness: Rate
    false_positives: Rate
    by_theta_E: tuple[Class, ...]
    by_magnitude: tuple[Class, ...]


def measure(grades: Iterable[Grade], planted: Planted) -> tuple[GraderMeasure, ...]:
    """Measure every grader, sorted by name.

    Parameters
    ----------
    grades : iterable of Grade
        That hold; comments without a grade don't count.
    planted : Planted
    """
    by_grader: dict[str, list[Grade]] = {}
    for grade in grades:
        if grade.grade is not None:
            by_grader.setdefault(grade.grader, []).append(grade)
    return tuple(_measured(name, by_grader[name], planted) for name in sorted(by_grader))


def wilson(part: int, whole: int) -> Rate:
    """A share with its 95 % interval (Wilson 1927, JASA 22, 209)."""
    if whole == 0:
        return Rate(part, whole, None, None, None)
    p, z2 = part / whole, SIGMAS**2
    middle = (p + z2 / (2 * whole)) / (1 + z2 / whole)
    half = SIGMAS / (1 + z2 / whole) * math.sqrt(p * (1 - p) / whole + z2 / (4 * whole**2))
    return Rate(part, whole, p, max(0.0, middle - half), min(1.0, middle + half))


def _measured(name: str, grades: Sequence[Grade], planted: Planted) -> GraderMeasure:
    own = [grade.grade for grade in grades if grade.key not in planted]
    seen = [(planted.by_key[grade.key], grade.grade in LENS) for grade in grades if grade.key in planted]
    lenses = [(item, called) for item, called in seen if item.kind == "lens"]
    duds = [called for item, called in seen if item.kind == "dud"]
    return GraderMeasure(
        name,
        {letter: own.count(letter) for letter in GRADES},
        wilson(sum(called for _, called in lenses), len(lenses)),
        wilson(sum(duds), len(duds)),
        _classes(lenses, THETA_E, lambda item: item.theta_E),
        _classes(lenses, MAGNITUDES, lambda item: item.magnitude),
    )


def _classes(
    lenses: Sequence[tuple[PlantedItem, bool]], edges: Sequence[float], of: Callable[[PlantedItem], float | None]
) -> tuple[Class, ...]:
    known = [(value, called) for item, called in lenses if (value := of(item)) is not None]
    found = []
    for low, high in pairwise(edges):
        inside = [called for value, called in known if low <= value < high]
        if inside:
            rate = wilson(sum(inside), len(inside))
            found.append(Class(low if math.isfinite(low) else None, high if math.isfinite(high) else None, rate))
    return tuple(found)
