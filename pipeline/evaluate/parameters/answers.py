"""What packages say of the stamps of a sample: posteriors, and whether to trust them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ModelMismatch
from pipeline.evaluate.parameters.config import ParametersConfig
from pipeline.evaluate.realism.probe import embeddings
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.models.calibration import sigmoid
from pipeline.models.card import find_package
from pipeline.models.package import ModelPackage, load_package
from pipeline.models.parameter_truth import TRUTH_COLUMNS, parameters_of
from pipeline.models.posterior import PARAMETERS, PosteriorHead, trustworthy

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_AT_ONCE = 32


@dataclass(frozen=True)
class Answers:
    """Of one package about the n stamps of a sample.

    Attributes
    ----------
    package : str
    samples : float32 (n, s, p)
        Of the posteriors, independent from stamp to stamp.
    log_posterior : float32 (n,)
        At the truth; NaN without one.
    logit : float32 (n,)
        Of there being a lens.
    unfamiliar : float32 (n,)
        Share of familiar lenses that lie nearer to what the network knows; NaN for a package without familiarity.
    beyond : float32 (n,)
        Share of the samples beyond what the network was trained on, the largest over the parameters.
    """

    package: str
    samples: Float32
    log_posterior: Float32
    logit: Float32
    unfamiliar: Float32
    beyond: Float32

    def trusted(self, config: ParametersConfig) -> Bool:
        """Which posteriors (n,) are trusted, see `trustworthy`."""
        return trustworthy(
            sigmoid(self.logit.astype(np.float64)),
            self.unfamiliar,
            self.beyond,
            least_lens=config.least_lens,
            unfamiliar_share=config.unfamiliar_share,
            beyond_share=config.beyond_share,
        )


@dataclass(frozen=True)
class Asked:
    """A sample with its truth and what every package says of it.

    Attributes
    ----------
    sample : Sample
    truth : float32 (n, p)
        NaN where there is no lens or its parameters aren't known.
    covered : float32 (n,)
        Share of the stamp's pixels with a flag in some band.
    answers : tuple of Answers
    """

    sample: Sample
    truth: Float32
    covered: Float32
    answers: tuple[Answers, ...]


def load_posterior_packages(names: Sequence[str]) -> list[ModelPackage]:
    """The packages; raises ModelMismatch for one without posteriors, and what `load_package` raises."""
    packages = [load_package(find_package(name)) for name in names]
    for package in packages:
        if not isinstance(package.network.head, PosteriorHead):
            raise ModelMismatch(
                f"{package.name!r} ({package.card.architecture}) gives no posterior of lens parameters; name a package "
                "that `lensscan train lensnet` made."
            )
    return packages


def true_parameters(sample: Sample) -> Float32:
    """Parameters (n, p) of a sample's lenses; NaN throughout where it doesn't tell them."""
    if set(TRUTH_COLUMNS) <= set(sample.truth):
        return parameters_of(sample.truth)
    return np.full((len(sample.lens), len(PARAMETERS)), np.nan, np.float32)


def ask(
    sample: Sample, packages: Sequence[ModelPackage], config: ParametersConfig, report: Callable[[str], None]
) -> Asked:
    """Put a sample through the packages, a part at a time."""
    truth = true_parameters(sample)
    told: list[list[tuple[Float32, ...]]] = [[] for _ in packages]
    covered: list[Float32] = []
    done = 0
    for number, part in enumerate(sample.parts()):
        rows = slice(done, done + len(part.image))
        covered.append(_covered(part))
        for package, found in zip(packages, told, strict=True):
            embedding = torch.from_numpy(embeddings(part, package, bands=sample.bands, pixel_scale=sample.pixel_scale))
            found.append(_answers(package, embedding, torch.from_numpy(truth[rows]), config, number))
        done = rows.stop
        report(f"{sample.name}: {done:,}/{len(sample.lens):,} stamps")
    joined = [
        Answers(package.name, *(np.concatenate(column) for column in zip(*found, strict=True)))
        for package, found in zip(packages, told, strict=True)
    ]
    return Asked(sample, truth, np.concatenate(covered), tuple(joined))


def _answers(
    package: ModelPackage, embedding: torch.Tensor, truth: torch.Tensor, config: ParametersConfig, part: int
) -> tuple[Float32, ...]:
    head = cast("PosteriorHead", package.network.head)
    low, high = head.support
    seed = int(np.random.SeedSequence([config.seed, part]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    samples, likely = [], []
    with torch.inference_mode():
        for some, true in zip(torch.split(embedding, _AT_ONCE), torch.split(truth, _AT_ONCE), strict=True):
            base = torch.randn((len(some), config.samples_each, truth.shape[1]), generator=generator)
            samples.append(head.sample(some, base))
            likely.append(head.log_prob(some, true))
        drawn = torch.cat(samples)
        beyond = ((drawn < low) | (drawn > high)).float().mean(1).amax(1)
        logit = head.classify(embedding)
        familiar = package.familiarity
        unfamiliar = (
            np.full(len(embedding), np.nan, np.float32)
            if familiar is None
            else familiar.share_nearer(familiar.distance(embedding).numpy())
        )
    return drawn.numpy(), torch.cat(likely).numpy(), logit.numpy(), unfamiliar, beyond.numpy()


def _covered(part: Part) -> Float32:
    """Share (m,) of the pixels with a flag in some band."""
    if part.mask is None:
        return np.zeros(len(part.image), np.float32)
    share: Float32 = (part.mask != 0).any(1).mean((1, 2)).astype(np.float32)
    return share
