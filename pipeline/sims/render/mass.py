"""Deflections of light by mass: elliptical power laws with shear, sheets, and groups of isothermal spheres.

All of a batch at once, in torch; float32 for images, float64 for the places of point images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_CORE = 1e-4
"""Core radius (arcsec) that keeps the deflection finite where a position is exactly at a centre."""
_PRECISION = 1e-7
"""Terms of the series are added until those left out are below this share of the first."""


@dataclass(frozen=True)
class Sphere:
    """A singular isothermal sphere: a neighbour in the deflector's plane; position and theta_E in arcsec."""

    x: float
    y: float
    theta_E: float


@dataclass(frozen=True)
class Deflector:
    """An elliptical power law with external shear and convergence, and its neighbours.

    Attributes
    ----------
    x, y : arcsec
    theta_E : arcsec
        Of the circle that encloses the same mass (the intermediate-axis convention).
    q, angle : axis ratio, radians
    shear_1, shear_2 : float
    slope : float
        Density falls as r^-slope, 1 < slope < 3; 2 is the singular isothermal ellipsoid.
    convergence : float
        Of a sheet of mass about the deflector.
    neighbours : tuple of Sphere
        Their deflection at the deflector's centre is left out, as it moves the source and nothing else.
    """

    x: float
    y: float
    theta_E: float
    q: float
    angle: float
    shear_1: float = 0.0
    shear_2: float = 0.0
    slope: float = 2.0
    convergence: float = 0.0
    neighbours: tuple[Sphere, ...] = ()


def deflection(deflectors: Sequence[Deflector], x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduced deflection angles in arcsec; the source of light seen at (x, y) is at (x, y) minus these.

    Parameters
    ----------
    deflectors : sequence of n
    x, y : tensors, arcsec
        Broadcast to (n, rows, columns); float32 or float64, which is the result's type too.

    Returns
    -------
    (x, y) components, (n, rows, columns)
    """
    rows = [(d.x, d.y, d.q, d.angle, d.theta_E, d.slope - 1, d.shear_1, d.shear_2, d.convergence) for d in deflectors]
    columns = torch.from_numpy(np.array(rows, np.float64)).to(x.dtype)[:, :, None, None]
    x0, y0, q, angle, theta_e, t, shear_1, shear_2, convergence = columns.unbind(1)
    dx, dy = x - x0, y - y0
    ax, ay = power_law(dx, dy, q, angle, theta_e, t, _terms(deflectors))
    ax += (convergence + shear_1) * dx + shear_2 * dy
    ay += shear_2 * dx + (convergence - shear_1) * dy
    for rank in range(max(len(deflector.neighbours) for deflector in deflectors)):
        chosen = [index for index, deflector in enumerate(deflectors) if len(deflector.neighbours) > rank]
        bx, by = _sphere([deflectors[index] for index in chosen], rank, dx, dy, chosen)
        ax[chosen] += bx
        ay[chosen] += by
    return ax, ay


def power_law(
    dx: torch.Tensor,
    dy: torch.Tensor,
    q: torch.Tensor,
    angle: torch.Tensor,
    theta_e: torch.Tensor,
    t: torch.Tensor,
    terms: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Deflection of elliptical power laws at offsets from their centres.

    Tessore & Metcalf (2015), eq. 13, with the series of their eq. 29 by Horner's rule in real numbers, which is twice
    as fast as complex ones term by term. Their scale length b is theta_e sqrt(q): the mean surface density inside the
    ellipse of semi-axes theta_e / sqrt(q) and theta_e sqrt(q) is critical.

    Parameters
    ----------
    dx, dy : (n, rows, columns), arcsec
    q, angle, theta_e, t : (n, 1, 1)
        Axis ratio; radians; arcsec, intermediate axis; slope of the surface density (density's slope less 1).
    terms : int
        Of the series; those left out are below ((1 - q) / (1 + q))^terms.
    """
    cosine, sine = torch.cos(angle), torch.sin(angle)
    u, v = (dx * cosine + dy * sine) * q, dy * cosine - dx * sine
    squared = (u * u + v * v).clamp_min(_CORE**2)
    f = (q - 1) / (1 + q) / squared
    real, imaginary = (u * u - v * v) * f, 2 * u * v * f
    coefficients = [torch.ones_like(t)]
    for k in range(1, terms):
        coefficients.append(coefficients[-1] * (2 * k - 2 + t) / (2 * k + 2 - t))
    sum_real, sum_imaginary = coefficients[-1].expand_as(real), torch.zeros_like(real)
    for coefficient in reversed(coefficients[:-1]):
        following = torch.addcmul(torch.addcmul(coefficient, real, sum_real), imaginary, sum_imaginary, value=-1)
        sum_imaginary = torch.addcmul(real * sum_imaginary, imaginary, sum_real)
        sum_real = following
    amplitude = 2 / (1 + q) * (theta_e * torch.sqrt(q)) ** t * torch.exp(torch.log(squared) * (-t / 2))
    along, across = amplitude * (u * sum_real - v * sum_imaginary), amplitude * (u * sum_imaginary + v * sum_real)
    return along * cosine - across * sine, along * sine + across * cosine


def _terms(deflectors: Sequence[Deflector]) -> int:
    """Terms of the series for the flattest of the deflectors."""
    flattest = min(deflector.q for deflector in deflectors)
    ratio = (1 - flattest) / (1 + flattest)
    return 3 + int(np.ceil(np.log(_PRECISION) / np.log(ratio))) if ratio > _PRECISION else 3


def _sphere(
    deflectors: Sequence[Deflector], rank: int, dx: torch.Tensor, dy: torch.Tensor, chosen: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Deflection by the neighbours of one rank, less that at the deflectors' centres."""
    rows = [(d.neighbours[rank].x - d.x, d.neighbours[rank].y - d.y, d.neighbours[rank].theta_E) for d in deflectors]
    columns = torch.from_numpy(np.array(rows, np.float64)).to(dx.dtype)[:, :, None, None]
    x0, y0, theta_e = columns.unbind(1)
    bx, by = dx[chosen] - x0, dy[chosen] - y0
    inverse = theta_e / torch.sqrt(bx * bx + by * by + _CORE**2)
    at_centre = theta_e / torch.sqrt(x0 * x0 + y0 * y0 + _CORE**2)
    return bx * inverse + x0 * at_centre, by * inverse + y0 * at_centre
