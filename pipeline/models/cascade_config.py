"""The cascade of an ensemble as its TOML says it; `cascade` does it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import StrictModel
from pipeline.models.calibration import Calibration

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
