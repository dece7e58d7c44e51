"""Posteriors of lens parameters: which parameters there are, samples of them, and what a network's head must give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.models.layers import Classifier

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a lens; `unit` is empty for a number without one."""

    name: str
    unit: str
    description: str


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("theta_E", "arcsec", "effective Einstein radius, intermediate axis, all convergence included"),
    Parameter("e1", "", "ellipticity of the mass, (1 - q) / (1 + q) cos 2 phi"),
    Parameter("e2", "", "ellipticity of the mass, (1 - q) / (1 + q) sin 2 phi"),
    Parameter("shear_1", "", "external reduced shear, along x and y"),
    Parameter("shear_2", "", "external reduced shear, along the diagonals"),
    Parameter("source_x", "arcsec", "source from the deflector, in the source plane, along x"),
    Parameter("source_y", "arcsec", "source from the deflector, in the source plane, along y"),
    Parameter("lens_x", "arcsec", "deflector from the stamp's centre, along x"),
    Parameter("lens_y", "arcsec", "deflector from the stamp's centre, along y"),
)
"""The last axis of samples, in this order.

x runs along columns and y along rows of the stamp, angles from x towards y. What a sheet of mass does can't be told
from an image (Falco et al. 1985, ApJ 289, L1): parameters are those of a lens without one that looks the same, so
theta_E is that of the lens times (1 - kappa)^(-1 / (slope - 1)), and shear and source are theirs over 1 - kappa, where
kappa is the convergence of all but the deflector at its centre.
"""

NAMES: tuple[str, ...] = tuple(parameter.name for parameter in PARAMETERS)


@dataclass(frozen=True)
class Posterior:
    """Samples of the lens parameters of some stamps.

    Attributes
    ----------
    samples : float32 (n, s, p)
        Of `PARAMETERS`, in their units; NaN for a stamp that can't be scored.
    """

    samples: Float32

    @property
    def mean(self) -> Float32:
        """Means over the samples, (n, p)."""
        mean: Float32 = self.samples.mean(1, dtype=np.float64).astype(np.float32)
        return mean

    @property
    def std(self) -> Float32:
        """Standard deviations over the samples, (n, p)."""
        std: Float32 = self.samples.std(1, dtype=np.float64).astype(np.float32)
        return std

    def quantiles(self, levels: Sequence[float]) -> Float32:
        """Quantiles at levels from 0 to 1, (levels, n, p)."""
        return np.quantile(self.samples, levels, axis=1).astype(np.float32)


class PosteriorHead(Classifier):
    """A head that gives a posterior of the lens parameters beside its logit, which says whether there is a lens.

    The posterior is that of a lens; of a stamp without one it means nothing.

    Attributes
    ----------
    support : float32 (2, p), a buffer
        Ends of what the lenses of the training hold, in the units of the parameters: a posterior that reaches beyond
        was never trained for. A training sets it; before, they are as far away as weights can say.
    """

    support: Tensor

    @abstractmethod
    def sample(self, embedding: Tensor, base: Tensor) -> Tensor:
        """Draw from the posteriors.

        Parameters
        ----------
        embedding : float32 (n, d)
        base : float32 (s, p), or (n, s, p)
            Standard normal. As of `base_samples` common to all stamps, so that what a stamp gets depends on nothing
            that it was scored with; or each stamp's own, where samples of different stamps have to be independent.

        Returns
        -------
        float32 (n, s, p)
            Of `PARAMETERS`, in their units.
        """

    @abstractmethod
    def log_prob(self, embedding: Tensor, parameters: Tensor) -> Tensor:
        """Natural logarithm of the posteriors' density, per unit of each parameter.

        Parameters
        ----------
        embedding : float32 (n, d)
        parameters : float32 (n, p)
            In their units; theta_E positive, (e1, e2) inside the unit circle.

        Returns
        -------
        float32 (n,)
        """

    def mean_and_std(self, embedding: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the posteriors' samples, float32 (n, p) each; arguments as of `sample`."""
        samples = self.sample(embedding, base)
        return samples.mean(1), samples.std(1, correction=0)


def trustworthy(
    lens: npt.NDArray[Any],
    unfamiliar: npt.NDArray[Any],
    beyond: npt.NDArray[Any],
    *,
    least_lens: float,
    unfamiliar_share: float,
    beyond_share: float,
) -> npt.NDArray[np.bool_]:
    """Which posteriors (n,) are of what the network has learned to measure.

    A posterior says nothing of a stamp without a lens, of one unlike the lenses of the training, and of a lens with
    parameters beyond theirs, and it doesn't know: three signs tell. False where the first or the last is NaN.

    Parameters
    ----------
    lens : (n,)
        Probability of there being a lens, by the network itself, at the mix of its training: the sigmoid of its logit.
    unfamiliar : (n,)
        Share of the familiar lenses held back that lie nearer to what the network knows; NaN for a package without
        familiarity, which then says nothing.
    beyond : (n,)
        Share of the posterior's samples outside `PosteriorHead.support`, the largest over the parameters.
    least_lens, unfamiliar_share, beyond_share : float
        Smallest `lens`, largest `unfamiliar` and `beyond` that are trusted.
    """
    with np.errstate(invalid="ignore"):
        strange = np.asarray(unfamiliar) > np.float32(unfamiliar_share)
        answer: npt.NDArray[np.bool_] = (np.asarray(lens) >= least_lens) & (np.asarray(beyond) <= beyond_share)
    return answer & ~strange


def base_samples(count: int, seed: int) -> Tensor:
    """Standard normal numbers to draw posteriors from, float32 (count, p): the same for the same count and seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, len(PARAMETERS)), generator=generator)
