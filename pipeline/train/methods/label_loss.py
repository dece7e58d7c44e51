"""What a label costs: cross-entropy, and its weighted, focal and asymmetric forms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.train.method_config import LabelConfig


def label_loss(logits: Tensor, labels: Tensor, config: LabelConfig) -> Tensor:
    """Loss of each stamp, (n,).

    * `bce`: cross-entropy;
    * `weighted`: the same, lenses times `positive_weight`;
    * `focal`: times (1 - probability of the label) ** `focal_gamma` (Lin et al. 2017, ICCV, equation 4);
    * `asymmetric`: lenses focal with `gamma_lens`; the rest with `gamma_other`, and their probability first
      lowered by `margin`, so that easy ones count nothing (Ridnik et al. 2021, ICCV, equations 4 to 7).

    Parameters
    ----------
    logits : float32 (n,)
    labels : float32 (n,)
        1 for a lens, 0 for none, or between for a mixture; smoothed towards a half by `smoothing`.
    config : LabelConfig
    """
    target = labels * (1 - 2 * config.smoothing) + config.smoothing
    if config.loss == "asymmetric":
        return _asymmetric(logits, target, config)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if config.loss == "focal":
        probability = torch.sigmoid(logits)
        agreed = probability * labels + (1 - probability) * (1 - labels)
        each = each * (1 - agreed) ** config.focal_gamma
    if config.loss == "weighted":
        each = each * (1 + (config.positive_weight - 1) * labels)
    return each


def _asymmetric(logits: Tensor, target: Tensor, config: LabelConfig) -> Tensor:
    probability = torch.sigmoid(logits)
    lowered = (probability - config.margin).clamp_min(0.0)
    lens = -functional.logsigmoid(logits) * (1 - probability) ** config.gamma_lens
    other = -torch.log1p(-lowered.clamp_max(1 - 1e-6)) * lowered**config.gamma_other
    return target * lens + (1 - target) * other
