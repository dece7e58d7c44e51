"""From samples and an ensemble to an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.evaluate import figures as merit
from pipeline.evaluate.baselines import BASELINES, baselines
from pipeline.evaluate.breakdown import Slice, breakdown
from pipeline.evaluate.config import COLUMNS, EvaluationConfig
from pipeline.evaluate.curves import curve, reliability
from pipeline.evaluate.realism import Probe, control, embeddings, probe
from pipeline.evaluate.result import Drift, Evaluation, OthersResult, SampleResult, ScorerResult
from pipeline.evaluate.samples import Part, Sample
from pipeline.evaluate.splits import SplitCheck
from pipeline.evaluate.tally import tally
from pipeline.models.ensemble import Ensemble
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]
Report = Callable[[str], None]
Kind = Literal["ensemble", "member", "baseline"]


@dataclass(frozen=True)
class Scores:
    """A sample's scores.

    Attributes
    ----------
    sample : Sample
    logits : float32 (n, members); NaN where not scorable
    members, ensemble : float32 (n, members), (n,)
        Probabilities at the survey's prior.
    at_threshold : float32 (n, 1 + members)
        Probabilities at the prior of the threshold, the ensemble's first.
    baselines : float64 (n, 3)
    rows : int64 (k,)
        Lenses whose embeddings were taken.
    embedded : dict of member to float32 (k, d)
    """

    sample: Sample
    logits: Float32
    members: Float32
    ensemble: Float32
    at_threshold: Float32
    baselines: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    embedded: dict[str, Float32]


def score_sample(sample: Sample, ensemble: Ensemble, config: EvaluationConfig, report: Report | None = None) -> Scores:
    """Put a sample through the ensemble, a part at a time.

    Raises
    ------
    ModelMismatch
        If the sample lacks a band that a member needs, or its pixels or stamps don't do.
    """
    logits = np.full((len(sample), len(ensemble.members)), np.nan, dtype=np.float32)
    simple = np.full((len(sample), len(BASELINES)), np.nan)
    lenses = np.flatnonzero(sample.lens)
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(lenses, min(config.probe.limit, len(lenses)), replace=False))
    embedded: dict[str, list[Float32]] = {
        member.name: [] for member in ensemble.members if hasattr(member.network, "embed")
    }
    start = 0
    for part in sample.parts():
        stop = start + len(part.image)
        _check(sample, ensemble, part)
        logits[start:stop] = score_cutouts(
            part.image,
            part.ivar,
            part.mask,
            pixel_scale=sample.pixel_scale,
            bands=sample.bands,
            ensemble=ensemble,
            config=ScoreConfig(batch=config.batch),
        )
        simple[start:stop] = baselines(part.image, sample.bands, sample.pixel_scale, config.baselines)
        chosen = rows[(rows >= start) & (rows < stop)] - start
        if len(chosen):
            some = _some(part, chosen)
            for member in ensemble.members:
                if member.name in embedded:
                    seen = embeddings(some, member, bands=sample.bands, pixel_scale=sample.pixel_scale)
                    embedded[member.name].append(seen)
        start = stop
        if report is not None:
            report(f"{sample.name}: {start:,}/{len(sample):,} stamps scored")
    found = ensemble.score(logits, config.prior)
    even = ensemble.score(logits, config.threshold_prior)
    return Scores(
        sample=sample,
        logits=logits,
        members=found.members,
        ensemble=found.score,
        at_threshold=np.column_stack([even.score, even.members]),
        baselines=simple,
        rows=rows,
        embedded={name: np.concatenate(seen) for name, seen in embedded.items() if seen},
    )


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
    probes, no_probe = _probes(complete, ensemble, config)
    return Evaluation(
        name=config.name,
        description=config.description,
        ensemble=ensemble.name,
        members=ensemble.package_digests(),
        config=config.model_dump(mode="json"),
        version=version,
        samples=tuple(_sample(scores, ensemble, config) for scores in complete),
        not_measured={**not_measured, **silent},
        probes=tuple(probes),
        no_probe=no_probe,
        others=tuple(_others(scores) for scores in alone),
        drift=tuple(_drift(scored, ensemble, config)),
        splits=tuple(splits),
    )


def _check(sample: Sample, ensemble: Ensemble, part: Part) -> None:
    try:
        ensemble.check(sample.bands, pixel_scale=sample.pixel_scale, size_pix=min(part.image.shape[-2:]))
    except ModelMismatch as error:
        raise ModelMismatch(f"sample {sample.name!r}: {error}") from error


def _some(part: Part, rows: npt.NDArray[np.int64]) -> Part:
    ivar = None if part.ivar is None else part.ivar[rows]
    mask = None if part.mask is None else part.mask[rows]
    return Part(part.image[rows], ivar, mask)


def _sample(scores: Scores, ensemble: Ensemble, config: EvaluationConfig) -> SampleResult:
    sample = scores.sample
    scorers = [_scorer(scores, place, *column, config) for place, column in enumerate(_columns(scores, ensemble))]
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
    """Every score by name and kind. Members count by their logits, in which nothing saturates."""
    columns: list[tuple[str, Kind, npt.NDArray[Any]]] = [(ensemble.name, "ensemble", scores.ensemble)]
    columns += [(name, "member", scores.logits[:, index]) for index, name in enumerate(ensemble.names)]
    columns += [(name, "baseline", scores.baselines[:, index]) for index, name in enumerate(BASELINES)]
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


def _probes(scored: Sequence[Scores], ensemble: Ensemble, config: EvaluationConfig) -> tuple[list[Probe], str | None]:
    """Lenses of every sample against those of every real one, by each member that has an embedding."""
    real = [scores for scores in scored if scores.sample.column == "real"]
    made = [scores for scores in scored if scores.sample.column != "real"]
    if not real or not made:
        return [], f"no {'real' if not real else 'simulated or injected'} lenses were measured"
    probes = []
    for first in made:
        for second in real:
            for name in ensemble.names:
                if name not in first.embedded:
                    continue
                groups = _groups(first), _groups(second)
                pair = first.embedded[name], second.embedded[name]
                found = probe(*pair, groups, config.probe, replicates=config.replicates, seed=config.seed)
                even = control(pair[0], groups[0], config.probe, seed=config.seed)
                probes.append(Probe(name, first.sample.name, second.sample.name, found, even))
    return probes, None if probes else "no member's network has an embedding"


def _groups(scores: Scores) -> npt.NDArray[Any]:
    """What belongs together among the embedded lenses: the sample's groups; else a source galaxy, where it is known.

    The object comes first, since most of a stamp's light is the deflector's, and one galaxy behind many deflectors
    would tie all of them into one group.
    """
    if scores.sample.group is not None:
        return scores.sample.group[scores.rows]
    alone = -1 - scores.rows
    source = scores.sample.truth.get("source_id")
    return alone if source is None else np.where(source[scores.rows] >= 0, source[scores.rows], alone)


def _drift(scored: Sequence[Scores], ensemble: Ensemble, config: EvaluationConfig) -> list[Drift]:
    rate, rows = config.breakdown_rate, []
    for first, second in permutations(scored, 2):
        for (name, kind, mine), (_, _, theirs) in zip(
            _columns(first, ensemble), _columns(second, ensemble), strict=True
        ):
            if kind == "baseline":
                continue
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
