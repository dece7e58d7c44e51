"""Learning the posterior of lens parameters from simulated lenses."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.models.posterior import PosteriorHead
from pipeline.train.method_config import PosteriorConfig
from pipeline.train.methods import Batch, Context, Method
from pipeline.train.methods.label_loss import label_loss


class PosteriorEstimation(Method):
    """Negative log posterior at the true parameters of the batch's lenses, and the loss of the label.

    Its mean is least where the network's density is the posterior under the simulation's prior (Papamakarios & Murray
    2016, NeurIPS 29, section 2). Stamps without a lens teach the label alone.
    """

    def __init__(self, config: PosteriorConfig, channels: int, size: int) -> None:
        self.config = config

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """`label`, and `posterior` of a batch with lenses; raises ConfigError for a network without a posterior."""
        head = network.head
        if not isinstance(head, PosteriorHead):
            raise ConfigError('method "posterior" trains a network that gives one: "lensnet".')
        if batch.parameters is None:
            raise ConfigError('method "posterior" needs stamps that were read with their lens parameters.')
        embedding = network.embed(batch.channels)  # type: ignore[operator]
        label = label_loss(head.classify(embedding), batch.labels, self.config).mean()
        known = batch.parameters.isfinite().all(1)
        losses = {"label": self.config.label_weight * label}
        if known.any():
            losses["posterior"] = -head.log_prob(embedding[known], batch.parameters[known]).mean()
        return losses
