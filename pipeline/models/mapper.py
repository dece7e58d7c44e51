"""The network that draws maps for an ensemble's candidates, joined to the score by its criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.errors import ModelMismatch
from pipeline.models.calibration import logit, odds_of, sigmoid
from pipeline.models.described import DescribedMapper
from pipeline.models.layers import MapHead, Network
from pipeline.models.package import ModelPackage

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mapper(DescribedMapper):
    """A package that draws lens light and artefact, in the order of `pipeline.models.layers`.

    Raises
    ------
    ModelMismatch
        If its network draws no maps.
    """

    package: ModelPackage

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
