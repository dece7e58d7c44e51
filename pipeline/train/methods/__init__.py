"""Ways to train, one a file: which parameters, and what the losses of a batch are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.train.config import MethodConfig

METHODS: Mapping[str, str] = {"supervised": "pipeline.train.methods.supervised:Supervised"}
"""Every method by name; each is built of a `MethodConfig`."""


@dataclass(frozen=True)
class Batch:
    """What a method sees of a step.

    Attributes
    ----------
    channels : float32 (n, channels, y, x), channels last
    labels : float32 (n,), 1 for a lens
    """

    channels: Tensor
    labels: Tensor


class Method(Protocol):
    """The contract of a method."""

    def parameters(self, network: nn.Module) -> list[nn.Parameter]:
        """The parameters that it trains."""
        ...

    def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Scalars by name; their sum is what is minimised."""
        ...


def build_method(config: MethodConfig) -> Method:
    """The registered method of a configuration; raises ConfigError for an unknown name."""
    if config.name not in METHODS:
        raise ConfigError(f"no method {config.name!r}; there are: {', '.join(sorted(METHODS))}.")
    module, attribute = METHODS[config.name].split(":")
    method: Method = getattr(import_module(module), attribute)(config)
    return method
