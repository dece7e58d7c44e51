"""What a comparison of anomaly detectors found, as it is written and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.anomalies.latent import Dimensions
from pipeline.evaluate.anomalies.threshold import ThresholdStudy
from pipeline.evaluate.config import Column
from pipeline.evaluate.curves import Curve
from pipeline.evaluate.figures import Figure
from pipeline.evaluate.splits import SplitCheck

Kind = Literal["network", "dimensions", "baseline"]


@dataclass(frozen=True)
class OnSample:
    """One score on one sample: its figures and its curve."""

    figures: tuple[Figure, ...]
    curve: Curve

    def figure(self, name: str) -> Figure | None:
        """The figure whose name begins so, or None."""
        return next((found for found in self.figures if found.name.startswith(name)), None)


@dataclass(frozen=True)
class ScorerResult:
    """One score.

    Attributes
    ----------
    name : str
    kind : "network", "dimensions" (the chosen ones of a latent space) or "baseline"
    architecture : str
        Empty for a baseline.
    studies : tuple of ThresholdStudy
        On the validation sample: for the config's share of anomalies, and for its prior; empty without the mode.
    samples : mapping of str to OnSample
    """

    name: str
    kind: Kind
    architecture: str
    studies: tuple[ThresholdStudy, ...]
    samples: Mapping[str, OnSample]


@dataclass(frozen=True)
class SampleResult:
    """What figures rest on; groups are what stamps of one file make."""

    name: str
    column: Column
    n_lenses: int
    n_others: int
    n_lens_groups: int
    n_other_groups: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class LatentResult:
    """The latent space of one package.

    Attributes
    ----------
    package : str
    dimensions : Dimensions
        On the validation sample.
    normal, unusual : float64 (d, 3)
        Quantiles 0.16, 0.5, 0.84 of each dimension's divergence (nats) there.
    axes : (int, int)
        The two dimensions of the largest chi-squared,
    places : mapping of str to float64 (n, 2)
        and latent means in them, by class, of some stamps of the first sample, and of the real lenses.
    """

    package: str
    dimensions: Dimensions
    normal: npt.NDArray[np.float64]
    unusual: npt.NDArray[np.float64]
    axes: tuple[int, int]
    places: Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class AnomalyEvaluation:
    """A comparison of anomaly detectors.

    Attributes
    ----------
    name, description : str
    packages : dict of str to str
        Weights' sha256 by package.
    config : mapping
    version : str
        Of lensscan.
    validation : SampleResult
    samples : tuple of SampleResult
    scorers : tuple of ScorerResult
    latents : tuple of LatentResult
    not_measured : mapping of str to str
        Why, by the sample's name.
    splits : tuple of SplitCheck
    """

    name: str
    description: str
    packages: Mapping[str, str]
    config: Mapping[str, Any]
    version: str
    validation: SampleResult
    samples: tuple[SampleResult, ...]
    scorers: tuple[ScorerResult, ...]
    latents: tuple[LatentResult, ...]
    not_measured: Mapping[str, str]
    splits: tuple[SplitCheck, ...]
