"""Ways to train, one idea a file: which parameters, and what the losses of a batch are.

A method is a class that is built of its own section of the config and of the shape of a stamp. The loop asks
it three things: how many unlabelled stamps it wants in a step and in how many views each; which parameters it
trains; and what the losses of a batch are. It may bring a companion, a network that is trained beside the
classifier and kept in the checkpoint, such as a generator. What no gradient trains, such as a support set, it
settles before each validation and at the end.

All losses of a step are summed and differentiated once. Where two networks play against each other, each loss
must therefore reach only the parameters that it is meant for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.train.held import Stamps
from pipeline.train.method_config import LabelConfig, MethodConfig

METHODS: Mapping[str, str] = {
    "supervised": "pipeline.train.methods.supervised:Supervised",
    "asymmetric": "pipeline.train.methods.asymmetric:Asymmetric",
    "consistency": "pipeline.train.methods.consistency:Consistency",
    "pseudo_label": "pipeline.train.methods.pseudo_label:PseudoLabel",
    "mixmatch": "pipeline.train.methods.mixmatch:MixMatch",
    "adversarial": "pipeline.train.methods.adversarial:Adversarial",
    "posterior": "pipeline.train.methods.posterior:PosteriorEstimation",
    "contrastive": "pipeline.train.methods.contrastive:Contrastive",
    "few_shot": "pipeline.train.methods.few_shot:FewShot",
    "segmentation": "pipeline.train.methods.segmentation:Segmentation",
    "elbo": "pipeline.train.methods.elbo:Elbo",
}
"""Every method by name; each is built of its config and the shape of a stamp."""

Embed = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Embeddings (m, d) of some rows of the training stamps, unvaried."""


@dataclass(frozen=True)
class Batch:
    """What a method sees of a step; stamps are float32 (., channels, y, x), channels last.

    Attributes
    ----------
    channels : (n, channels, y, x)
        Labelled stamps.
    labels : float32 (n,), 1 for a lens
    views : tuple of (m, channels, y, x)
        Unlabelled stamps, in as many independent variations as the method asks for.
    maps : (n, plane, y, x), of 0 and 1, optional
        What a network that draws maps should draw of the labelled stamps, where they were read with it.
    parameters : (n, p), optional
        Of `pipeline.models.posterior.PARAMETERS`, NaN without a lens, where the labelled stamps were read with them.
    kinds : int64 (n,), optional
        Equal for labelled stamps of the same kind.
    """

    channels: Tensor
    labels: Tensor
    views: tuple[Tensor, ...] = ()
    maps: Tensor | None = None
    parameters: Tensor | None = None
    kinds: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """Where a run is.

    Attributes
    ----------
    step, steps : int
        Steps done, and in all.
    average : torch.nn.Module
        The network with the moving average of its weights, in evaluation mode; the teacher, where there is one.
    chance : torch.Generator
        Of the CPU, and of this step alone; all chance of a method comes from it.
    """

    step: int
    steps: int
    average: nn.Module
    chance: torch.Generator


class Method(ABC):
    """The contract of a method.

    Attributes
    ----------
    ratio : float
        Unlabelled stamps in a step for each labelled one; 0 where it reads none.
    views : int
        In how many independent variations it wants each of them.
    companion : torch.nn.Module or None
        What it trains beside the network.
    """

    ratio: float = 0.0
    views: int = 0
    companion: nn.Module | None = None

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """Groups for the optimiser; here one, of all of the network's parameters that require a gradient."""
        return [{"params": [parameter for parameter in network.parameters() if parameter.requires_grad]}]

    @abstractmethod
    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """Scalars by name; their sum is what is minimised."""

    def settle(self, network: nn.Module, embed: Embed, stamps: Stamps) -> None:  # noqa: B027
        """Set what the head keeps of the training stamps, before a validation and at the end; here nothing.

        Parameters
        ----------
        network : torch.nn.Module
            With the averaged weights.
        embed : callable
            What that network makes of rows of `stamps`.
        stamps : Stamps
            Those trained on.
        """


def build_method(config: LabelConfig | MethodConfig, channels: int, size: int) -> Method:
    """The registered method of a configuration.

    Parameters
    ----------
    config : one of `pipeline.train.method_config`'s
    channels, size : int
        Channels and side of the stamps that it will see.

    Raises
    ------
    ConfigError
        For a shape that the method can't work on.
    """
    module, attribute = METHODS[str(getattr(config, "name", "supervised"))].split(":")
    method: Method = getattr(import_module(module), attribute)(config, channels, size)
    return method
