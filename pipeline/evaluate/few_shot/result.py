"""What an evaluation of few labels gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.few_shot.episodes import Accuracy
from pipeline.evaluate.few_shot.probe import Spread

SCRATCH, PROBE, TUNED = "from scratch", "probe", "fine-tuned"


@dataclass(frozen=True)
class Line:
    """One network with one number of labels.

    Attributes
    ----------
    network : str
    how : str
        `SCRATCH`, `PROBE` or `TUNED`.
    labels, draws : int
    form : str
        Of a probe; empty for others.
    completeness, auroc : Spread
    """

    network: str
    how: str
    labels: int
    draws: int
    form: str
    completeness: Spread
    auroc: Spread


@dataclass(frozen=True)
class Goal:
    """Whether pre-training saves labels.

    Attributes
    ----------
    labels, scratch_labels : int
    best, scratch : Line or None
        The best pre-trained network with `labels`, and the best training from scratch with `scratch_labels`; None where
        it was not measured.
    """

    labels: int
    scratch_labels: int
    best: Line | None
    scratch: Line | None

    @property
    def reached(self) -> bool | None:
        """Whether the pre-trained network finds at least as much; None where one was not measured."""
        if self.best is None or self.scratch is None:
            return None
        return self.best.completeness.value >= self.scratch.completeness.value


@dataclass(frozen=True)
class FewShotResult:
    """The whole of it.

    Attributes
    ----------
    name, description : str
    config : mapping
    version : str
    rate : float
        Of false positives.
    samples : mapping of str to (int, int)
        Lenses and others of each sample.
    lines : tuple of Line
    episodes : mapping of str to list of Accuracy
        By network.
    goal : Goal
    not_measured : mapping of str to str
        Why, by network.
    """

    name: str
    description: str
    config: Mapping[str, Any]
    version: str
    rate: float
    samples: Mapping[str, tuple[int, int]]
    lines: tuple[Line, ...]
    episodes: Mapping[str, list[Accuracy]]
    goal: Goal
    not_measured: Mapping[str, str]


def goal_of(lines: Sequence[Line], labels: int, scratch_labels: int) -> Goal:
    """The best of the lines on either side of the goal."""

    def best(number: int, scratch: bool) -> Line | None:
        found = [line for line in lines if line.labels == number and (line.how == SCRATCH) == scratch]
        return max(found, key=lambda line: line.completeness.value, default=None)

    return Goal(labels, scratch_labels, best(labels, False), best(scratch_labels, True))
