"""The network that draws maps for an ensemble's candidates, and the criterion that joins its maps to the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from pipeline.config import StrictModel
from pipeline.errors import ModelMismatch
from pipeline.models.calibration import logit, odds_of, sigmoid
from pipeline.models.layers import MapHead, Network
from pipeline.models.package import ModelPackage
from pipeline.provenance import fingerprint

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class Joint(StrictModel):
    """A logistic regression on what the score and the lens-light map say.

    The log likelihood ratio of lens against other is
    `intercept + score * e + light * l + sides * s + off_centre * d`, with e that of the ensemble's score, l the
    natural logarithm of one plus the map's sum in square arcseconds, s the share of directions from the centre that are
    lit, and d the distance of the map's centre of light from the stamp's, arcsec: a companion shines on one side, a
    lens around.

    Attributes
    ----------
    intercept, score, light, sides, off_centre : float
    prior : float
        Share of lenses, by weight, that it was fitted at.
    n_lenses, n_others : int
    fitted_on : str
    """

    intercept: float
    score: float
    light: float
    sides: float
    off_centre: float
    prior: float = Field(gt=0, lt=1)
    n_lenses: int = Field(ge=0)
    n_others: int = Field(ge=0)
    fitted_on: str

    def evidence(self, score: npt.NDArray[np.floating], map_features: Float64) -> Float64:
        """Log likelihood ratios (n,) of the ensemble's and of a map's `light`, `sides` and `off_centre` (n, 3)."""
        values: Float64 = map_features @ np.array([self.light, self.sides, self.off_centre])
        return values + self.score * np.asarray(score, np.float64) + self.intercept


class MapperConfig(StrictModel):
    """Section `[maps]` of an ensemble: the package that draws, and the joint criterion where one was fitted."""

    package: str
    joint: Joint | None = None


@dataclass(frozen=True)
class Mapper:
    """A package that draws lens light and artefact, in the order of `pipeline.models.layers`.

    Raises
    ------
    ModelMismatch
        If its network draws no maps.
    """

    package: ModelPackage
    joint: Joint | None = None

    def __post_init__(self) -> None:
        if _planes(self.package.network) != 2:
            raise ModelMismatch(
                f"maps.package {self.package.name!r} ({self.package.card.architecture}) draws no maps; "
                "name one that `lensscan train unet` made."
            )

    def draw(self, channels: Tensor) -> Tensor:
        """Probabilities (n, 2, y, x) of normalised stamps (n, channels, y, x), on the network's device."""
        network = self.package.network
        return cast("MapHead", network.head).draw_maps(network.encode(channels)).sigmoid()

    def fingerprint(self) -> str:
        """Hash of what maps and joint criterion depend on."""
        return fingerprint([self.package.logit_fingerprint(), None if self.joint is None else self.joint.model_dump()])

    def joint_score(self, score: Float32, prior: float, map_features: Float64) -> Float32:
        """Probability at the prior by the joint criterion, float32 (n,); NaN where an input is, or without one.

        Parameters
        ----------
        score : float32 (n,)
            The ensemble's at the same prior.
        map_features : float64 (n, 3)
            See `Joint.evidence`.
        """
        if self.joint is None:
            return np.full(len(score), np.nan, np.float32)
        evidence = self.joint.evidence(odds_of(score) - logit(prior), map_features)
        return sigmoid(evidence + logit(prior)).astype(np.float32)


def _planes(network: Network) -> int:
    return network.head.planes if isinstance(network.head, MapHead) else 0
