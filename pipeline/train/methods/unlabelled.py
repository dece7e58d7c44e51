"""What the methods that read unlabelled stamps share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.train.method_config import OnePassConfig, UnlabelledConfig
from pipeline.train.methods import Batch, Context, Method
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.mixup import mixup

Config = TypeVar("Config", bound=UnlabelledConfig)


class Unlabelled(Method, Generic[Config]):
    """A method of config `Config` that reads unlabelled stamps, in one view unless it says otherwise."""

    views = 1

    def __init__(self, config: Config, channels: int, size: int) -> None:
        self.config = config
        self.ratio = config.ratio

    def weight(self, context: Context) -> float:
        """That of the unlabelled stamps' loss, as far as it has risen."""
        return self.config.weight * ramp(context, self.config.ramp)


def in_one_pass(
    network: nn.Module, batch: Batch, looked_at: Tensor, config: OnePassConfig, context: Context
) -> tuple[Tensor, Tensor]:
    """The loss of the labels, a scalar, and the logits (m,) of stamps without, from one pass that normalises both.

    Parameters
    ----------
    network : torch.nn.Module
    batch : Batch
    looked_at : float32 (m, channels, y, x)
        The stamps without labels.
    config : OnePassConfig
    context : Context
    """
    channels, labels = mixup(batch.channels, batch.labels, config.mixup, context.chance)
    logits = network(torch.cat([channels, looked_at]))
    known, others = logits[: len(labels)], logits[len(labels) :]
    return label_loss(known, labels, config).mean(), others


def ramp(context: Context, share: float) -> float:
    """How far a weight has risen, in [0, 1]: exp(-5 (1 - t)^2) over a share of the steps (Laine & Aila 2017, ICLR)."""
    length = share * context.steps
    if context.step >= length:
        return 1.0
    return math.exp(-5.0 * (1.0 - context.step / length) ** 2)


@contextmanager
def still_norms(network: nn.Module) -> Iterator[None]:
    """Within it, a pass in training mode leaves the running means of batch normalisation as they are."""
    norms = [(module, module.momentum) for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
