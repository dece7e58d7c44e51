"""Two views of a stamp are told from the views of all others: SimCLR, with a linear probe of the labels beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.layers import Network
from pipeline.train.method_config import ContrastiveConfig
from pipeline.train.methods import Batch, Context
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.unlabelled import Unlabelled, still_norms


class Contrastive(Unlabelled[ContrastiveConfig]):
    """The contrastive loss of the views, which trains the embedding, and the loss of the labels, which does not.

    Chen et al. 2020 (ICML, 1597, figure 2): views are embedded, the embeddings projected by a small network that is
    no part of what is kept, and the projections compared. It was first used to look for lenses by Stein et al. 2022
    (ApJ 932, 107). What a view may differ in is the section `[augment]`.

    Labels are not needed for the embedding and don't reach it: the head's last layer learns from them what the
    averaged network's embedding, as the package will have it, says of lenses. So the package's logit is a linear
    probe of its embedding, which validation and calibration measure like any other.
    """

    companion: nn.Sequential
    views = 2

    def __init__(self, config: ContrastiveConfig, channels: int, size: int) -> None:
        super().__init__(config, channels, size)
        self.companion = nn.Sequential(
            nn.LazyLinear(config.hidden, bias=False),
            nn.BatchNorm1d(config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.projection),
        )
        self.size = (channels, size, size)

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """The network's, and the projection's, which becomes as wide as the embedding is."""
        place = next(network.parameters()).device
        with torch.no_grad(), still_norms(network), still_norms(self.companion):
            self.companion(network.embed(torch.zeros(2, *self.size, device=place)))  # type: ignore[operator]
        return [*super().parameters(network), {"params": list(self.companion.parameters())}]

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """`contrastive` of the views, and the loss of the labels by its own name."""
        classifier, average = cast(Network, network), cast(Network, context.average)
        first, second = self.companion(classifier.embed(torch.cat(batch.views))).float().chunk(2)
        with torch.no_grad():
            known = average.embed(batch.channels)
        probed = label_loss(classifier.head.classify(known), batch.labels, self.config).mean()
        agreement = nt_xent(first, second, self.config.temperature)
        return {"contrastive": self.weight(context) * agreement, self.config.loss: probed}


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised, temperature-scaled cross-entropy of finding each view's other one (Chen et al. 2020, equation 1).

    Parameters
    ----------
    first, second : float32 (m, d)
        Projections of two views of the same stamps; only their directions count.
    temperature : float
        By which cosines are divided.

    Returns
    -------
    scalar
        Mean over all 2 m views; log(2 m - 1) where nothing can be told apart.
    """
    directions = functional.normalize(torch.cat([first, second]), dim=1)
    views = len(directions)
    likeness = directions @ directions.T / temperature
    likeness = likeness.masked_fill(torch.eye(views, dtype=torch.bool, device=likeness.device), -torch.inf)
    other = torch.arange(views, device=likeness.device).roll(views // 2)
    return functional.cross_entropy(likeness, other)
