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
    "lensnet": "pipeline.models.lensnet:Lensnet",
    "multiscale": "pipeline.models.multiscale:Multiscale",
    "ou_cnn": "pipeline.models.ou_cnn:OuCnn",
    "preact_resnet": "pipeline.models.preact_resnet:PreactResnet",
    "resnet": "pipeline.models.resnet:Resnet",
    "unet": "pipeline.models.unet:Unet",
    "vae": "pipeline.models.vae:Vae",
    "vit": "pipeline.models.vit:Vit",
}
"""Every network by name. Each takes `channels` and its own arguments, and maps float32
(n, channels, y, x) to logits (n,); `embed` gives what stands before the last layer."""

ENCODERS: Mapping[str, str] = {"lensnet": "unet"}
"""Whose encoder a network has, where it is another one's; such networks can start from each other's."""

SUPPORT = "support"
"""The argument that every network takes beside its own: room for so many prototypes in its head, which then answers by
likeness to them (`pipeline.models.support`); 0 for none."""

_MAY_BE_ZERO = ("anomalous", "dropout", "flow", "maps", "masks", SUPPORT)


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
        if name not in taken or not _can_be(name, value, taken[name]):
            raise ConfigError(f"architecture {architecture!r} does not take {name} = {value!r}; it takes {listed}.")
    own = {name: value for name, value in arguments.items() if name != SUPPORT}
    try:
        network = made(channels=channels, **own)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"architecture {architecture!r} does not take {dict(arguments)} ({error}); it takes {listed}."
        ) from error
    return network if not arguments.get(SUPPORT) else _with_support(network, arguments[SUPPORT])


def _can_be(name: str, value: Any, default: Any) -> bool:
    """Whether an argument is of its default's kind: a word, or a number that is positive where it has to be."""
    if isinstance(default, str):
        return isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (value > 0 or (value == 0 and name in _MAY_BE_ZERO))


def _with_support(network: Network, prototypes: Any) -> Network:
    from pipeline.models.support import with_support

    if not isinstance(prototypes, int):
        raise ConfigError(f"{SUPPORT} = {prototypes!r} is no number of prototypes; give a whole one.")
    return with_support(network, prototypes)
