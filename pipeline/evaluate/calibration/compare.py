"""Which rule of combination is best, on stamps that its fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.calibration.ensemble import fit_combination, fit_members, one_member
from pipeline.evaluate.calibration.fit import Method
from pipeline.evaluate.clusters import Clusters
from pipeline.evaluate.curves import reliability
from pipeline.evaluate.figures import HIGH, LOW, Figure, completeness_name, others_text
from pipeline.evaluate.tally import tally
from pipeline.models.calibration import logit, sigmoid
from pipeline.models.combination import Rule
from pipeline.models.ensemble import Ensemble

Float64 = npt.NDArray[np.float64]

RATES = (1e-2, 1e-3)
"""False-positive rates of the table."""
TOP_SHARE = 0.01
"""Best share of detections over which expected and observed purity are compared."""


@dataclass(frozen=True)
class RuleFigures:
    """One line of the comparison; all figures of stamps that the fit had not seen.

    Attributes
    ----------
    name : str
        A rule, or a member.
    is_rule : bool
    completeness : tuple of Figure
        At `RATES`.
    gain : Figure
        Completeness at the last of `RATES`, less that of the member best at it, on the same replicates.
    log_loss : Figure
        In nats, with as many lenses as others by weight.
    purity_expected, purity_observed : float or None
        Over the best `TOP_SHARE` of detections at the survey's prior; `purity_range` is the interval of the observed.
    purity_range : (float, float) or None
    """

    name: str
    is_rule: bool
    completeness: tuple[Figure, ...]
    gain: Figure
    log_loss: Figure
    purity_expected: float | None
    purity_observed: float | None
    purity_range: tuple[float, float] | None


def held_out_evidence(
    ensemble: Ensemble,
    logits: npt.NDArray[Any],
    lens: npt.NDArray[Any],
    what: str,
    *,
    rules: Sequence[Rule],
    method: Method,
    prior: float,
    folds: int,
    seed: int,
    groups: npt.NDArray[Any] | None = None,
) -> dict[str, Float64]:
    """Log likelihood ratios (n,) by rule and by member, each row's from a fit on the other folds.

    Folds have equal shares of either class, of groups (n,) where some rows belong together: a group never stands on
    both sides. NaN rows are not taken: give what `scorable` leaves. Errors as `fit_ensemble`, since each fold must
    have ten of either class in its fit.
    """
    fold = _clusters(lens, groups).folds(folds, np.random.default_rng(seed))
    found = {name: np.full(len(lens), np.nan) for name in (*rules, *ensemble.names)}
    for number in range(folds):
        fit, held = fold != number, fold == number
        seen = logits[fit], lens[fit], what
        calibrated = fit_members(ensemble, *seen, method=method, prior=prior)
        for rule in rules:
            fitted = fit_combination(calibrated, *seen, rule=rule, method=method, prior=prior)
            found[rule][held] = fitted.evidence(logits[held], prior)
        for column, name in enumerate(ensemble.names):
            alone = one_member(calibrated, column)
            found[name][held] = alone.evidence(logits[held, column : column + 1], prior)
    return found


def compare_rules(
    ensemble: Ensemble,
    lens: npt.NDArray[Any],
    found: Mapping[str, Float64],
    *,
    groups: npt.NDArray[Any] | None = None,
    survey_prior: float = 1e-4,
    replicates: int = 400,
    seed: int = 1,
) -> tuple[RuleFigures, ...]:
    """Every rule and every member alone, with 68 % bootstrap intervals.

    Replicates are drawn once for all lines, so that differences have intervals of their own.

    Parameters
    ----------
    ensemble : Ensemble
        Whose members are compared with.
    lens : bool (n,)
        With both classes.
    found : mapping of str to float64 (n,)
        What `held_out_evidence` gives.
    groups : (n,), optional
        Equal where rows belong together, which are drawn together as `Clusters` says; None: each for itself.
    survey_prior : float
        Of the purity.
    replicates, seed : int
    """
    truth = np.asarray(lens, bool)
    drawn = _Replicates.of(_clusters(truth, groups), replicates, seed)
    rate = RATES[-1]
    alone = {name: drawn.completeness(found[name], rate) for name in ensemble.names}
    best = max(alone, key=lambda name: alone[name][0])
    lines = []
    for name, evidence in found.items():
        tallied = tally(sigmoid(evidence + logit(survey_prior)), truth, groups)
        bins = reliability(tallied, survey_prior, share=TOP_SHARE, bins=1, replicates=replicates, seed=seed)
        lines.append(
            RuleFigures(
                name=name,
                is_rule=name not in alone,
                completeness=tuple(
                    drawn.figure(completeness_name(one), drawn.completeness(evidence, one), one) for one in RATES
                ),
                gain=drawn.figure(
                    f"gain at FPR {rate:g} over {best}", drawn.completeness(evidence, rate) - alone[best], rate
                ),
                log_loss=drawn.figure("log-loss", drawn.log_loss(evidence), 1.0),
                purity_expected=bins[0].expected if bins else None,
                purity_observed=bins[0].observed if bins else None,
                purity_range=(bins[0].low, bins[0].high) if bins else None,
            )
        )
    return tuple(lines)


@dataclass(frozen=True)
class _Replicates:
    """How often each lens and each other counts: the sample itself first, then its bootstrap."""

    clusters: Clusters
    lenses: npt.NDArray[np.int32]
    others: npt.NDArray[np.int32]

    @classmethod
    def of(cls, clusters: Clusters, replicates: int, seed: int) -> _Replicates:
        rows = [np.flatnonzero(clusters.lens == kind) for kind in (True, False)]
        lenses, others = (np.ones((replicates + 1, len(part)), np.int32) for part in rows)
        done = 1
        for drawn in clusters.draws(replicates, np.random.default_rng(seed)):
            these = slice(done, done + len(drawn))
            lenses[these], others[these] = (drawn[:, clusters.group[part]] for part in rows)
            done += len(drawn)
        return cls(clusters, lenses, others)

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        return self.clusters.lens

    def completeness(self, evidence: Float64, rate: float) -> Float64:
        """Share of lenses above the evidence that at most `rate` of the others lie strictly above, by replicate."""
        lenses, others = evidence[self.truth], evidence[~self.truth]
        order = np.argsort(-others, kind="stable")
        allowed = np.floor(rate * self.others.sum(axis=1, keepdims=True) + 1e-9)
        # Where more than `allowed` others have gone by, the threshold stands.
        passed = np.cumsum(self.others[:, order], axis=1, dtype=np.int32)
        place = np.minimum((passed <= allowed).sum(axis=1), len(others) - 1)
        ranked = others[order]
        above = np.searchsorted(np.sort(lenses), ranked[place], side="right")
        by_height = np.cumsum(self.lenses[:, np.argsort(lenses, kind="stable")], axis=1, dtype=np.int32)
        below = np.where(above > 0, by_height[np.arange(len(above)), above - 1], 0)
        answer: Float64 = 1 - below / by_height[:, -1]
        return answer

    def log_loss(self, evidence: Float64) -> Float64:
        """Mean over lenses and mean over others, averaged, by replicate."""
        yes = self.lenses @ np.logaddexp(0.0, -evidence[self.truth]) / self.lenses.sum(axis=1)
        no = self.others @ np.logaddexp(0.0, evidence[~self.truth]) / self.others.sum(axis=1)
        answer: Float64 = (yes + no) / 2
        return answer

    def figure(self, name: str, values: Float64, rate: float) -> Figure:
        n, m = self.lenses.shape[1], self.others.shape[1]
        counts = n, m, self.clusters.groups_of(True), self.clusters.groups_of(False)
        if counts[3] * rate < 1:
            told = f"{others_text(m, counts[3])} are too few: it needs {int(np.ceil(1 / rate)):,}"
            return Figure(name, None, None, None, *counts, told)
        low, high = np.quantile(values[1:], [LOW, HIGH])
        return Figure(name, float(values[0]), float(low), float(high), *counts)


def _clusters(lens: npt.NDArray[Any], groups: npt.NDArray[Any] | None) -> Clusters:
    return Clusters.of(np.arange(len(lens)) if groups is None else groups, lens)
