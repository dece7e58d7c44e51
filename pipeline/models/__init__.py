"""Networks, trained packages and ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.models.layers import Network

ARCHITECTURES: Mapping[str, str] = {
    "attention": "pipeline.models.attention:Attention",
    "cnn": "pipeline.models.cnn:Cnn",
    "efficientnet": "pipeline.models.efficientnet:Efficientnet",
    "lensnet": "pipeline.models.lensnet:Lensnet",
    "multiscale": "pipeline.models.multiscale:Multiscale",
    "ou_cnn": "pipeline.models.ou_cnn:OuCnn",
    "preact_resnet": "pipeline.models.preact_resnet:PreactResnet",
    "resnet": "pipeline.models.resnet:Resnet",
    "unet": "pipeline.models.unet:Unet",
    "vit": "pipeline.models.vit:Vit",
}
"""Every network by name. Each takes `channels` and its own arguments, and maps float32
(n, channels, y, x) to logits (n,); `embed` gives what stands before the last layer."""

ENCODERS: Mapping[str, str] = {"lensnet": "unet"}
"""Whose encoder a network has, where it is another one's; such networks can start from each other's."""

_MAY_BE_ZERO = ("dropout", "flow", "maps")


def build(architecture: str, channels: int, arguments: Mapping[str, Any]) -> Network:
    """A network of a registered architecture, with fresh weights.

    Parameters
    ----------
    architecture : str
        A name of `ARCHITECTURES`.
    channels : int
        Input channels, as the package's normalisation makes them.
    arguments : mapping
        The architecture's own keyword arguments.

    Raises
    ------
    ConfigError
        For an unknown name or argument; nothing is built.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"no architecture {architecture!r}; there are: {', '.join(sorted(ARCHITECTURES))}.")
    module, attribute = ARCHITECTURES[architecture].split(":")
    made: type[Network] = getattr(import_module(module), attribute)
    taken = {name: item.default for name, item in signature(made).parameters.items() if name != "channels"}
    listed = ", ".join(f"{name} = {default}" for name, default in taken.items())
    for name, value in arguments.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in taken or not number or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            raise ConfigError(f"architecture {architecture!r} does not take {name} = {value!r}; it takes {listed}.")
    try:
        return made(channels=channels, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"architecture {architecture!r} does not take {dict(arguments)} ({error}); it takes {listed}."
        ) from error
