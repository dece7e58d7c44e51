"""The cascade of an ensemble: gates that look at every stamp first and pass on what could be a lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.config import StrictModel
from pipeline.models.calibration import Calibration, log_odds, sigmoid
from pipeline.models.package import ModelPackage
from pipeline.provenance import fingerprint

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Views = Literal[1, 2, 4]
"""Quarter turns of a stamp that a logit is the mean of."""


class GateConfig(StrictModel):
    """One gate, which sees what those before it have passed.

    Attributes
    ----------
    package : str
        A member of the ensemble or another network.
    weights : tuple of float
        Of the logits of the gates so far and of its own, in their order: what it judges by is their weighted sum.
    threshold : float
        A stamp with a lower sum is stopped.
    calibration : Calibration
        Of the sum.
    """

    package: str
    weights: tuple[float, ...]
    threshold: float
    calibration: Calibration


class CascadeConfig(StrictModel):
    """Section `[cascade]` of an ensemble: its gates in order, and what they were fitted for.

    Attributes
    ----------
    views : 1, 2 or 4
        Quarter turns that a gate's logit is the mean of.
    loss : float
        Share of the lenses that the whole ensemble makes candidates, that all gates together were set to stop.
    prior, floor : float
        What a candidate was there: a score of at least `floor` at this share of lenses.
    n_candidates : int
        Lenses of the sample that were candidates.
    passed : float
        Share of the sample's others that every gate passed on.
    gates : tuple of GateConfig
    """

    views: Views = 1
    loss: float = Field(gt=0, lt=1)
    prior: float = Field(gt=0, lt=1)
    floor: float = Field(ge=0, le=1)
    n_candidates: int = Field(ge=1)
    passed: float = Field(ge=0, le=1)
    gates: tuple[GateConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _a_weight_for_each_gate_so_far(self) -> CascadeConfig:
        for number, gate in enumerate(self.gates, 1):
            if len(gate.weights) != number:
                raise ValueError(f"gate {number}, {gate.package}, needs {number} weights, one for each gate up to it")
        return self


@dataclass(frozen=True)
class Cascade:
    """Gates in memory.

    Attributes
    ----------
    packages : tuple of ModelPackage
        The networks of the gates, in order.
    config : CascadeConfig
    """

    packages: tuple[ModelPackage, ...]
    config: CascadeConfig

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the gates' networks, in order."""
        return tuple(package.name for package in self.packages)

    def sums(self, logits: npt.NDArray[Any]) -> Float64:
        """What each gate judges by, float64 (n, gates); NaN where it or one before it has no logit."""
        values = np.asarray(logits, np.float64)
        answer = np.zeros(values.shape)
        for number, gate in enumerate(self.config.gates):
            for column, weight in enumerate(gate.weights):
                answer[:, number] += weight * values[:, column]
        return answer

    def stops(self, logits: npt.NDArray[Any]) -> Bool:
        """Which stamps some gate stops, bool (n,).

        A stamp that a gate can't score is passed on: the members say what is to be said of it.

        Parameters
        ----------
        logits : float32 (n, gates)
            NaN where a gate has none: it can't score the stamp, or was not asked.
        """
        thresholds = np.array([gate.threshold for gate in self.config.gates])
        with np.errstate(invalid="ignore"):
            stopped: Bool = np.any(self.sums(logits) < thresholds, axis=1)
        return stopped

    def score(self, logits: npt.NDArray[Any], prior: float) -> Float32:
        """Probability by the last gate that has looked, float32 (n,), where a share `prior` are lenses; NaN if none."""
        sums = self.sums(logits)
        answer = np.full(len(sums), np.nan)
        for number, gate in enumerate(self.config.gates):
            seen = np.isfinite(sums[:, number])
            answer[seen] = sigmoid(log_odds(sums[seen, number], gate.calibration, prior))
        return answer.astype(np.float32)

    def fingerprint(self) -> str:
        """Hash of what decides which stamps are stopped."""
        networks = [package.logit_fingerprint() for package in self.packages]
        return fingerprint([networks, self.config.views, [[g.weights, g.threshold] for g in self.config.gates]])

    def calibration_fingerprint(self) -> str:
        """Hash of what makes probabilities of the gates' logits."""
        return fingerprint([gate.calibration.model_dump() for gate in self.config.gates])
