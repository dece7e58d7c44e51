"""A sample put through detectors of anomalies, and the one-number baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.evaluate.anomalies.config import AnomaliesConfig
from pipeline.evaluate.anomalies.latent import Answers, Dimensions, Latents, ask
from pipeline.evaluate.anomalies.shapes import SHAPES, shapes
from pipeline.evaluate.baselines import BASELINES, baselines
from pipeline.evaluate.samples.sample import Sample
from pipeline.models.card import find_package
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage, load_package
from pipeline.scan_config import ScoreConfig

Float64 = npt.NDArray[np.float64]
Report = Callable[[str], None]

CHOSEN = "in the chosen dimensions"
"""What a score of the chosen latent dimensions is called, after its package."""


@dataclass(frozen=True)
class Scored:
    """A sample's scores, each higher for what is more unusual.

    Attributes
    ----------
    sample : Sample
    columns : mapping of str to float64 (n,)
        By scorer: packages by name, what the chosen dimensions say, baselines; NaN where a stamp has no score.
    latents : mapping of str to Latents
        By package, of those that have a latent space.
    """

    sample: Sample
    columns: Mapping[str, Float64]
    latents: Mapping[str, Latents]

    def with_dimensions(self, chosen: Mapping[str, Dimensions]) -> Scored:
        """With the score of each package's chosen dimensions, before the baselines."""
        simple = {name: values for name, values in self.columns.items() if name in (*BASELINES, *SHAPES)}
        networks = {name: values for name, values in self.columns.items() if name not in simple}
        added = {f"{name} {CHOSEN}": self.latents[name].surprise(dims.chosen) for name, dims in chosen.items()}
        return replace(self, columns={**networks, **added, **simple})


def load_packages(references: Sequence[str]) -> list[ModelPackage]:
    """The packages that paths, names and patterns mean, each once, by the names on their cards.

    Raises
    ------
    ConfigError
        If a reference means no package, or two packages have one name.
    """
    found: dict[Path, None] = {}
    for reference in references:
        matched = sorted(glob(reference)) if any(sign in reference for sign in "*?[") else [reference]
        if not matched:
            raise ConfigError(
                f"packages: no folder matches {reference!r}; train one with `lensscan train`, or mend it."
            )
        found |= dict.fromkeys(find_package(path) for path in matched)
    packages = [load_package(path) for path in found]
    names = [package.name for package in packages]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"packages: two are called {twice[0]!r}; change `name` on a card, or leave one out.")
    return packages


def score_sample(
    sample: Sample, packages: Sequence[ModelPackage], config: AnomaliesConfig, report: Report | None = None
) -> Scored:
    """Logits of every package, where stamps lie in their latent spaces, and the baselines.

    Raises
    ------
    ModelMismatch
        If the sample lacks a band that a package needs, or its pixels don't do.
    """
    score = ScoreConfig(batch=config.batch)
    asked = Ensemble("asked", tuple(packages), (1.0,) * len(packages), "mean_log_odds", views=1)
    band = sample.bands.index(config.points.band) if config.points.band in sample.bands else len(sample.bands) - 1
    try:
        asked.check(sample.bands, pixel_scale=sample.pixel_scale)
    except ModelMismatch as error:
        raise ModelMismatch(f"sample {sample.name!r}: {error}") from error
    answers: list[Answers] = []
    simple: list[Float64] = []
    for part in sample.parts():
        answers.append(ask(part, sample, packages, score))
        known = np.where(part.known[:, band], part.image[:, band], np.nan)
        apertures = baselines(part.image, sample.bands, sample.pixel_scale, config.baselines)
        simple.append(np.hstack([apertures, shapes(known, sample.pixel_scale, config.shape_radius)]))
    logits = np.concatenate([answer.logits for answer in answers]).astype(np.float64)
    numbers = np.concatenate(simple)
    columns = {package.name: logits[:, index] for index, package in enumerate(packages)}
    columns |= {name: numbers[:, index] for index, name in enumerate((*BASELINES, *SHAPES))}
    latents = {
        name: Latents(
            np.concatenate([answer.latents[name].mean for answer in answers]),
            np.concatenate([answer.latents[name].log_variance for answer in answers]),
        )
        for name in answers[0].latents
    }
    if report is not None:
        report(f"{sample.name}: {len(sample):,} stamps scored")
    return Scored(sample, columns, latents)
