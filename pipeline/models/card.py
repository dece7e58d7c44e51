"""What a package says about itself, `model.toml`, and where packages are; no network is touched here."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

from pipeline.config import Arcsec, StrictModel, load
from pipeline.errors import ConfigError
from pipeline.models.normalisation import Normalisation, NormalisationConfig

CARD, WEIGHTS, CALIBRATION = "model.toml", "weights.safetensors", "calibration.toml"

_NAME = re.compile(r"[a-z][a-z0-9_]*")

_TAKEN = "std"
"""No member's name: `score_std` is the spread of the members' scores."""


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
        if not _NAME.fullmatch(value):
            raise ValueError("must be lower-case letters, digits and underscores, a letter first")
        if value == _TAKEN:
            raise ValueError(f"is {value!r}, and score_{value} is another column; give another name")
        return value

    @field_validator("units")
    @classmethod
    def _nanojansky(cls, value: str) -> str:
        if value != "nJy":
            raise ValueError('must be "nJy": cutouts are in nJy')
        return value


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
