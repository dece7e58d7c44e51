"""Where the gates of a cascade stop: their thresholds for a stated loss of lenses, on stamps that no training saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.data import LabelledLogits, logits_of_pools
from pipeline.evaluate.calibration.ensemble import known_rows
from pipeline.evaluate.calibration.fit import fit_beta
from pipeline.evaluate.metrics import Estimate, share
from pipeline.models.calibration import logit
from pipeline.models.cascade import Cascade
from pipeline.models.cascade_config import CascadeConfig, GateConfig, Views
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_WEIGH = 0.01
"""Share of lenses, by weight, in the calibrations of what the gates judge by."""

_NEAR = 4.0
"""In natural log-odds: how near to the floor the stamps are that a gate's weights are fitted on."""


@dataclass(frozen=True)
class CascadeFigures:
    """What a cascade does to a labelled sample.

    Attributes
    ----------
    candidates : int
        Lenses that the whole ensemble makes candidates.
    lost : Estimate
        Share of them that the gates stop, with its 68 % interval.
    lost_of_all : Estimate
        Lenses that the gates stop, among all that both can score, candidates or not.
    passed : Estimate
        Share of the others that every gate passes on.
    """

    candidates: int
    lost: Estimate
    lost_of_all: Estimate
    passed: Estimate


