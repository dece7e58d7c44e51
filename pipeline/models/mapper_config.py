"""The maps of an ensemble as its TOML says them: who draws, and the criterion that joins a map to the score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.config import StrictModel

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
