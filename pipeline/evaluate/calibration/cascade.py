"""Where a cascade's gate stops: its threshold for a stated loss of lenses, on stamps that no training saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.data import LabelledLogits, logits_of_pools
from pipeline.evaluate.calibration.fit import fit_beta
from pipeline.evaluate.metrics import Estimate, share
from pipeline.models.cascade import Cascade, CascadeConfig, Views
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_WEIGH = 0.01
"""Share of lenses, by weight, in the calibration of the gate's logit."""


@dataclass(frozen=True)
class CascadeFigures:
    """What a cascade does to a labelled sample.

    Attributes
    ----------
    candidates : int
        Lenses that the whole ensemble makes candidates.
    lost : Estimate
        Share of them that the gate stops, with its 68 % interval.
    lost_of_all : Estimate
        Lenses that the gate stops, among all that both can score, candidates or not.
    passed : Estimate
        Share of the others that the gate passes on.
    """

    candidates: int
    lost: Estimate
    lost_of_all: Estimate
    passed: Estimate


def sample_of_pools(
    patterns: Sequence[str],
    ensemble: Ensemble,
    gate: ModelPackage,
    views: Views,
    *,
    limit: int | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[LabelledLogits, Float32]:
    """Pools of stamps through a whole ensemble and, beside it, its gate's logit of each (n,); as `logits_of_pools`."""
    whole = logits_of_pools(patterns, replace(ensemble, mapper=None), limit=limit, report=report)
    alone = Ensemble("gate", (gate,), (1.0,), "mean", views=views)
    return whole, logits_of_pools(patterns, alone, limit=limit, report=report).logits[:, 0]


def fit_cascade(
    ensemble: Ensemble,
    gate: ModelPackage,
    sample: LabelledLogits,
    gate_logits: Float32,
    *,
    views: Views,
    loss: float,
    prior: float,
    floor: float,
) -> Ensemble:
    """The ensemble with a cascade whose gate stops a share `loss` of the lenses that are candidates without it.

    A lens that the whole ensemble gives a score below the floor would not be in the catalogue of candidates anyway: it
    is not counted.

    Parameters
    ----------
    ensemble : Ensemble
        Its rule and calibrations decide what a candidate is.
    gate : ModelPackage
    sample : LabelledLogits
        Of the ensemble's members.
    gate_logits : float32 (n,)
        Mean over `views` quarter turns.
    views : 1, 2 or 4
    loss, prior, floor : float

    Raises
    ------
    ConfigError
        If so few lenses are candidates that the loss stands for less than one of them.
    """
    lens, scored = sample.lens, candidates(ensemble, sample.logits, prior, floor)
    found = np.sort(gate_logits[lens & scored & np.isfinite(gate_logits)])
    allowed = int(np.floor(loss * len(found) + 1e-9))
    if allowed < 1:
        raise ConfigError(
            f"{sample.what}: {len(found):,} lenses are candidates, of which a loss of {loss:g} is less than one; give "
            f"at least {int(np.ceil(1 / loss)):,}, or a larger loss."
        )
    # A stamp at the threshold passes: the lenses below it are those that may be lost.
    threshold = float(found[allowed])
    known = np.isfinite(gate_logits)
    others = known & ~lens
    return replace(
        ensemble,
        cascade=Cascade(
            gate,
            CascadeConfig(
                gate=gate.path.name,
                views=views,
                threshold=threshold,
                loss=loss,
                prior=prior,
                floor=floor,
                n_candidates=len(found),
                passed=float(np.mean(gate_logits[others] >= threshold)) if others.any() else 0.0,
                calibration=fit_beta(gate_logits[known], lens[known], sample.what, prior=_WEIGH),
            ),
        ),
    )


def cascade_figures(ensemble: Ensemble, sample: LabelledLogits, gate_logits: Float32) -> CascadeFigures:
    """What the ensemble's cascade does to a sample; candidates are as they were in its fit."""
    cascade = ensemble.gate()
    scored = candidates(ensemble, sample.logits, cascade.config.prior, cascade.config.floor)
    both = np.isfinite(gate_logits) & np.isfinite(sample.logits).all(axis=1)
    stopped, found = cascade.stops(gate_logits), sample.lens & scored
    return CascadeFigures(
        int(found.sum()),
        share(int((stopped & found).sum()), int(found.sum())),
        share(int((stopped & sample.lens & both).sum()), int((sample.lens & both).sum())),
        share(int((~stopped & ~sample.lens & both).sum()), int((~sample.lens & both).sum())),
    )


def held_out_loss(
    sample: LabelledLogits, scored: Bool, gate_logits: Float32, *, loss: float, folds: int, seed: int
) -> Estimate:
    """Share of the candidates among a sample's lenses that are lost by thresholds fitted on the other folds.

    Stamps of one object are in one fold. What a threshold of the whole sample loses of it is the stated loss by
    construction; this is what it loses of its like.

    Parameters
    ----------
    sample : LabelledLogits
    scored : bool (n,)
        `candidates` of it.
    gate_logits : float32 (n,)
    loss : float
    folds, seed : int
    """
    chosen = sample.lens & scored & np.isfinite(gate_logits)
    values = gate_logits[chosen]
    group: npt.NDArray[Any] = np.arange(len(chosen)) if sample.group is None else np.asarray(sample.group)
    _, number = np.unique(group[chosen], return_inverse=True)
    fold = np.random.default_rng(seed).integers(0, folds, number.max(initial=0) + 1)[number]
    lost = 0
    for one in range(folds):
        rest = np.sort(values[fold != one])
        if len(rest):
            threshold = rest[int(np.floor(loss * len(rest) + 1e-9))]
            lost += int((values[fold == one] < threshold).sum())
    return share(lost, len(values))


def candidates(ensemble: Ensemble, logits: Float32, prior: float, floor: float) -> Bool:
    """Which stamps the whole ensemble gives at least the floor, bool (n,)."""
    with np.errstate(invalid="ignore"):
        passing: Bool = ensemble.score(logits, prior).score >= floor
    return passing