def sample_of_pools(
    patterns: Sequence[str],
    ensemble: Ensemble,
    gates: tuple[ModelPackage, ...],
    views: Views,
    *,
    limit: int | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[LabelledLogits, Float32]:
    """Pools of stamps through a whole ensemble and, beside it, every gate's logit of each (n, gates).

    Parameters, order and errors as `logits_of_pools`.
    """
    whole = logits_of_pools(patterns, replace(ensemble, mapper=None), limit=limit, report=report)
    alone = Ensemble("gates", gates, (1.0,) * len(gates), "mean", views=views)
    return whole, logits_of_pools(patterns, alone, limit=limit, report=report).logits


def fit_cascade(
    ensemble: Ensemble,
    gates: tuple[ModelPackage, ...],
    sample: LabelledLogits,
    gate_logits: Float32,
    *,
    views: Views,
    loss: float,
    prior: float,
    floor: float,
) -> Ensemble:
    """The ensemble with gates that together stop a share `loss` of the lenses that are candidates without them.

    A lens that the whole ensemble gives a score below the floor would not be in the catalogue of candidates anyway: it
    is not counted. Each gate judges by the weighted sum of the logits so far that comes nearest to what the whole
    ensemble finds, by least squares over the stamps around the floor. The k-th of K gates may bring the loss up to k/K
    of the whole.

    Parameters
    ----------
    ensemble : Ensemble
        Its rule and calibrations decide what a candidate is.
    gates : tuple of ModelPackage
        In their order.
    sample : LabelledLogits
        Of the ensemble's members.
    gate_logits : float32 (n, gates)
        Mean over `views` quarter turns.
    views : 1, 2 or 4
    loss, prior, floor : float

    Raises
    ------
    ConfigError
        If so few lenses are candidates that the loss stands for less than one of them.
    """
    known = known_rows(gate_logits) & known_rows(ensemble.ruled(sample.logits))
    values, lens = gate_logits[known].astype(np.float64), sample.lens[known]
    found = lens & candidates(ensemble, sample.logits[known], prior, floor)
    if loss * found.sum() < 1:
        raise ConfigError(
            f"{sample.what}: {found.sum():,} lenses are candidates, of which a loss of {loss:g} is less than one; give "
            f"at least {int(np.ceil(1 / loss)):,}, or a larger loss."
        )
    above = ensemble.evidence(sample.logits[known], prior) - (logit(floor) - logit(prior))
    fitted = []
    passing = np.ones(len(values), np.bool_)
    for number, gate in enumerate(gates, 1):
        weights = _weights(values[:, :number], above)
        sums = values[:, :number] @ weights
        threshold = _threshold(sums[found & passing], int(found.sum()), loss * number / len(gates))
        passing &= sums >= threshold
        fitted.append(
            GateConfig(
                package=gate.path.name,
                weights=tuple(weights.tolist()),
                threshold=threshold,
                calibration=fit_beta(sums, lens, sample.what, prior=_WEIGH),
            )
        )
    config = CascadeConfig(
        views=views,
        loss=loss,
        prior=prior,
        floor=floor,
        n_candidates=int(found.sum()),
        passed=float(passing[~lens].mean()) if not lens.all() else 0.0,
        gates=tuple(fitted),
    )
    return replace(ensemble, cascade=Cascade(gates, config))


def _weights(values: Floats, above: Floats) -> Floats:
    """Of logits (n, k), those of the sum that runs most like `above`, in few digits."""
    near = np.abs(above) < _NEAR
    answer, *_ = np.linalg.lstsq(np.column_stack([values, np.ones(len(values))])[near], above[near], rcond=None)
    return np.asarray(np.round(answer[:-1], 4))


def _threshold(passing: Floats, total: int, loss: float) -> float:
    """What stops as many more of the lenses that still pass as brings the loss up to a share of all of them."""
    ordered = np.sort(passing)
    lost = total - len(ordered)
    # A stamp at the threshold passes; rounded down, so that it still does.
    return float(np.floor(1e4 * ordered[int(np.floor(loss * total + 1e-9)) - lost]) / 1e4)


def cascade_figures(ensemble: Ensemble, sample: LabelledLogits, gate_logits: Float32) -> CascadeFigures:
    """What the ensemble's cascade does to a sample; candidates are as they were in its fit."""
    cascade = ensemble.gates()
    scored = candidates(ensemble, sample.logits, cascade.config.prior, cascade.config.floor)
    both = known_rows(gate_logits) & known_rows(ensemble.ruled(sample.logits))
    stopped, found = cascade.stops(gate_logits), sample.lens & scored
    return CascadeFigures(
        int(found.sum()),
        share(int((stopped & found).sum()), int(found.sum())),
        share(int((stopped & sample.lens & both).sum()), int((sample.lens & both).sum())),
        share(int((~stopped & ~sample.lens & both).sum()), int((~sample.lens & both).sum())),
    )


def held_out_loss(
    ensemble: Ensemble, sample: LabelledLogits, gate_logits: Float32, *, folds: int, seed: int
) -> Estimate | None:
    """Share of the candidates among a sample's lenses that are lost by gates fitted on the other folds.

    Stamps of one object are in one fold. What gates fitted on the whole sample lose of it is the stated loss by
    construction; this is what they lose of its like.

    Parameters
    ----------
    ensemble : Ensemble
        With the cascade that is fitted anew on each part.
    sample : LabelledLogits
    gate_logits : float32 (n, gates)
    folds, seed : int

    Returns
    -------
    Estimate or None
        None where the other folds hold too few lenses for the loss.
    """
    cascade = ensemble.gates()
    about = cascade.config
    group: npt.NDArray[Any] = np.arange(len(sample.lens)) if sample.group is None else np.asarray(sample.group)
    _, number = np.unique(group, return_inverse=True)
    fold = np.random.default_rng(seed).integers(0, folds, number.max(initial=0) + 1)[number]
    found = sample.lens & candidates(ensemble, sample.logits, about.prior, about.floor)
    lost = 0
    for one in range(folds):
        rest = replace(sample, logits=sample.logits[fold != one], lens=sample.lens[fold != one], group=None)
        try:
            other = fit_cascade(
                ensemble,
                cascade.packages,
                rest,
                gate_logits[fold != one],
                views=about.views,
                loss=about.loss,
                prior=about.prior,
                floor=about.floor,
            )
        except ConfigError:
            return None
        lost += int((other.gates().stops(gate_logits) & found & (fold == one)).sum())
    return share(lost, int(found.sum()))


def candidates(ensemble: Ensemble, logits: Float32, prior: float, floor: float) -> Bool:
    """Which stamps the whole ensemble gives at least the floor, bool (n,)."""
    with np.errstate(invalid="ignore"):
        passing: Bool = ensemble.score(logits, prior).score >= floor
    return passing
