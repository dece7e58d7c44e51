"""Guessed labels, sharpened, and everything mixed with everything."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.train.method_config import MixMatchConfig
from pipeline.train.methods import Batch, Context
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.mixup import mixup
from pipeline.train.methods.unlabelled import Unlabelled, still_norms


class MixMatch(Unlabelled[MixMatchConfig]):
    """MixMatch (Berthelot et al. 2019, NeurIPS) for two classes.

    An unlabelled stamp's label is guessed from the mean answer to its views and sharpened; labelled stamps and all
    views are then mixed in pairs drawn from both. Mixed labelled stamps pay the loss of the labels, mixed views the
    squared difference of the probabilities.
    """

    def __init__(self, config: MixMatchConfig, channels: int, size: int) -> None:
        super().__init__(config, channels, size)
        self.views = config.augmentations

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """The loss of the labels, and `guessed`."""
        config = self.config
        views = torch.cat(batch.views)
        guess = self._guess(network, views)
        stamps = torch.cat([batch.channels, views])
        mixed, targets = mixup(stamps, torch.cat([batch.labels, guess]), config.alpha, context.chance)
        logits = network(mixed)
        n = len(batch.labels)
        wrong = (torch.sigmoid(logits[n:]) - targets[n:]).square().mean()
        return {
            config.loss: label_loss(logits[:n], targets[:n], config).mean(),
            "guessed": self.weight(context) * wrong,
        }

    def _guess(self, network: nn.Module, views: Tensor) -> Tensor:
        """Sharpened probability of a lens, the same for all views of a stamp; (views * m,)."""
        with torch.no_grad(), still_norms(network):
            answers = torch.sigmoid(network(views)).unflatten(0, (self.views, -1))  # type: ignore[no-untyped-call]
        return sharpen(answers.mean(0), self.config.temperature).repeat(self.views)


def sharpen(probability: Tensor, temperature: float) -> Tensor:
    """p^(1/T) / (p^(1/T) + (1 - p)^(1/T)), the same shape (Berthelot et al. 2019, equation 7).

    What both classes get sums to 1.
    """
    lens, other = probability ** (1 / temperature), (1 - probability) ** (1 / temperature)
    answer: Tensor = lens / (lens + other)
    return answer
