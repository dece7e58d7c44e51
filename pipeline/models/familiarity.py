"""How far a stamp lies from what a network was trained on: `familiarity.safetensors` of a package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from pipeline.models.familiarity_file import FamiliarityArrays, read_familiarity_arrays


@dataclass(frozen=True)
class Familiarity:
    """Mahalanobis distance in a network's embedding, to the nearest class of its training stamps.

    Lee et al. 2018 (NeurIPS 31, 7167, eq. 2): class means with one covariance for all; `familiarity_fit` makes it.

    Attributes
    ----------
    means : float32 (classes, d)
    whitening : float32 (d, d)
        W with W W^T the inverse of the covariance.
    quantiles : float32 (q,)
        Distances of stamps held back from the fit, at evenly spaced shares from 0 to 1, rising.
    fitted_on : str
        What the stamps were, for a reader.
    """

    means: Tensor
    whitening: Tensor
    quantiles: npt.NDArray[np.float32]
    fitted_on: str

    @property
    def width(self) -> int:
        """Length d of the embedding."""
        return int(self.means.shape[1])

    def to(self, place: torch.device) -> Familiarity:
        """The same with what `distance` needs on a device."""
        return Familiarity(self.means.to(place), self.whitening.to(place), self.quantiles, self.fitted_on)

    def distance(self, embedding: Tensor) -> Tensor:
        """Distance of each stamp, in standard deviations.

        Parameters
        ----------
        embedding : float32 (n, d)

        Returns
        -------
        float32 (n,)
            NaN where the embedding has a NaN.
        """
        whitened = embedding.float() @ self.whitening
        centres = self.means @ self.whitening
        answer: Tensor = (whitened[:, None] - centres).square().sum(-1).amin(1).sqrt()
        return answer

    def share_nearer(self, distance: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Share of the stamps held back that lie nearer, float32 (n,) in [0, 1]; NaN stays NaN.

        1 beyond the farthest of them.
        """
        levels = np.linspace(0.0, 1.0, len(self.quantiles))
        return np.interp(np.asarray(distance, np.float64), self.quantiles, levels).astype(np.float32)

    def identity(self) -> str:
        """Hash of what a distance depends on; quantiles don't count."""
        return self._arrays().identity()

    def quantiles_identity(self) -> str:
        """Hash of what makes a share of a distance."""
        return self._arrays().quantiles_identity()

    def _arrays(self) -> FamiliarityArrays:
        return FamiliarityArrays(self.means.numpy(), self.whitening.numpy(), self.quantiles, self.fitted_on)


def familiarity_bytes(familiarity: Familiarity) -> bytes:
    """The content of `familiarity.safetensors`."""
    tensors = {
        "means": familiarity.means.detach().cpu().float().contiguous(),
        "whitening": familiarity.whitening.detach().cpu().float().contiguous(),
        "quantiles": torch.from_numpy(np.asarray(familiarity.quantiles, np.float32)),
    }
    data: bytes = save(tensors, metadata={"fitted_on": familiarity.fitted_on})
    return data


def read_familiarity(path: Path) -> Familiarity:
    """Read `familiarity.safetensors`.

    Raises
    ------
    ModelMismatch
        If it is damaged or its tensors don't fit each other.
    """
    arrays = read_familiarity_arrays(path)
    means, whitening = torch.from_numpy(arrays.means), torch.from_numpy(arrays.whitening)
    return Familiarity(means, whitening, arrays.quantiles, arrays.fitted_on)
