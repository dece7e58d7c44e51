"""What an evaluation found, as it is written and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import numpy as np

from pipeline.evaluate.breakdown import Slice
from pipeline.evaluate.config import Column
from pipeline.evaluate.curves import Curve, ReliabilityBin
from pipeline.evaluate.figures import Confusion, Figure
from pipeline.evaluate.realism.probe import Probe
from pipeline.evaluate.splits import SplitCheck


@dataclass(frozen=True)
class ScorerResult:
    """One score on one sample.

    Attributes
    ----------
    name : str
        Of the ensemble, a member or a baseline.
    kind : "ensemble", "member" or "baseline"
    figures : tuple of Figure
    confusion : Confusion or None
        None for a baseline, which is no probability.
    curve : Curve
    """

    name: str
    kind: Literal["ensemble", "member", "baseline"]
    figures: tuple[Figure, ...]
    confusion: Confusion | None
    curve: Curve

    def figure(self, name: str) -> Figure:
        """The figure of a name; KeyError if there is none."""
        for found in self.figures:
            if found.name == name:
                return found
        raise KeyError(name)


@dataclass(frozen=True)
class SampleResult:
    """Everything about one sample; the ensemble is first among `scorers`, then members, then baselines.

    `slices` and `reliability` are the ensemble's; `breakdown_threshold` is its probability at the survey's prior above
    which a stamp counts in the slices. Groups are what stamps that show the same sky make; as many as stamps
    where each stands for itself.
    """

    name: str
    column: Column
    n_lenses: int
    n_others: int
    n_lens_groups: int
    n_other_groups: int
    unscored_lenses: int
    unscored_others: int
    scorers: tuple[ScorerResult, ...]
    breakdown_threshold: float
    slices: tuple[Slice, ...]
    reliability: tuple[ReliabilityBin, ...]
    notes: tuple[str, ...]

    @property
    def ensemble(self) -> ScorerResult:
        """The ensemble's own result."""
        return self.scorers[0]


@dataclass(frozen=True)
class OthersResult:
    """A sample without a known lens, on which only thresholds are told."""

    name: str
    column: Column
    n_others: int
    unscored_others: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drift:
    """One sample above the threshold that a share `rate` of another's others pass: thresholds travel badly.

    Attributes
    ----------
    scorer : str
    threshold_from, measured_on : str
        Names of the samples.
    rate : float
        The false-positive share that was meant.
    share : Figure
        Of the others of the sample that is measured on.
    completeness : Figure
        The share of its lenses.
    """

    scorer: str
    threshold_from: str
    measured_on: str
    rate: float
    share: Figure
    completeness: Figure


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of one ensemble.

    Attributes
    ----------
    name, description, ensemble : str
    members : dict of str to str
        Weights' sha256 by member.
    config : mapping
        The evaluation's configuration.
    version : str
        Of lensscan.
    samples : tuple of SampleResult
    not_measured : dict of str to str
        Why, by the sample's name, or by the column's for one that no sample stands in.
    probes : tuple of Probe
    no_probe : str or None
        Why there is none.
    others : tuple of OthersResult
        Samples without a known lens.
    drift : tuple of Drift
    splits : tuple of SplitCheck
    """

    name: str
    description: str
    ensemble: str
    members: Mapping[str, str]
    config: Mapping[str, Any]
    version: str
    samples: tuple[SampleResult, ...]
    not_measured: Mapping[str, str]
    probes: tuple[Probe, ...]
    no_probe: str | None
    others: tuple[OthersResult, ...]
    drift: tuple[Drift, ...]
    splits: tuple[SplitCheck, ...]

    def probe_of(self, sample: str, member: str | None = None) -> Probe | None:
        """How well a member tells a sample's lenses from real ones; the highest of all members for None.

        Of real lenses in the same survey's pixels where there are any, else of others.
        """
        found = [
            probe
            for probe in self.probes
            if probe.first == sample and (member is None or probe.member == member) and probe.auc.value is not None
        ]
        return max(found, key=lambda probe: (probe.like, probe.auc.value or 0.0), default=None)


def plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as what JSON has; a number that is not finite is null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
