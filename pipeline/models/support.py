"""A head that answers by likeness to a few examples: prototypes of rare kinds against prototypes of the rest.

The support set is part of the weights, so that a package with it is a member like any other, and new examples of a
rare kind make a new package without training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.layers import Classifier, Network

_EMPTY = -1e30
"""Log-weight of a prototype that isn't there: below that of any distance, so that far stamps keep their order."""


class SupportHead(Classifier):
    """Log-odds of the rare kinds by distances to prototypes, on another head's embedding.

    Each prototype is the mean of a kind's examples in a space in which all kinds are about equally wide, and stands
    for a normal distribution of one common width there (Snell, Swersky & Zemel 2017, NeurIPS 30, 4077, section 2.3:
    with one prototype a side that is a linear classifier; with a metric that whitens the scatter inside the kinds it
    is Fisher's). The logit is the log-ratio of the rare kinds' mixture to the others'.

    Parameters
    ----------
    inner : Classifier
        Whose embedding is compared; its own last layer is not asked.
    prototypes : int
        Room for so many.

    Attributes
    ----------
    centre : float32 (d,)
        Of the embeddings.
    metric : float32 (d, d)
        By which embeddings less their centre are multiplied before distances are taken.
    prototypes : float32 (k, d)
        In that space.
    counts : float32 (k,)
        Examples that each is the mean of; 0 where there is none.
    rare : float32 (k,)
        1 for a prototype of a rare kind.
    weights : float32 (k,)
        Share of each among those of its side.
    scale : float32 scalar
        Distance, root mean square, of the other kinds' stamps from their nearest prototype.

    Raises
    ------
    ConfigError
        For a head that does not say how long its embedding is.
    """

    centre: Tensor
    metric: Tensor
    prototypes: Tensor
    counts: Tensor
    rare: Tensor
    weights: Tensor
    scale: Tensor

    def __init__(self, inner: Classifier, prototypes: int) -> None:
        super().__init__()
        if inner.length is None:
            raise ConfigError(f"{type(inner).__name__} does not say how long its embedding is, and takes no support.")
        self.inner, self.length = inner, inner.length
        self.register_buffer("centre", torch.zeros(inner.length))
        self.register_buffer("metric", torch.eye(inner.length))
        self.register_buffer("prototypes", torch.zeros(prototypes, inner.length))
        for name in ("counts", "rare", "weights"):
            self.register_buffer(name, torch.zeros(prototypes))
        self.register_buffer("scale", torch.ones(()))

    def embed(self, x: Any) -> Tensor:
        """Map the encoder's answer to float32 (n, d), as the inner head does."""
        return self.inner.embed(x)

    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, d) to float32 logits (n,); a side without a prototype loses, and 0 where neither has one."""
        # Differences of large numbers, of which a rounded product would leave nothing.
        with torch.autocast(embedding.device.type, enabled=False):
            placed = (embedding.float() - self.centre) @ self.metric
            apart = placed.square().sum(1, keepdim=True) - 2 * placed @ self.prototypes.T
        apart = (apart + self.prototypes.square().sum(1)) / (self.scale.square() / len(self.centre))
        likely = self.weights.clamp_min(1e-30).log() - apart / 2
        sides = [
            torch.logsumexp(likely + _EMPTY * (1 - mine * (self.counts > 0)), 1) for mine in (self.rare, 1 - self.rare)
        ]
        return sides[0] - sides[1]


def with_support(network: Network, prototypes: int) -> Network:
    """The network, changed in place, with room for a support set in its head instead of the one that it had."""
    inner = network.head.inner if isinstance(network.head, SupportHead) else network.head
    network.head = SupportHead(inner, prototypes)
    return network


def support_of(network: Network) -> SupportHead:
    """The network's support set; raises ModelMismatch for one without."""
    if not isinstance(network.head, SupportHead):
        raise ModelMismatch("the network has no support set; give it one with network.arguments.support.")
    return network.head
