"""The network that gives posteriors of lens parameters of an ensemble's candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from pipeline.errors import ModelMismatch
from pipeline.models.described import DescribedFitter
from pipeline.models.package import ModelPackage
from pipeline.models.posterior import PosteriorHead, base_samples


@dataclass(frozen=True)
class Fitter(DescribedFitter):
    """A package whose head gives posteriors.

    Raises
    ------
    ModelMismatch
        If its network gives none.
    """

    package: ModelPackage

    def __post_init__(self) -> None:
        if not isinstance(self.package.network.head, PosteriorHead):
            raise ModelMismatch(
                f"{self.package.name!r} ({self.package.card.architecture}) gives no lens parameters; name a package "
                "that `lensscan train lensnet` made."
            )

    @property
    def head(self) -> PosteriorHead:
        """The network's head."""
        return cast("PosteriorHead", self.package.network.head)

    def draw(self, embedding: Tensor) -> Tensor:
        """Samples (n, samples, parameters) of the posteriors of stamps with these embeddings, on their device."""
        base = base_samples(self.config.samples, self.config.seed)
        return self.head.sample(embedding, base.to(embedding.device))
