"""The network's own confident answers as labels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.train.method_config import PseudoLabelConfig
from pipeline.train.methods import Batch, Context
from pipeline.train.methods.unlabelled import Unlabelled, in_one_pass


class PseudoLabel(Unlabelled[PseudoLabelConfig]):
    """The loss of the labels, and cross-entropy of unlabelled stamps with the likelier class as their label.

    Lee 2013 (ICML workshop on challenges in representation learning), with a threshold: a stamp whose likelier class
    has less probability counts nothing. The mean is over all stamps, so that few confident ones weigh little.
    """

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """The loss of the labels, and `pseudo_label`."""
        config = self.config
        labelled, others = in_one_pass(network, batch, batch.views[0], config, context)
        return {
            config.loss: labelled,
            "pseudo_label": self.weight(context) * own_label_loss(others, config.threshold),
        }


def own_label_loss(logits: Tensor, threshold: float) -> Tensor:
    """Cross-entropy with the likelier class, 0 where that is less likely than `threshold`; a mean over (m,)."""
    answer = (logits.detach() > 0).float()
    sure = logits.detach().abs() >= math.log(threshold / (1 - threshold))
    each = functional.binary_cross_entropy_with_logits(logits, answer, reduction="none")
    return torch.where(sure, each, 0.0).mean()
