"""A trained network as a folder: `model.toml`, `weights.safetensors`, `calibration.toml`.

A fourth file, `familiarity.safetensors`, is there if what the network finds familiar was fitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pipeline.config import Arcsec, StrictModel, load
from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.familiarity import FAMILIARITY, Familiarity, read_familiarity
from pipeline.models.layers import Network
from pipeline.models.normalise import Normalisation, NormalisationConfig
from pipeline.provenance import fingerprint, sha256_of

CARD, WEIGHTS, CALIBRATION = "model.toml", "weights.safetensors", "calibration.toml"

_Module = TypeVar("_Module", bound=nn.Module)

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


class Metric(StrictModel):
    """One measured figure with its 68 % interval, where there is one, and what it was measured on."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    sample: str


class ModelCard(StrictModel):
    """What a package says about itself.

    Attributes
    ----------
    name : str
        Of the member; becomes a column name, so lower-case letters, digits, underscores.
    architecture : str
        A name of `pipeline.models.ARCHITECTURES`.
    arguments : mapping
        The architecture's own arguments.
    output : str
        What the network's one number means before calibration.
    bands : tuple of str
        Canonical bands in the order of the input.
    pixel_scale : arcsec
        Of the grid that the network was trained on; stamps are resampled to it.
    size_pix : int
        Side of its stamps.
    units : str
        Of the input pixels.
    training : str
        How it was trained, in words and with the command.
    training_fingerprint : str
        Hash of the training configuration and of the pools' contents.
    licence, reference : str
    metrics : tuple of Metric
        Measured figures; empty where nothing was measured.
    notes : tuple of str
        What a user should know before trusting it.
    """

    name: str
    architecture: str
    arguments: dict[str, int | float | str | bool] = Field(default_factory=dict)
    output: str
    bands: tuple[str, ...] = Field(min_length=1)
    pixel_scale: Arcsec
    size_pix: int = Field(ge=8, le=1024)
    units: str = "nJy"
    normalisation: Normalisation = NormalisationConfig()
    training: str
    training_fingerprint: str
    licence: str
    reference: str
    metrics: tuple[Metric, ...] = ()
    notes: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _can_be_a_column(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError("must be lower-case letters, digits and underscores, a letter first")
        return value

    @field_validator("units")
    @classmethod
    def _nanojansky(cls, value: str) -> str:
        if value != "nJy":
            raise ValueError('must be "nJy": cutouts are in nJy')
        return value


@dataclass(frozen=True)
class ModelPackage:
    """A trained package in memory, its network on the CPU and in evaluation mode.

    Attributes
    ----------
    path : Path
        Folder that it was read from.
    card : ModelCard
    network : Network
        float32 (n, channels, size, size) -> logits (n,), and the embedding before them.
    weights_sha256 : str
        Of the weights' file.
    calibration : Calibration
    familiarity : Familiarity or None
        Without one, nothing is out of its distribution.
    """

    path: Path
    card: ModelCard
    network: Network
    weights_sha256: str
    calibration: Calibration
    familiarity: Familiarity | None = None

    @property
    def name(self) -> str:
        """Name of the member."""
        return self.card.name

    def fingerprint(self) -> str:
        """Hash of what logit and distance of a stamp depend on: that of the logit, and the familiarity."""
        known = {} if self.familiarity is None else {"familiarity": self.familiarity.identity()}
        return fingerprint({**known, **self._logit_inputs()})

    def logit_fingerprint(self) -> str:
        """Hash of what the logit of a stamp depends on: network, weights, grid, bands, normalisation."""
        return fingerprint(self._logit_inputs())

    def _logit_inputs(self) -> dict[str, Any]:
        card = self.card
        return {
            "architecture": card.architecture,
            "arguments": card.arguments,
            "bands": card.bands,
            "pixel_scale": card.pixel_scale,
            "size_pix": card.size_pix,
            "normalisation": card.normalisation.identity(),
            "weights": self.weights_sha256,
        }


def packages_root() -> Path:
    """The folder of the shipped packages."""
    return Path(__file__).resolve().parent / "packages"


def shipped_packages() -> list[str]:
    """Names of the shipped packages, sorted."""
    return sorted(path.parent.name for path in packages_root().glob(f"*/{CARD}"))


def find_package(reference: str, relative_to: Path | None = None) -> Path:
    """The folder that a reference means: a path if it holds a package, else a shipped package's name.

    Raises
    ------
    ConfigError
        If there is neither; the message lists the shipped names.
    """
    path = Path(reference).expanduser()
    candidate = path if path.is_absolute() else (relative_to or Path.cwd()) / path
    if (candidate / CARD).is_file():
        return candidate
    if path.name == reference and (packages_root() / reference / CARD).is_file():
        return packages_root() / reference
    listed = ", ".join(shipped_packages()) or "none"
    raise ConfigError(f"no model package {reference!r}: no {candidate / CARD}, nor a shipped one. Shipped: {listed}.")


def read_card(path: Path) -> ModelCard:
    """The card of a package's folder; opens no weights.

    Raises
    ------
    ConfigError
        If it is missing or wrong, naming file and key.
    """
    return load(ModelCard, path / CARD)


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
    return ModelPackage(path, card, channels_last(network), sha256_of(weights), calibration, familiarity)


def channels_last(network: _Module) -> _Module:
    """The network with its weights laid out for channels-last input, three to six times faster on CPUs."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        state: Mapping[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelMismatch(f"{path}: weights cannot be read ({error}); fetch or train the package again.") from error
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ModelMismatch(f"{path}: {len(broken)} tensors are not finite, the first {broken[0]}; train it again.")
    return state
