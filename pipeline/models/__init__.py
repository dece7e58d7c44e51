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
    "hybrid": "pipeline.models.hybrid:Hybrid",
    "multiscale": "pipeline.models.multiscale:Multiscale",
    "ou_cnn": "pipeline.models.ou_cnn:OuCnn",
    "preact_resnet": "pipeline.models.preact_resnet:PreactResnet",
    "resnet": "pipeline.models.resnet:Resnet",
    "unet": "pipeline.models.unet:Unet",
    "vit": "pipeline.models.vit:Vit",
}
"""Every network by name. Each takes `channels` and its own arguments, and maps float32
(n, channels, y, x) to logits (n,); `embed` gives what stands before the last layer."""


SUPPORT = "support"
"""The argument that every network takes beside its own: room for so many prototypes in its head, which then answers by
likeness to them (`pipeline.models.support`); 0 for none."""

_MAY_BE_ZERO = ("dropout", "maps", SUPPORT)


def build(architecture: str, channels: int, arguments: Mapping[str, Any]) -> Network:
    """A network of a registered architecture, with fresh weights.

    Parameters
    ----------
    architecture : str
        A name of `ARCHITECTURES`.
    channels : int
        Input channels, as the package's normalisation makes them.
    arguments : mapping
        The architecture's own keyword arguments, and `SUPPORT`.

    Raises
    ------
    ConfigError
        For an unknown name or argument, or a support set that the network can't have; nothing is built.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"no architecture {architecture!r}; there are: {', '.join(sorted(ARCHITECTURES))}.")
    module, attribute = ARCHITECTURES[architecture].split(":")
    made: type[Network] = getattr(import_module(module), attribute)
    taken = {name: item.default for name, item in signature(made).parameters.items() if name != "channels"}
    taken[SUPPORT] = 0
    listed = ", ".join(f"{name} = {default}" for name, default in taken.items())
    for name, value in arguments.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in taken or not number or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            raise ConfigError(f"architecture {architecture!r} does not take {name} = {value!r}; it takes {listed}.")
    own = {name: value for name, value in arguments.items() if name != SUPPORT}
    try:
        network = made(channels=channels, **own)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"architecture {architecture!r} does not take {dict(arguments)} ({error}); it takes {listed}."
        ) from error
    return network if not arguments.get(SUPPORT) else _with_support(network, arguments[SUPPORT])


def _with_support(network: Network, prototypes: Any) -> Network:
    from pipeline.models.support import with_support

    if not isinstance(prototypes, int):
        raise ConfigError(f"{SUPPORT} = {prototypes!r} is no number of prototypes; give a whole one.")
    return with_support(network, prototypes)
