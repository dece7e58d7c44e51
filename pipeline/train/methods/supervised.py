"""Learning from labels alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.train.config import MethodConfig
from pipeline.train.methods import Batch


class Supervised:
    """Cross-entropy of the labels, plain (`bce`), with weight on lenses (`weighted`) or focal.

    The focal loss is that of Lin et al. 2017 (ICCV, equation 4): each stamp's cross-entropy times
    (1 - probability of its label) ** gamma.
    """

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    def parameters(self, network: nn.Module) -> list[nn.Parameter]:
        """All that require a gradient."""
        return [parameter for parameter in network.parameters() if parameter.requires_grad]

    def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """One loss, under its own name; labels are smoothed towards a half."""
        config = self.config
        logits = network(batch.channels)
        target = batch.labels * (1 - 2 * config.smoothing) + config.smoothing
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if config.loss == "focal":
            probability = torch.sigmoid(logits)
            agreed = probability * batch.labels + (1 - probability) * (1 - batch.labels)
            each = each * (1 - agreed) ** config.focal_gamma
        if config.loss == "weighted":
            each = each * (1 + (config.positive_weight - 1) * batch.labels)
        return {config.loss: each.mean()}
