"""Terms beside the evidence lower bound: total correlation, and the distance of deep features."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.models import build
from pipeline.models.card import find_package, read_card
from pipeline.models.layers import Network, Stem
from pipeline.models.transfer import take_encoder


class Decomposed(NamedTuple):
    """The mean Kullback-Leibler divergence from a standard normal prior in three parts, scalars, in nats."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def decompose(z: Tensor, mean: Tensor, log_variance: Tensor) -> Decomposed:
    """Chen et al. 2018 (NeurIPS 31, 2610, equation 2): how much the latent numbers know, how tied, and how far off.

    The density of all stamps' latent numbers together is that of the batch, the mean over its stamps: their minibatch
    weighted sampling (equation S.6) without the number of stamps in the data, which only adds constants.

    Parameters
    ----------
    z, mean, log_variance : float32 (n, d)
        One draw of each stamp's latent distribution, and what it is drawn from.
    """
    own = _log_normal(z, mean, log_variance).sum(1)
    each = _log_normal(z[:, None], mean, log_variance)
    joint = torch.logsumexp(each.sum(2), 1) - math.log(len(z))
    apart = (torch.logsumexp(each, 1) - math.log(len(z))).sum(1)
    prior = _log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    return Decomposed((own - joint).mean(), (joint - apart).mean(), (apart - prior).mean())


def total_correlation(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """How far the latent dimensions are from independent, a scalar in nats; see `decompose`."""
    return decompose(z, mean, log_variance).total_correlation


class DeepFeatures:
    """What the first stages of a trained network make of a picture; its weights stay as they are.

    The loss of Hou et al. 2017 (WACV, 1133, equation 4), with a network that has seen lenses and galaxies in place of
    one that has seen photographs: the mean squared difference of the features after the stem and each stage, each in
    units of the features' own mean square. The package's first convolution is adapted to the faint stretches alone, as
    `pipeline.models.transfer.take_encoder` does.

    Parameters
    ----------
    package : str
        A package's folder or a shipped one's name; a network with a stem and a sequence of stages.

    Raises
    ------
    ConfigError
        If there is no such package, or its network has no such stages.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.source = find_package(package)
        self.parts: list[nn.Module] = []

    def distance(self, wanted: Tensor, drawn: Tensor) -> Tensor:
        """Distance of the features of two batches of pictures (n, drawn, y, x), a scalar; no gradient to the first."""
        if not self.parts:
            self.parts = self._parts(drawn.shape[1], drawn.device)
        total = drawn.new_zeros(())
        ours, theirs = wanted.detach(), drawn
        for part in self.parts:
            with torch.no_grad():
                ours = part(ours)
            theirs = part(theirs)
            total = total + (theirs - ours).square().mean() / ours.square().mean().clamp_min(1e-12)
        return total / len(self.parts)

    def _parts(self, channels: int, place: torch.device) -> list[nn.Module]:
        """The network's steps from its entrance on, for so many channels, all of them faint stretches."""
        card = read_card(self.source)
        network: Network = build(card.architecture, channels, card.arguments)
        stem, stages = getattr(network, "stem", None), getattr(network, "stages", None)
        if not isinstance(stem, Stem) or not isinstance(stages, nn.Sequential):
            raise ConfigError(
                f"method.features_of: {self.package} ({card.architecture}) has no stem and stages to take features of; "
                'name a package such as "ground_preact_resnet".'
            )
        take_encoder(network, card.architecture, self.source, groups=(0,) * channels)
        network.to(place).eval().requires_grad_(False)
        return [stem, *stages]


def _log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return -0.5 * (math.log(2 * math.pi) + log_variance + (z - mean).square() * (-log_variance).exp())
