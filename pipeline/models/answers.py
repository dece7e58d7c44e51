"""All that scoring asks of a network, as one module that exporters and compilers take."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pipeline.models.layers import Network

Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From channels (n, c, y, x) to embedding (n, d) and logits (n,)."""


class Answers(nn.Module):
    """A network that gives its embedding (n, d) and its logits (n,) of channels (n, c, y, x)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embed, and classify the embedding."""
        embedding = self.network.embed(x)
        return embedding, self.network.head.classify(embedding)
