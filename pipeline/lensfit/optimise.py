"""Levenberg-Marquardt on residuals: several starts at once, each with its own damping."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.func import jacfwd

from pipeline.lensfit.likelihood import Likelihood

_DAMPING, _EASIER, _HARDER = 1e-2, 0.2, 6.0
_GIVE_UP = 1e7
"""Damping at which no step lowers anything any more: the end of what the precision can tell."""


@dataclass(frozen=True)
class Optimum:
    """Where starts have come to.

    Attributes
    ----------
    vectors : (n, p)
    potential : (n,)
        As `Likelihood.potential`.
    converged : bool (n,)
    """

    vectors: Tensor
    potential: Tensor
    converged: Tensor


def optimise(likelihood: Likelihood, starts: Tensor, free: Tensor, *, steps: int, tolerance: float) -> Optimum:
    """Walk from each start to the nearest minimum of `Likelihood.potential`.

    Gauss-Newton steps with Marquardt's damping (Marquardt 1963; Nocedal & Wright 2006, sec. 10.3); the prior is
    one more row of residuals for each parameter, and fluxes are solved for anew within each evaluation (variable
    projection, Golub & Pereyra 1973), through which the derivatives go.

    Parameters
    ----------
    likelihood : Likelihood
    starts : (n, p)
    free : bool (p,)
        Which elements of a vector may change.
    steps : int
        At most, for each start.
    tolerance : float
        A start has converged when an accepted step lowers -2 ln posterior by less, or none lowers it any more.
    """
    vectors = starts.to(likelihood.dtype).clone()
    with torch.no_grad():
        value = likelihood.potential(vectors)
    damping = torch.full_like(value, _DAMPING)
    converged = torch.zeros(len(vectors), dtype=torch.bool)
    slope, curvature = derivatives(likelihood, vectors)
    for _ in range(steps):
        active = torch.nonzero(~converged)[:, 0]
        if not len(active):
            break
        tried = vectors[active].clone()
        tried[:, free] += _step(slope[active][:, free], curvature[active][:, free][:, :, free], damping[active]).to(
            vectors
        )
        with torch.no_grad():
            reached = torch.nan_to_num(likelihood.potential(tried), nan=torch.inf)
        gain = value[active] - reached
        better = gain > 0
        improved, failed = active[better], active[~better]
        vectors[improved], value[improved] = tried[better], reached[better]
        damping[improved] *= _EASIER
        damping[failed] *= _HARDER
        converged[improved] = 2 * gain[better] < tolerance
        converged[failed] = damping[failed] > _GIVE_UP
        going = improved[~converged[improved]]
        if len(going):
            slope[going], curvature[going] = derivatives(likelihood, vectors[going])
    return Optimum(vectors, value, converged)


def derivatives(likelihood: Likelihood, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (n, p) and Gauss-Newton Hessian (n, p, p) of `Likelihood.potential`, float64.

    The latter, the Fisher matrix of residuals and prior, is positive definite.
    """
    _load_forward_mode()
    slopes, curvatures = [], []
    for vector in vectors:

        def residual(one: Tensor) -> tuple[Tensor, Tensor]:
            found = likelihood.residual(one[None])[0]
            return found, found

        jacobian, value = (part.double() for part in jacfwd(residual, has_aux=True)(vector))
        slopes.append(jacobian.T @ value + vector)
        curvatures.append(jacobian.T @ jacobian + torch.eye(len(vector), dtype=jacobian.dtype))
    return torch.stack(slopes), torch.stack(curvatures)


def _step(slope: Tensor, curvature: Tensor, damping: Tensor) -> Tensor:
    scale = torch.diag_embed(torch.diagonal(curvature, dim1=-2, dim2=-1) * damping[:, None])
    step: Tensor = -torch.linalg.solve(curvature + scale, slope)
    return step


@cache
def _load_forward_mode() -> None:
    """Let torch load its rules for forward derivatives, which it does on first use and by what it warns of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jacfwd(torch.sin)(torch.zeros(1))
