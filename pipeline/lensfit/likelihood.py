"""How well a model fits: fluxes solved for, residuals, and the posterior's density.

Given the shapes, a stamp is linear in the fluxes of deflector and source, one each a band; they are those of
least chi-squared that are not negative, so that no sampler has to walk along them. The density is the likelihood at its
maximum over the fluxes (the profile likelihood), times the prior of the shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.lensfit.config import FitConfig
from pipeline.lensfit.observation import Observation
from pipeline.lensfit.parameters import lens_of, physical_of
from pipeline.lensfit.scene import Canvas, canvas_of, images

_TINY = 1e-30


@dataclass(frozen=True)
class Modelled:
    """Models of a stamp.

    Attributes
    ----------
    deflector, source : (n, band, y, x), nJy
    flux : (n, 2, band), nJy
        Of the deflector, and of the source before it is lensed.
    """

    deflector: Tensor
    source: Tensor
    flux: Tensor


@dataclass
class Likelihood:
    """The posterior of one stamp; counts how often it has been asked.

    Attributes
    ----------
    observation : Observation
    config : FitConfig
    centre : (x, y), arcsec
        Where the deflector is expected, from the stamp's centre.
    dtype : torch.dtype
        Of all that is computed. Single precision is twice as fast, and chi-squared is then good to some 1e-3.
    evaluations : int
        Models computed so far, whether with a gradient or not.
    """

    observation: Observation
    config: FitConfig
    centre: tuple[float, float] = (0.0, 0.0)
    dtype: torch.dtype = torch.float32
    evaluations: int = 0
    canvas: Canvas = field(init=False)
    root: Tensor = field(init=False)
    scaled: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.canvas = canvas_of(self.observation, self.config.rendering, self.centre, self.dtype)
        # Single precision has no room for a variance in nJy^2 times itself; in units of the noise it has.
        self.root = torch.from_numpy(np.sqrt(self.observation.weight)).to(self.dtype)
        self.scaled = torch.from_numpy(self.observation.image * np.sqrt(self.observation.weight)).to(self.dtype)

    def model(self, vectors: Tensor) -> Modelled:
        """Models of vectors (n, 17), also where a pixel has no weight."""
        units, flux = self._solved(vectors)
        light = units * flux[..., None, None]
        return Modelled(light[:, 0], light[:, 1], flux)

    def residual(self, vectors: Tensor) -> Tensor:
        """Residuals in units of the noise, (n, band * y * x); 0 where a pixel has no weight."""
        units, flux = self._solved(vectors)
        light = (units * flux[..., None, None]).sum(1)
        return (self.scaled - light * self.root).flatten(1)

    def _solved(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Images of unit flux (n, 2, band, y, x), and the fluxes (n, 2, band)."""
        self.evaluations += len(vectors)
        units = images(lens_of(physical_of(vectors, self.config.priors)), self.canvas)
        return units, fluxes((units * self.root).flatten(3), self.scaled.flatten(1))

    def chi2(self, vectors: Tensor) -> Tensor:
        """Sums of squares of the residuals, (n,)."""
        return self.residual(vectors).square().sum(1)

    def potential(self, vectors: Tensor) -> Tensor:
        """Minus the natural logarithm of the posterior, up to a constant, (n,)."""
        return 0.5 * (self.chi2(vectors) + vectors.square().sum(1))


def fluxes(units: Tensor, data: Tensor) -> Tensor:
    """The two fluxes of least chi-squared that are not negative.

    Where the unconstrained ones have a negative among them, one of the two alone fits best, or none: with two
    components there is no other case (Lawson & Hanson 1974, ch. 23).

    Parameters
    ----------
    units : (n, 2, band, pixel)
        Images of unit flux, in units of the noise.
    data : (band, pixel)
        In units of the noise.

    Returns
    -------
    (n, 2, band)
    """
    squares = units.square().sum(-1).clamp_min(_TINY)
    product = (units[:, 0] * units[:, 1]).sum(-1)[:, None]
    seen = (units * data).sum(-1)
    determinant = (squares.prod(1, keepdim=True) - product * product).clamp_min(_TINY)
    both = (squares.flip(1) * seen - product * seen.flip(1)) / determinant
    alone = (seen / squares).clamp_min(0)
    gain = alone * seen
    one = torch.where(gain >= gain.flip(1), alone, 0)
    return torch.where((both >= 0).all(1, keepdim=True), both, one)
