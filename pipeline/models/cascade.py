"""The cascade of an ensemble: gates that look at every stamp first and pass on what could be a lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.models.calibration import log_odds, sigmoid
from pipeline.models.described import DescribedCascade
from pipeline.models.package import ModelPackage

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cascade(DescribedCascade):
    """Gates with their networks.

    Attributes
    ----------
    packages : tuple of ModelPackage
        The networks of the gates, in order.
    config : CascadeConfig
    """

    packages: tuple[ModelPackage, ...]

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
