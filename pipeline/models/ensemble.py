"""Several members and the rule that makes one score of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.config import StrictModel, find, load, shipped
from pipeline.errors import ConfigError, LensscanError, ModelMismatch
from pipeline.models.calibration import log_odds, sigmoid
from pipeline.models.package import ModelCard, ModelPackage, find_package, load_package, read_card
from pipeline.provenance import fingerprint

Float32 = npt.NDArray[np.float32]

_LARGEST_SCALE_RATIO = 3.0
"""Pixels this many times coarser than the model's carry too little of an arc to be scored."""

_SMALLEST_SCORE, _LARGEST_SCORE = 1e-30, 1 - 2.0**-24
"""Float32 scores are brought inside these before their log-odds are taken."""


class MemberConfig(StrictModel):
    """One member: a shipped package's name or a folder, and its weight in the rule."""

    package: str
    weight: float = Field(1.0, gt=0)


class EnsembleConfig(StrictModel):
    """An ensemble as its TOML says it; `rule` combines the members' calibrated scores."""

    name: str
    description: str
    rule: Literal["mean_log_odds"] = "mean_log_odds"
    members: tuple[MemberConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> EnsembleConfig:
        names = [member.package for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError("names a member twice")
        return self


@dataclass(frozen=True)
class Ensemble:
    """Trained members with their combination rule.

    Attributes
    ----------
    name : str
    members : tuple of ModelPackage
        In the order of the configuration, which is that of every array of members here.
    weights : tuple of float
        Of the members in the rule; only their ratios count.
    rule : str
    """

    name: str
    members: tuple[ModelPackage, ...]
    weights: tuple[float, ...]
    rule: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(member.name for member in self.members)

    def bands(self) -> tuple[str, ...]:
        """Every band that some member reads, each once."""
        return _bands(tuple(member.card for member in self.members))

    def check(self, bands: tuple[str, ...], *, pixel_scale: float | None = None, size_pix: int | None = None) -> None:
        """Refuse cutouts that the members can't read.

        Parameters
        ----------
        bands : tuple of str
            Canonical bands of the cutouts.
        pixel_scale : float, arcsec, optional
        size_pix : int, optional
            Side of the cutouts.

        Raises
        ------
        ModelMismatch
            For a missing band (naming the shipped ensembles that do fit the bands), pixels far coarser
            than a member's, or cutouts that cover less than half of a member's stamp.
        """
        for member in self.members:
            missing = [band for band in member.card.bands if band not in bands]
            if missing:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} needs bands {', '.join(member.card.bands)}; "
                    f"the data have {', '.join(bands) or 'none'}: {', '.join(missing)} is missing. {_that_fit(bands)}"
                )
            if pixel_scale is None:
                continue
            if pixel_scale > _LARGEST_SCALE_RATIO * member.card.pixel_scale:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} wants pixels of {member.card.pixel_scale:g} "
                    f"arcsec; {pixel_scale:g} arcsec is over {_LARGEST_SCALE_RATIO:g} times that. Train one for them."
                )
            side = member.card.size_pix * member.card.pixel_scale
            if size_pix is not None and 2 * (size_pix * pixel_scale) ** 2 < side**2:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} reads {side:g} arcsec, the cutouts are "
                    f"{size_pix * pixel_scale:g} arcsec wide; set cutouts.size to {side:g} arcsec or more."
                )

    def fingerprint(self) -> str:
        """Hash of what the logits depend on; calibration and rule don't count."""
        return fingerprint([[member.name, member.fingerprint()] for member in self.members])

    def calibration_fingerprint(self) -> str:
        """Hash of what makes scores of logits: calibrations, weights and rule."""
        return fingerprint(
            {
                "calibrations": [[member.name, member.calibration.model_dump()] for member in self.members],
                "weights": self.weights,
                "rule": self.rule,
            }
        )

    def package_digests(self) -> dict[str, str]:
        """The sha256 of each member's weights, by name; what provenance carries."""
        return {member.name: member.weights_sha256 for member in self.members}

    def calibrated(self, logits: npt.NDArray[Any], prior: float) -> Float32:
        """Members' probabilities where a share `prior` of the detections are lenses.

        Parameters
        ----------
        logits : (n, members)
            Raw outputs; NaN stays NaN.
        prior : float in (0, 1)

        Returns
        -------
        float32 (n, members)

        Raises
        ------
        ConfigError
            If the prior is not inside (0, 1).
        ValueError
            If the second axis is not the members.
        """
        if not 0 < prior < 1:
            raise ConfigError(f"prior must lie between 0 and 1, not {prior!r}.")
        values = self._of_members(logits)
        scores = np.empty(values.shape, dtype=np.float32)
        for column, member in enumerate(self.members):
            scores[:, column] = sigmoid(log_odds(values[:, column], member.calibration, prior))
        return scores

    def combine(self, member_scores: npt.NDArray[Any]) -> tuple[Float32, Float32]:
        """One score of the members' calibrated ones.

        `mean_log_odds`: the weighted mean of the log-odds, as a probability.

        Parameters
        ----------
        member_scores : (n, members)
            As `calibrated` gives them.

        Returns
        -------
        score : float32 (n,)
            NaN where any member is NaN.
        score_std : float32 (n,)
            Standard deviation (population) of the members' scores; NaN likewise, 0 for a single member.
        """
        values = self._of_members(member_scores)
        clipped = np.clip(values, _SMALLEST_SCORE, _LARGEST_SCORE)
        odds = np.log(clipped) - np.log1p(-clipped)
        weights = np.asarray(self.weights) / sum(self.weights)
        score = sigmoid((odds * weights).sum(axis=1)).astype(np.float32)
        return score, values.std(axis=1).astype(np.float32)

    def _of_members(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.members):
            raise ValueError(f"expected shape (n, {len(self.members)}) for members {self.names}, not {array.shape}")
        return array


