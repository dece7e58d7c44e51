"""Latent spaces of autoencoders: where stamps lie, and in which dimensions anomalies lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.evaluate.anomalies.config import LatentConfig
from pipeline.evaluate.samples.sample import Part, Sample
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

    Raises
    ------
    ConfigError
        If no stamp of one of the classes has a place in the latent space.
    """
    known = np.isfinite(latents.mean).all(axis=1)
    logs = np.log(np.maximum(latents.divergence[known], _FAINTEST))
    unusual = anomaly[known]
    if unusual.all() or not unusual.any():
        raise ConfigError(
            f"the dimensions in which anomalies sit are chosen on stamps of both classes; of {len(anomaly):,}, "
            f"{int((~unusual).sum()):,} normal ones and {int(unusual.sum()):,} anomalies can be scored."
        )
    chi_squared = histogram_chi_squared(logs[~unusual], logs[unusual], config.bins)
    limit = float(chi_squared.mean() + config.sigmas * chi_squared.std())
    chosen = chi_squared > limit
    if not chosen.any():
        chosen = np.arange(len(chi_squared)) == int(np.argmax(chi_squared))
    return Dimensions(chi_squared, limit, chosen)


@dataclass(frozen=True)
class Answers:
    """What networks say of n stamps; NaN where one can't be scored.

    Attributes
    ----------
    logits : float32 (n, packages)
    latents : mapping of str to Latents
        By package, of those with a latent space.
    """

    logits: Float32
    latents: Mapping[str, Latents]


def ask(part: Part, sample: Sample, packages: Sequence[ModelPackage], score: ScoreConfig) -> Answers:
    """Logits of upright stamps and their places in latent spaces; packages that read the same share its making."""
    logits: list[Float32] = []
    found: dict[str, list[tuple[Float32, Float32]]] = {
        package.name: [] for package in packages if isinstance(package.network, Autoencoder)
    }
    with torch.inference_mode():
        for inputs, n in prepared(part, sample, score):
            answers = []
            for package in packages:
                channels, scorable = inputs.views(package.card, 1)[0], inputs.scorable(package.card)
                answers.append(torch.where(scorable, package.network(channels), torch.nan)[:n].numpy())
                if package.name in found:
                    latent = cast("Autoencoder", package.network).latent(channels)
                    mean, log_variance = (
                        torch.where(scorable[:, None], value.float(), torch.nan)[:n].numpy() for value in latent
                    )
                    found[package.name].append((mean, log_variance))
            logits.append(np.stack(answers, axis=1))
    latents = {
        name: Latents(*(np.concatenate(values) for values in zip(*pairs, strict=True))) for name, pairs in found.items()
    }
    return Answers(np.concatenate(logits), latents)


def prepared(part: Part, sample: Sample, score: ScoreConfig) -> Iterator[tuple[Prepared, int]]:
    """Some stamps as networks read them, a batch at a time, and how many they are."""
    cutouts = Cutouts(part.image, part.ivar, part.mask, sample.bands, sample.pixel_scale)
    for batch in batches(cutouts, np.arange(len(cutouts)), score.batch):
        yield Prepared(batch, cutouts, score), len(batch.rows)
