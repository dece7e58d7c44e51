"""Fine-tuning: a fresh network that starts from the weights of another package, of its encoder or all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import ModelMismatch
from pipeline.models import ENCODERS
from pipeline.models.layers import Network, Stem
from pipeline.models.package import load_package

_HEAD = "head."


@dataclass(frozen=True)
class Transferred:
    """What a network took from a package.

    Attributes
    ----------
    source : str
        Name of the package.
    sha256 : str
        Of its weights, for the card of the network that took them.
    taken : tuple of str
        Names of the encoder's tensors that now hold the package's values, running means of normalisation included.
    fresh : tuple of str
        Names of the encoder's tensors that don't; those of the head never do.
    n_taken, n_parameters : int
        Numbers that can be trained: taken, and in the encoder altogether.
    adapted : bool
        Whether the first convolution was made to fit another number of input channels.
    head : bool
        Whether the head's were taken, too.
    """

    source: str
    sha256: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    n_taken: int
    n_parameters: int
    adapted: bool
    head: bool = False

    def __str__(self) -> str:
        adapted = ", the first convolution adapted to other channels" if self.adapted else ""
        return (
            f"took {len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors of the encoder of {self.source} "
            f"({self.n_taken:,} of {self.n_parameters:,} parameters{adapted}){' and its head' if self.head else ''}"
        )


def take_encoder(
    network: Network, architecture: str, source: Path, *, groups: Sequence[int] | None = None
) -> Transferred:
    """Give a network the encoder's weights of a package, wherever name and shape are the same.

    Parameters
    ----------
    network : Network
        Changed in place; its head stays as it is.
    architecture : str
        Name of the network's.
    source : Path
        The package's folder.
    groups : sequence of int, optional
        Asks for a first convolution over another number of channels: what each channel of the network is, as
        `groups` of its normalisation says. A channel gets the mean of the package's weights over the channels of
        its group, times their number over that of the network's, so that an image that is the same in every band
        gives the same features. Groups that the package's normalisation lacks keep their fresh weights.

    Raises
    ------
    ModelMismatch
        If the package is of another encoder, can't be read, reads another number of channels and `groups` is
        None, or shares no tensor with the network.
    ConfigError
        If its card or calibration is missing or wrong.
    """
    package = load_package(source)
    card = package.card
    if ENCODERS.get(card.architecture, card.architecture) != ENCODERS.get(architecture, architecture):
        raise ModelMismatch(
            f"{source}: the encoder of a {card.architecture} can't start a {architecture}; "
            "train one of the same encoder, or take another package."
        )
    old = {name: value for name, value in package.network.state_dict().items() if not name.startswith(_HEAD)}
    new = {name: value for name, value in network.state_dict().items() if not name.startswith(_HEAD)}
    first = next(name for name, value in new.items() if value.ndim == 4)
    adapted = _other_inputs(old.get(first), new[first])
    if adapted:
        if groups is None:
            raise ModelMismatch(
                f"{source}: its first convolution reads {', '.join(card.bands)}; the network reads another number of "
                "channels. Take a package of the same bands, or ask for the weights to be adapted."
            )
        old[first] = _adapted(network, old[first], new[first], card.normalisation.groups(len(card.bands)), groups)
    taken = [name for name, value in new.items() if name in old and old[name].shape == value.shape]
    trainable = {name for name, _ in network.named_parameters()}
    if not trainable & set(taken):
        raise ModelMismatch(
            f"{source}: nothing in the encoder of {card.architecture} {card.arguments} has the shape that the network "
            "has; give it the package's arguments."
        )
    with torch.no_grad():
        for name in taken:
            new[name].copy_(old[name])
    return Transferred(
        source=card.name,
        sha256=package.weights_sha256,
        taken=tuple(taken),
        fresh=tuple(name for name in new if name not in taken),
        n_taken=_count(new[name] for name in taken if name in trainable),
        n_parameters=_count(value for name, value in new.items() if name in trainable),
        adapted=adapted,
    )


def take_network(network: Network, architecture: str, source: Path) -> Transferred:
    """Give a network all the weights of a package, the head's included, so that it can be trained further.

    Parameters
    ----------
    network : Network
        Changed in place.
    architecture : str
        Name of the network's.
    source : Path
        The package's folder.

    Raises
    ------
    ModelMismatch
        If the package is of another architecture, other arguments or other channels, or can't be read.
    ConfigError
        If its card or calibration is missing or wrong.
    """
    package = load_package(source)
    card = package.card
    old, new = package.network.state_dict(), network.state_dict()
    if card.architecture != architecture or _shapes(old) != _shapes(new):
        raise ModelMismatch(
            f"{source}: a {card.architecture} {card.arguments} of {', '.join(card.bands)} can't be trained further as "
            f"this {architecture}; give the network the package's architecture, arguments, bands and normalisation, or "
            "take its encoder alone."
        )
    network.load_state_dict(old)
    encoder = tuple(name for name in new if not name.startswith(_HEAD))
    parameters = _count(value for name, value in network.named_parameters() if name in encoder)
    return Transferred(card.name, package.weights_sha256, encoder, (), parameters, parameters, False, head=True)


def encoder_and_head(network: Network) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Parameters of the encoder, in order from input to output, and of the head, by name."""
    named = dict(network.named_parameters())
    head = {name: value for name, value in named.items() if name.startswith(_HEAD)}
    return {name: value for name, value in named.items() if name not in head}, head


def _other_inputs(old: Tensor | None, new: Tensor) -> bool:
    """Whether two convolutions differ in their inputs alone."""
    same_but_inputs = old is not None and old.ndim == new.ndim == 4 and old[:, 0].shape == new[:, 0].shape
    return same_but_inputs and old is not None and old.shape != new.shape


def _adapted(network: Network, old: Tensor, new: Tensor, had: Sequence[int], groups: Sequence[int]) -> Tensor:
    """Weights of a first convolution for channels of `groups`, from those for channels that `had` others.

    A stem has four inputs for each channel, the pixels of a 2 x 2 square, and four more for the distance from the
    centre, which stay.
    """
    folded = 4 if isinstance(getattr(network, "stem", None), Stem) else 1
    before = old.unflatten(1, (-1, folded))  # type: ignore[no-untyped-call]
    after = new.clone().unflatten(1, (-1, folded))  # type: ignore[no-untyped-call]
    if after.shape[1] != len(groups) + (folded > 1):
        raise ModelMismatch(f"groups are of {len(groups)} channels, the network has {after.shape[1] - (folded > 1)}.")
    for group in set(groups) & set(had):
        mine = [index for index, other in enumerate(groups) if other == group]
        theirs = [index for index, other in enumerate(had) if other == group]
        after[:, mine] = before[:, theirs].sum(1, keepdim=True) / len(mine)
    if folded > 1:
        after[:, -1] = before[:, -1]
    answer: Tensor = after.flatten(1, 2)
    return answer


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _count(values: Iterable[Tensor]) -> int:
    return sum(value.numel() for value in values)
