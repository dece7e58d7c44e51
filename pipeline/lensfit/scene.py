"""Images of a model: the deflector's light, and the source's through the lens, each of unit flux, as a stamp has them.

Deflections and profiles are caustics', which torch differentiates; the blurring is that of the simulations
(`pipeline.sims.render.image`). Everything is batched: parameters (n,) give images (n, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from caustics.lenses.func import reduced_deflection_angle_external_shear, reduced_deflection_angle_sie
from caustics.light.func import brightness_sersic, k_sersic
from scipy.fft import next_fast_len
from torch import Tensor

from pipeline.lensfit.config import RenderingConfig
from pipeline.lensfit.observation import Observation
from pipeline.lensfit.parameters import Lens
from pipeline.sims.render.image import Psf, blurred, transfer
from pipeline.sims.render.light import Grid

_CORE = 1e-4
"""Core radius in arcsec that keeps everything finite at a centre."""
_CUSP = 4
"""Fine pixels on each side of the deflector's expected place over which its cusp is averaged over subpixels."""
_SUBPIXELS = 5


@dataclass(frozen=True)
class Canvas:
    """What images are computed on and blurred with.

    Attributes
    ----------
    grid : Grid
    transfers : complex64 (band, fine, fine // 2 + 1)
        Of the PSFs.
    axis : (fine,), arcsec
        Coordinates of fine pixels from the stamp's centre, along x and along y.
    sub_x, sub_y : (subpixels,), arcsec
        Coordinates of subpixels of the fine pixels about the deflector's expected place.
    inside : bool (fine, fine)
        Those fine pixels,
    frame : tuple of int
        and how many there are to the left and right of them, below and above.
    """

    grid: Grid
    transfers: Tensor
    axis: Tensor
    sub_x: Tensor
    sub_y: Tensor
    inside: Tensor
    frame: tuple[int, int, int, int]


def canvas_of(
    observation: Observation,
    config: RenderingConfig,
    centre: tuple[float, float] = (0.0, 0.0),
    dtype: torch.dtype = torch.float64,
) -> Canvas:
    """The canvas of a stamp.

    Parameters
    ----------
    observation : Observation
    config : RenderingConfig
    centre : (x, y), arcsec
        Where the deflector is expected, from the stamp's centre: within two pixels, or its cusp is not averaged.
    dtype : torch.dtype
        Of what is computed on it.
    """
    scale, size = observation.pixel_scale, observation.image.shape[-1]
    margin = int(np.ceil(config.margin / scale))
    # Transforms of lengths with large prime factors are several times slower.
    margin = next(m for m in range(margin, margin + size) if next_fast_len(size + 2 * m) == size + 2 * m)
    grid = Grid(size, scale, config.oversampling, margin)
    psf = Psf(observation.seeing, observation.beta, *observation.ellipticity)
    axis = (torch.arange(grid.fine, dtype=dtype) - (grid.fine - 1) / 2) * grid.step
    offsets = ((torch.arange(_SUBPIXELS, dtype=dtype) + 0.5) / _SUBPIXELS - 0.5) * grid.step

    def about(position: float) -> slice:
        first = round(position / grid.step + (grid.fine - 1) / 2) - _CUSP
        first = min(max(first, 0), grid.fine - 2 * _CUSP - 1)
        return slice(first, first + 2 * _CUSP + 1)

    columns, rows = about(centre[0]), about(centre[1])
    sub_x, sub_y = ((axis[chosen, None] + offsets).reshape(-1) for chosen in (columns, rows))
    inside = torch.zeros((grid.fine, grid.fine), dtype=torch.bool)
    inside[rows, columns] = True
    frame = (columns.start, grid.fine - columns.stop, rows.start, grid.fine - rows.stop)
    return Canvas(grid, transfer([psf], [grid])[0], axis, sub_x, sub_y, inside, frame)


def images(lens: Lens, canvas: Canvas) -> Tensor:
    """Deflector and lensed source of unit flux, blurred.

    Parameters
    ----------
    lens : Lens
        Of the canvas's type.

    Returns
    -------
    (n, 2, band, size, size), the deflector first; a nJy of total flux (before lensing) each
    """
    x, y = canvas.axis[None, :], canvas.axis[:, None]
    ax, ay = deflection(lens, x, y)
    light_x, light_y = x - lens.x[:, None, None], y - lens.y[:, None, None]
    source_x, source_y = x - ax - lens.source_x[:, None, None], y - ay - lens.source_y[:, None, None]
    dx = torch.stack([light_x.expand_as(source_x), source_x], dim=1)
    dy = torch.stack([light_y.expand_as(source_y), source_y], dim=1)
    profiles = _profiles(lens)
    light = brightness_sersic(0.0, 0.0, *profiles.unbind(0)[:-1], dx, dy, profiles[-1], _CORE)
    cusp = torch.nn.functional.pad(_cusp(lens, profiles[:, :, 0], canvas), canvas.frame)
    both = torch.stack([torch.where(canvas.inside, cusp, light[:, 0]), light[:, 1]], dim=1)
    return blurred(both[:, :, None] * canvas.grid.step**2, canvas.transfers, canvas.grid)


def deflection(lens: Lens, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Reduced deflection in arcsec of the ellipsoid and the shear, at (x, y) that broadcast to (n, rows, columns)."""
    x0, y0, q, angle, theta_e, shear_1, shear_2 = (
        part[..., None, None] for part in (lens.x, lens.y, lens.q, lens.angle, lens.theta_E, lens.shear_1, lens.shear_2)
    )
    ax, ay = reduced_deflection_angle_sie(x0, y0, q, angle, theta_e, x, y, _CORE)
    bx, by = reduced_deflection_angle_external_shear(x0, y0, shear_1, shear_2, x, y)
    return ax + bx, ay + by


def _cusp(lens: Lens, profile: Tensor, canvas: Canvas) -> Tensor:
    """The deflector's surface brightness about its centre, averaged over subpixels; (n, rows, columns)."""
    dx, dy = canvas.sub_x[None, :] - lens.x[:, None, None], canvas.sub_y[:, None] - lens.y[:, None, None]
    # A subpixel on the cusp stands for its rms radius, side / sqrt(6), or the centre's brightness would count.
    # caustics' own softening is added to the radius; here positions are moved outwards, which adds in quadrature.
    soft = canvas.grid.step / _SUBPIXELS / float(np.sqrt(6))
    outwards = torch.sqrt(1 + soft**2 / (dx * dx + dy * dy + _CORE**2))
    fine = brightness_sersic(0.0, 0.0, *profile.unbind(0)[:-1], dx * outwards, dy * outwards, profile[-1], _CORE)
    return torch.nn.functional.avg_pool2d(fine[:, None], _SUBPIXELS)[:, 0]


def _profiles(lens: Lens) -> Tensor:
    """Sersic profiles of unit flux as caustics takes them: q, angle, n, Re, Ie and k, (6, n, 2, 1, 1).

    caustics' `Re` is the half-light ellipse's long semi-axis, a lens's radius the geometric mean of both. The flux is
    that of Graham & Driver (2005), sec. 2, with the k of Ciotti & Bertin (1999), which caustics' `k_sersic` is.
    """
    q, n, radius = lens.light_q, lens.light_n, lens.light_radius
    k = k_sersic(n)
    faintness = 2 * np.pi * n * radius**2 * torch.exp(k - 2 * n * torch.log(k) + torch.lgamma(2 * n))
    return torch.stack([q, lens.light_angle, n, radius / torch.sqrt(q), 1 / faintness, k])[..., None, None]
