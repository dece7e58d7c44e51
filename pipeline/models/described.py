"""Trained packages without their networks: what a plan, which runs none, compares and refuses.

Whoever submits a scan reads cards, calibrations and hashes; networks, and torch, are loaded where stamps are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pipeline.config import load
from pipeline.errors import ModelMismatch
from pipeline.models.calibration import Calibration
from pipeline.models.card import CALIBRATION, WEIGHTS, ModelCard, read_card
from pipeline.models.cascade_config import CascadeConfig
from pipeline.models.familiarity_file import FAMILIARITY, Identified, describe_familiarity
from pipeline.models.fitter_config import FitterConfig
from pipeline.models.mapper_config import Joint
from pipeline.provenance import fingerprint, sha256_of

_LARGEST_SCALE_RATIO = 3.0
"""Pixels this many times coarser than the model's carry too little of an arc to be scored."""


@dataclass(frozen=True)
class DescribedPackage:
    """A trained package as its files say it.

    Attributes
    ----------
    path : Path
        Folder that it was read from.
    card : ModelCard
    weights_sha256 : str
        Of the weights' file.
    calibration : Calibration
    familiarity : Identified or None
        Without one, nothing is out of its distribution.
    """

    path: Path
    card: ModelCard
    weights_sha256: str
    calibration: Calibration
    familiarity: Identified | None = None

    @property
    def name(self) -> str:
        """Name of the member."""
        return self.card.name

    def check_bands(self, bands: Sequence[str], does: str) -> None:
        """Refuse data whose bands lack one of the package's: ModelMismatch; `does` says what it does with its own."""
        if missing := [band for band in self.card.bands if band not in bands]:
            raise ModelMismatch(
                f"{self.name!r} {does} {', '.join(self.card.bands)}; the data have {', '.join(bands)}: "
                f"{', '.join(missing)} is missing."
            )

    def check_pixels(self, pixel_scale: float, of: str = "") -> None:
        """Refuse pixels (arcsec) far coarser than the member's: ModelMismatch, which begins with `of`."""
        if pixel_scale > _LARGEST_SCALE_RATIO * self.card.pixel_scale:
            raise ModelMismatch(
                f"{of}member {self.name!r} wants pixels of {self.card.pixel_scale:g} arcsec; {pixel_scale:g} arcsec "
                f"is over {_LARGEST_SCALE_RATIO:g} times that. Train one for them."
            )

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


@dataclass(frozen=True)
class DescribedMapper:
    """The package that draws an ensemble's maps, and the criterion that joins them to the score."""

    package: DescribedPackage
    joint: Joint | None = None

    def fingerprint(self) -> str:
        """Hash of what maps and joint criterion depend on."""
        return fingerprint([self.package.logit_fingerprint(), None if self.joint is None else self.joint.model_dump()])


@dataclass(frozen=True)
class DescribedFitter:
    """The package whose network gives posteriors of lens parameters, and what is drawn of them.

    Attributes
    ----------
    package : DescribedPackage
    config : FitterConfig
    """

    package: DescribedPackage
    config: FitterConfig

    def fingerprint(self) -> str:
        """Hash of what parameters depend on, and whether they are trusted."""
        known = self.package.familiarity
        shares = None if known is None else known.quantiles_identity()
        return fingerprint([self.package.fingerprint(), shares, self.config.model_dump(exclude={"package"})])


@dataclass(frozen=True)
class DescribedCascade:
    """The gates of an ensemble, in order, and what they judge by."""

    packages: tuple[DescribedPackage, ...]
    config: CascadeConfig

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the gates' networks, in order."""
        return tuple(package.name for package in self.packages)

    def fingerprint(self) -> str:
        """Hash of what decides which stamps are stopped."""
        networks = [package.logit_fingerprint() for package in self.packages]
        return fingerprint([networks, self.config.views, [[g.weights, g.threshold] for g in self.config.gates]])

    def calibration_fingerprint(self) -> str:
        """Hash of what makes probabilities of the gates' logits."""
        return fingerprint([gate.calibration.model_dump() for gate in self.config.gates])


def describe_package(path: Path) -> DescribedPackage:
    """Read a package's card and calibration, and hash the rest.

    Raises
    ------
    ConfigError
        If the card or the calibration is missing or wrong.
    ModelMismatch
        If the weights are missing or no whole file of tensors, or the familiarity is damaged. Whether the weights are
        those of the architecture is for `load_package` to say.
    """
    card = read_card(path)
    calibration = load(Calibration, path / CALIBRATION)
    weights = path / WEIGHTS
    try:
        with safe_open(weights, framework="numpy"):
            digest = sha256_of(weights)
    except (OSError, SafetensorError) as error:
        raise unreadable_weights(weights, error) from error
    familiar = path / FAMILIARITY
    familiarity = describe_familiarity(familiar) if familiar.is_file() else None
    return DescribedPackage(path, card, digest, calibration, familiarity)


def unreadable_weights(path: Path, error: Exception) -> ModelMismatch:
    """What to raise of a weights' file that can't be read."""
    return ModelMismatch(f"{path}: weights cannot be read ({error}); fetch or train the package again.")
