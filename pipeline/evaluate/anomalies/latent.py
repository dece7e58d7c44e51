"""Latent spaces of autoencoders: where stamps lie, and in which dimensions anomalies lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.anomalies.config import LatentConfig
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.models.card import ModelCard
from pipeline.models.package import ModelPackage
from pipeline.models.vae_choice import histogram_chi_squared
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@runtime_checkable
class Autoencoder(Protocol):
    """A network with a latent space."""

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (n, d) of stamps (n, channels, y, x)."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """The first channels of stamps as the latent means give them back, (n, drawn, y, x)."""


@dataclass(frozen=True)
class Latents:
    """Means and log-variances of stamps, float32 (n, d) each; NaN where a stamp can't be scored."""

    mean: Float32
    log_variance: Float32

    @property
    def divergence(self) -> Float64:
        """Kullback-Leibler divergence of each dimension from a standard normal one, nats (n, d).

        (mean^2 + variance - 1 - ln variance) / 2; whatever the network's own prior is.
        """
        mean, log_variance = self.mean.astype(np.float64), self.log_variance.astype(np.float64)
        answer: Float64 = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
        return answer

    def surprise(self, dimensions: npt.NDArray[np.bool_]) -> Float64:
        """Mean divergence over the chosen dimensions, nats (n,): the score of the study."""
        answer: Float64 = self.divergence[:, dimensions].mean(axis=1)
        return answer


@dataclass(frozen=True)
class Dimensions:
    """How differently normals and anomalies are distributed in each dimension, and which ones are chosen.

    Attributes
    ----------
    chi_squared : float64 (d,)
        Over its degrees of freedom: 1 where anomalies lie as normals do.
    limit : float
        Above which a dimension is chosen; the largest alone where none is.
    chosen : bool (d,)
    """

    chi_squared: Float64
    limit: float
    chosen: npt.NDArray[np.bool_]


_FAINTEST = 1e-6
"""Divergence, in nats, below which all are the same."""


def choose_dimensions(latents: Latents, anomaly: npt.NDArray[np.bool_], config: LatentConfig) -> Dimensions:
    """The dimensions in which anomalies sit, by the study's rule, on a sample of which no figure is given.

    The logarithms of the divergences of normals and of anomalies are compared by the chi-squared of two binned samples
    (`pipeline.models.vae_choice`); those dimensions are chosen whose chi-squared is `config.sigmas` standard deviations
    above the mean over the dimensions.

    Parameters
    ----------
    latents : Latents
    anomaly : bool (n,)
    config : LatentConfig
    """
    known = np.isfinite(latents.mean).all(axis=1)
    logs = np.log(np.maximum(latents.divergence[known], _FAINTEST))
    unusual = anomaly[known]
    chi_squared = histogram_chi_squared(logs[~unusual], logs[unusual], config.bins)
    limit = float(chi_squared.mean() + config.sigmas * chi_squared.std())
    chosen = chi_squared > limit
    if not chosen.any():
        chosen = np.arange(len(chi_squared)) == int(np.argmax(chi_squared))
    return Dimensions(chi_squared, limit, chosen)


def latents_of(sample: Sample, package: ModelPackage, score: ScoreConfig) -> Latents:
    """Where a sample's stamps lie in the latent space of a package whose network is an `Autoencoder`."""
    means: list[Float32] = []
    log_variances: list[Float32] = []
    network = cast("Autoencoder", package.network)
    with torch.inference_mode():
        for part in sample.parts():
            for channels, scorable, n in prepared(part, sample, package.card, score):
                mean, log_variance = (value.float() for value in network.latent(channels))
                for values, kept in ((mean, means), (log_variance, log_variances)):
                    kept.append(torch.where(scorable[:, None], values, torch.nan)[:n].numpy())
    return Latents(np.concatenate(means), np.concatenate(log_variances))


def prepared(part: Part, sample: Sample, card: ModelCard, score: ScoreConfig) -> Iterator[tuple[Tensor, Tensor, int]]:
    """A network's channels of some stamps, a batch at a time, which of them can be scored, and how many they are."""
    cutouts = Cutouts(part.image, part.ivar, part.mask, sample.bands, sample.pixel_scale)
    for batch in batches(cutouts, np.arange(len(cutouts)), score.batch):
        inputs = Prepared(batch, cutouts, score)
        yield inputs.views(card, 1)[0], inputs.scorable(card), len(batch.rows)
