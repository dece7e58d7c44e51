"""From scores to an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate import figures as merit
from pipeline.evaluate.baselines import BASELINES
from pipeline.evaluate.breakdown import Slice, breakdown
from pipeline.evaluate.config import COLUMNS, EvaluationConfig
from pipeline.evaluate.curves import curve, reliability
from pipeline.evaluate.realism.pairs import probes
from pipeline.evaluate.result import Drift, Evaluation, OthersResult, SampleResult, ScorerResult
from pipeline.evaluate.scores import Scores
from pipeline.evaluate.splits import SplitCheck
from pipeline.evaluate.tally import tally
from pipeline.models.ensemble import Ensemble

Kind = Literal["ensemble", "member", "baseline"]


def evaluate(
    config: EvaluationConfig,
    ensemble: Ensemble,
    scored: Sequence[Scores],
    *,
    not_measured: Mapping[str, str],
    splits: Sequence[SplitCheck],
    version: str,
) -> Evaluation:
    """Every figure of scored samples.

    Parameters
    ----------
    config : EvaluationConfig
    ensemble : Ensemble
        That made the scores.
    scored : sequence of Scores
    not_measured : mapping of str to str
        Why, by sample.
    splits : sequence of SplitCheck
    version : str
        Of lensscan.

    Raises
    ------
    ConfigError
        If no sample has lenses.
    """
    complete = [scores for scores in scored if scores.sample.lens.any()]
    alone = [scores for scores in scored if not scores.sample.lens.any()]
    if not complete:
        raise ConfigError(f"evaluation {config.name!r}: no sample with lenses can be measured.")
    present = {scores.sample.column for scores in complete}
    told = {sample.column for sample in config.samples if sample.name in not_measured}
    silent: dict[str, str] = {
        str(column): "no sample of the evaluation stands in it" for column in COLUMNS if column not in present | told
    }
    found, no_probe = probes(complete, ensemble, config)
    # One band has no colour.
    known = tuple(place for place in range(len(BASELINES)) if any(_is_known(scores, place) for scores in complete))
    return Evaluation(
        name=config.name,
        description=config.description,
        ensemble=ensemble.name,
        members=ensemble.package_digests(),
        config=config.model_dump(mode="json"),
        version=version,
        samples=tuple(_sample(scores, ensemble, known, config) for scores in complete),
        not_measured={**not_measured, **silent},
        probes=tuple(found),
        no_probe=no_probe,
        others=tuple(_others(scores) for scores in alone),
        drift=tuple(_drift(scored, ensemble, config)),
        splits=tuple(splits),
    )


def _is_known(scores: Scores, place: int) -> bool:
    return bool(np.isfinite(scores.baselines[:, place]).any())


def _sample(scores: Scores, ensemble: Ensemble, baselines: tuple[int, ...], config: EvaluationConfig) -> SampleResult:
    sample = scores.sample
    columns = _columns(scores, ensemble)
    columns += [(BASELINES[place], "baseline", scores.baselines[:, place]) for place in baselines]
    scorers = [_scorer(scores, place, *column, config) for place, column in enumerate(columns)]
    counted = tally(scores.ensemble, sample.lens, sample.group)
    threshold = merit.threshold_at(counted, config.breakdown_rate)
    above = np.nan_to_num(scores.ensemble, nan=-np.inf) > threshold
    slices: list[Slice] = []
    for column in sample.against:
        slices.extend(breakdown(column, np.asarray(sample.truth[column]), sample.lens, above, sample.group))
    lost = ~np.isfinite(scores.ensemble)
    return SampleResult(
        name=sample.name,
        column=sample.column,
        n_lenses=counted.n_lenses,
        n_others=counted.n_others,
        n_lens_groups=counted.n_lens_groups,
        n_other_groups=counted.n_other_groups,
        unscored_lenses=int((lost & sample.lens).sum()),
        unscored_others=int((lost & ~sample.lens).sum()),
        scorers=tuple(scorers),
        breakdown_threshold=threshold,
        slices=tuple(slices),
        reliability=tuple(
            reliability(
                counted,
                config.prior,
                share=config.reliability.share,
                bins=config.reliability.bins,
                replicates=config.replicates,
                seed=config.seed,
            )
        ),
        notes=sample.notes,
    )


def _others(scores: Scores) -> OthersResult:
    sample = scores.sample
    lost = int((~np.isfinite(scores.ensemble)).sum())
    return OthersResult(sample.name, sample.column, len(sample), lost, sample.notes)


def _columns(scores: Scores, ensemble: Ensemble) -> list[tuple[str, Kind, npt.NDArray[Any]]]:
    """The networks' scores by name and kind. Members count by their logits, in which nothing saturates."""
    columns: list[tuple[str, Kind, npt.NDArray[Any]]] = [(ensemble.name, "ensemble", scores.ensemble)]
    columns += [(name, "member", scores.logits[:, index]) for index, name in enumerate(ensemble.names)]
    return columns


def _scorer(
    scores: Scores, place: int, name: str, kind: Kind, values: npt.NDArray[Any], config: EvaluationConfig
) -> ScorerResult:
    counted = tally(values, scores.sample.lens, scores.sample.group)
    drawn = merit.Bootstrap.of(counted, config.replicates, config.seed)
    found = merit.rank_figures(drawn, config.rates)
    found += [merit.purity_at_rate(drawn, rate, config.prior) for rate in config.rates]
    found += [merit.yield_at(drawn, looked, config.detections, config.prior) for looked in config.inspected]
    matrix = None
    if kind != "baseline":
        even = tally(scores.at_threshold[:, place], scores.sample.lens, scores.sample.group)
        found += merit.threshold_figures(even, config.threshold, config.replicates, config.seed)
        matrix = merit.confusion(even, config.threshold)
    return ScorerResult(name, kind, tuple(found), matrix, curve(counted, config.prior, config.detections))


def _drift(scored: Sequence[Scores], ensemble: Ensemble, config: EvaluationConfig) -> list[Drift]:
    rate, rows = config.breakdown_rate, []
    for first, second in permutations(scored, 2):
        for (name, _, mine), (_, _, theirs) in zip(_columns(first, ensemble), _columns(second, ensemble), strict=True):
            counted = tally(mine, first.sample.lens, first.sample.group)
            threshold = merit.threshold_at(counted, rate)
            above = np.nan_to_num(theirs, nan=-np.inf) > threshold
            reason = None if counted.n_other_groups * rate >= 1 else f"{first.sample.name} has too few others"
            share, found = (
                merit.share_figure(
                    f"{what} above the threshold of {first.sample.name}",
                    above[chosen],
                    None if second.sample.group is None else second.sample.group[chosen],
                    lens=lens,
                    reason=reason,
                )
                for what, lens, chosen in (
                    ("share", False, ~second.sample.lens),
                    ("completeness", True, second.sample.lens),
                )
            )
            rows.append(Drift(name, first.sample.name, second.sample.name, rate, share, found))
    return rows
