"""The cascade of an ensemble: a gate that looks at every stamp first and passes on what could be a lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.config import StrictModel
from pipeline.models.calibration import Calibration, log_odds, sigmoid
from pipeline.models.package import ModelPackage
from pipeline.provenance import fingerprint

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Views = Literal[1, 2, 4]
"""Quarter turns of a stamp that a logit is the mean of."""


class CascadeConfig(StrictModel):
    """Section `[cascade]` of an ensemble: which network is the gate, where it stops, and what that was fitted for.

    Attributes
    ----------
    gate : str
        A member of the ensemble or another package.
    views : 1, 2 or 4
        Quarter turns that the gate's logit is the mean of.
    threshold : float
        A stamp whose gate has a lower logit is stopped.
    loss : float
        Share of the lenses that the whole ensemble makes candidates, that the threshold was set to stop.
    prior, floor : float
        What a candidate was there: a score of at least `floor` at this share of lenses.
    n_candidates : int
        Lenses of the sample that were candidates.
    passed : float
        Share of the sample's others that were passed on.
    calibration : Calibration
        Of the gate's logit.
    """

    gate: str
    views: Views = 1
    threshold: float
    loss: float = Field(gt=0, lt=1)
    prior: float = Field(gt=0, lt=1)
    floor: float = Field(ge=0, le=1)
    n_candidates: int = Field(ge=1)
    passed: float = Field(ge=0, le=1)
    calibration: Calibration


@dataclass(frozen=True)
class Cascade:
    """A gate in memory.

    Attributes
    ----------
    package : ModelPackage
    config : CascadeConfig
    """

    package: ModelPackage
    config: CascadeConfig

    def stops(self, logits: npt.NDArray[Any]) -> Bool:
        """Which stamps go no further, bool (n,).

        NaN, a stamp that the gate can't score, is passed on: the members say what is to be said of it.

        Parameters
        ----------
        logits : float32 (n,)
            The gate's.
        """
        with np.errstate(invalid="ignore"):
            stopped: Bool = np.asarray(logits, np.float32) < np.float32(self.config.threshold)
        return stopped

    def score(self, logits: npt.NDArray[Any], prior: float) -> Float32:
        """Probability by the gate alone, float32 (n,), where a share `prior` are lenses; NaN stays NaN."""
        return sigmoid(log_odds(logits, self.config.calibration, prior)).astype(np.float32)

    def fingerprint(self) -> str:
        """Hash of what decides which stamps are stopped."""
        threshold = float(np.float32(self.config.threshold))
        return fingerprint([self.package.logit_fingerprint(), self.config.views, threshold])

    def calibration_fingerprint(self) -> str:
        """Hash of what makes probabilities of the gate's logits."""
        return fingerprint(self.config.calibration.model_dump())
