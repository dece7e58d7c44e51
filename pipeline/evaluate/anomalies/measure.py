"""From scores of anomaly detectors to a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.evaluate import figures as merit
from pipeline.evaluate.anomalies.config import AnomaliesConfig
from pipeline.evaluate.anomalies.latent import Dimensions, choose_dimensions
from pipeline.evaluate.anomalies.result import (
    AnomalyEvaluation,
    Kind,
    LatentResult,
    OnSample,
    SampleResult,
    ScorerResult,
)
from pipeline.evaluate.anomalies.scores import CHOSEN, Scored
from pipeline.evaluate.anomalies.threshold import ThresholdStudy, best_on_itself, figures_at_prior, threshold_study
from pipeline.evaluate.curves import curve
from pipeline.evaluate.splits import SplitCheck
from pipeline.evaluate.tally import tally
from pipeline.models.package import ModelPackage

_DETECTIONS = 1_000_000
"""Of a survey, for the yield that a curve carries."""

POINTS, EXTENDED, ANOMALIES = "point sources", "extended sources", "simulated anomalies"
"""Classes of the first sample in a plot of the latent space."""


def compare(
    config: AnomaliesConfig,
    packages: Sequence[ModelPackage],
    validation: Scored,
    scored: Sequence[Scored],
    *,
    not_measured: Mapping[str, str],
    splits: Sequence[SplitCheck],
    version: str,
) -> tuple[AnomalyEvaluation, list[Scored]]:
    """Every figure of scored samples.

    Parameters
    ----------
    config : AnomaliesConfig
    packages : sequence of ModelPackage
    validation : Scored
        Where thresholds and latent dimensions are chosen.
    scored : sequence of Scored
    not_measured : mapping of str to str
    splits : sequence of SplitCheck
    version : str
        Of lensscan.

    Returns
    -------
    AnomalyEvaluation
    list of Scored
        The samples, with the scores of the chosen dimensions.
    """
    chosen: dict[str, Dimensions] = {}
    if "AD_analysis" in config.modes:
        labels = validation.sample.lens
        chosen = {
            name: choose_dimensions(latents, labels, config.latent) for name, latents in validation.latents.items()
        }
    validation = validation.with_dimensions(chosen)
    samples = [item.with_dimensions(chosen) for item in scored]
    architectures = {package.name: package.card.architecture for package in packages}
    scorers = [_scorer(name, architectures, validation, samples, config) for name in validation.columns]
    evaluation = AnomalyEvaluation(
        name=config.name,
        description=config.description,
        packages={package.name: package.weights_sha256 for package in packages},
        config=config.model_dump(mode="json"),
        version=version,
        validation=_sample(validation),
        samples=tuple(_sample(item) for item in samples),
        scorers=tuple(scorers),
        latents=tuple(_latent(name, dims, validation, samples, config) for name, dims in chosen.items()),
        not_measured=dict(not_measured),
        splits=tuple(splits),
    )
    return evaluation, samples


def _sample(scored: Scored) -> SampleResult:
    sample = scored.sample
    counted = tally(np.zeros(len(sample)), sample.lens, sample.group)
    groups = counted.n_lens_groups, counted.n_other_groups
    return SampleResult(sample.name, sample.column, counted.n_lenses, counted.n_others, *groups, sample.notes)


def _scorer(
    name: str, architectures: Mapping[str, str], validation: Scored, samples: Sequence[Scored], config: AnomaliesConfig
) -> ScorerResult:
    kind: Kind = "network" if name in architectures else "dimensions" if name.endswith(CHOSEN) else "baseline"
    studies: tuple[ThresholdStudy, ...] = ()
    if "anomaly_classification" in config.modes:
        counted = tally(validation.columns[name], validation.sample.lens)
        studies = tuple(threshold_study(counted, share) for share in (config.share, config.prior))
    architecture = architectures.get(name.removesuffix(f" {CHOSEN}"), "")
    found = {item.sample.name: _on_sample(item, name, studies, config) for item in samples}
    return ScorerResult(name, kind, architecture, studies, found)


def _on_sample(scored: Scored, name: str, studies: Sequence[ThresholdStudy], config: AnomaliesConfig) -> OnSample:
    sample = scored.sample
    counted = tally(scored.columns[name], sample.lens, sample.group)
    drawn = merit.Bootstrap.of(counted, config.replicates, config.seed)
    ranked = merit.rank_figures(drawn, config.rates)
    found = [figure for figure in ranked if not figure.name.startswith("TPR")]
    if studies:
        at_share, at_prior = (study.best for study in studies)
        found += [
            replace(figure, name=f"{figure.name.rpartition(' at ')[0]} at the threshold of the validation")
            for figure in merit.threshold_figures(counted, at_share, config.replicates, config.seed)
        ]
        found.append(best_on_itself(drawn))
        if sample.group is None:
            found += figures_at_prior(counted, at_prior, config.prior, 20 * config.replicates, config.seed)
    return OnSample(tuple(found), curve(counted, config.prior, _DETECTIONS))


def _latent(
    name: str, dims: Dimensions, validation: Scored, samples: Sequence[Scored], config: AnomaliesConfig
) -> LatentResult:
    divergence, lens = validation.latents[name].divergence, validation.sample.lens
    normal, unusual = (np.nanquantile(divergence[rows], [0.16, 0.5, 0.84], axis=0).T for rows in (~lens, lens))
    order = np.argsort(-dims.chi_squared, kind="stable")
    axes = int(order[0]), int(order[min(1, len(order) - 1)])
    rng = np.random.default_rng(config.seed)
    places = {}
    for what, (scored, rows) in _classes(samples, config).items():
        some = rng.permutation(rows)[: config.latent.points]
        places[what] = scored.latents[name].mean[np.sort(some)][:, axes].astype(np.float64)
    return LatentResult(name, dims, normal, unusual, axes, places)


def _classes(samples: Sequence[Scored], config: AnomaliesConfig) -> dict[str, tuple[Scored, npt.NDArray[np.int64]]]:
    """Rows of the first sample by class, and of the real lenses, which all samples of them share."""
    found: dict[str, tuple[Scored, npt.NDArray[np.int64]]] = {}
    for scored in samples:
        sample = scored.sample
        if sample.column == "real":
            found.setdefault("real lenses", (scored, np.flatnonzero(sample.lens)))
        elif not found:
            kind = np.asarray(sample.truth.get("kind", np.full(len(sample), "")))
            point = np.isin(kind, config.point_like)
            classes = {POINTS: ~sample.lens & point, EXTENDED: ~sample.lens & ~point, ANOMALIES: sample.lens}
            found |= {what: (scored, np.flatnonzero(chosen)) for what, chosen in classes.items() if chosen.any()}
    return found
