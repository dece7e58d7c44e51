"""A trained network as a folder: `model.toml`, `weights.safetensors`, `calibration.toml`.

A fourth file, `familiarity.safetensors`, is there if what the network finds familiar was fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pipeline.config import load
from pipeline.errors import ModelMismatch
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.card import CALIBRATION, WEIGHTS, read_card
from pipeline.models.described import DescribedPackage, unreadable_weights
from pipeline.models.familiarity import Familiarity, read_familiarity
from pipeline.models.familiarity_file import FAMILIARITY
from pipeline.models.layers import Network
from pipeline.provenance import sha256_of

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class ModelPackage(DescribedPackage):
    """A trained package in memory, its network on the CPU and in evaluation mode.

    Attributes
    ----------
    familiarity : Familiarity or None
        Without one, nothing is out of its distribution.
    network : Network
        float32 (n, channels, size, size) -> logits (n,), and the embedding before them.
    """

    familiarity: Familiarity | None = None
    network: Network = field(kw_only=True)


def load_package(path: Path) -> ModelPackage:
    """Read a package: card, calibration, and weights into a network of the card's architecture.

    Raises
    ------
    ConfigError
        If the card or the calibration is missing or wrong.
    ModelMismatch
        If the weights are missing, damaged, or not those of the architecture, or the familiarity is damaged.
    """
    card = read_card(path)
    calibration = load(Calibration, path / CALIBRATION)
    network = build(card.architecture, card.normalisation.channels(len(card.bands)), card.arguments)
    weights = path / WEIGHTS
    state = _read_weights(weights)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelMismatch(f"{weights}: not weights of {card.architecture} {card.arguments}: {error}.") from error
    network.eval().requires_grad_(False)
    familiar = path / FAMILIARITY
    familiarity = read_familiarity(familiar) if familiar.is_file() else None
    return ModelPackage(path, card, sha256_of(weights), calibration, familiarity, network=channels_last(network))


def embedding_width(package: ModelPackage) -> int:
    """Length of the network's embeddings, found by embedding one blank stamp."""
    card = package.card
    shape = (1, card.normalisation.channels(len(card.bands)), card.size_pix, card.size_pix)
    where = next(package.network.parameters()).device
    with torch.inference_mode():
        return int(package.network.embed(torch.zeros(shape, device=where)).shape[1])


def channels_last(network: _Module) -> _Module:
    """The network with its weights laid out for channels-last input, three to six times faster on CPUs."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        state: Mapping[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise unreadable_weights(path, error) from error
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ModelMismatch(f"{path}: {len(broken)} tensors are not finite, the first {broken[0]}; train it again.")
    return state
