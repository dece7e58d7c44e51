"""Learning from labels alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.train.method_config import SupervisedConfig
from pipeline.train.methods import Batch, Context, Method
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.mixup import mixup


class Supervised(Method):
    """One loss of the labels, by name (`pipeline.train.methods.label_loss`), of mixed stamps if so asked for."""

    def __init__(self, config: SupervisedConfig, channels: int, size: int) -> None:
        self.config = config

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """The loss of the labels, under its own name."""
        channels, labels = mixup(batch.channels, batch.labels, self.config.mixup, context.chance)
        return {self.config.loss: label_loss(network(channels), labels, self.config).mean()}