def load_ensemble(reference: str | Path, relative_to: Path | None = None) -> Ensemble:
    """Read an ensemble and its members' weights.

    Parameters
    ----------
    reference : str or Path
        Path of an ensemble TOML or name of a shipped one.
    relative_to : Path, optional
        Folder that a relative path starts from; the working directory if None.

    Raises
    ------
    ConfigError
        If the reference, its file or a member's card is wrong.
    ModelMismatch
        If a member's weights don't fit its card, or two members share a name.
    """
    path = find(reference, "ensembles", relative_to)
    config = load(EnsembleConfig, path)
    members = tuple(load_package(find_package(member.package, path.parent)) for member in config.members)
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise ModelMismatch(f"{path}: two members are called the same: {', '.join(names)}; rename one in its card.")
    return Ensemble(config.name, members, tuple(member.weight for member in config.members), config.rule)


def ensembles_that_fit(bands: tuple[str, ...]) -> list[str]:
    """Names of the shipped ensembles whose every member finds its bands among `bands`; opens no weights."""
    fitting = []
    for name in shipped("ensembles"):
        path = find(name, "ensembles")
        try:
            config = load(EnsembleConfig, path)
            cards = tuple(read_card(find_package(member.package, path.parent)) for member in config.members)
        except LensscanError:
            # A broken ensemble fits nothing; whoever asks for it by name is told why.
            continue
        if set(_bands(cards)) <= set(bands):
            fitting.append(name)
    return fitting


def _that_fit(bands: tuple[str, ...]) -> str:
    fitting = ensembles_that_fit(bands)
    if fitting:
        return f"Shipped ensembles that fit: {', '.join(fitting)}."
    return "No shipped ensemble fits these bands; leave `ensemble` out to stop after the cutouts, or train one."


def _bands(cards: tuple[ModelCard, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(band for card in cards for band in card.bands))
