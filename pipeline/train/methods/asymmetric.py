"""Unlabelled survey stamps taken for non-lenses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.train.method_config import AsymmetricConfig
from pipeline.train.methods import Batch, Context
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.unlabelled import Unlabelled, in_one_pass


class Asymmetric(Unlabelled[AsymmetricConfig]):
    """Labels as they are, and fresh unlabelled stamps in every step as non-lenses.

    The two classes are treated differently on purpose: lenses are few and simulated, while non-lenses are as many
    as the survey has galaxies, and one of thousands that is a lens after all does little harm. So it was with the
    asymmetric training of the Deep Lens Survey's search (Keerthi Vasan et al. 2023, arXiv:2211.00047; Sheng et al.
    2022, arXiv:2210.11681), which draws other non-lenses from a large pool in each epoch and keeps the lenses. What
    our form adds is a weight, for a pool in which lenses are not as rare, and, by `loss = "asymmetric"`, a loss that
    forgives easy non-lenses.
    """

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """The loss of the labels, and `taken_for_others`."""
        config = self.config
        labelled, others = in_one_pass(network, batch, batch.views[0], config, context)
        return {
            config.loss: labelled,
            "taken_for_others": self.weight(context) * label_loss(others, torch.zeros_like(others), config).mean(),
        }
