"""Lensed quasars: where the images of a point source are, how bright, and draws of quasars with their hosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from pipeline.errors import ConfigError
from pipeline.sims.config.lenses import LensPopulation
from pipeline.sims.population.galaxies import colours_of
from pipeline.sims.render.light import Float64, Point, Sersic
from pipeline.sims.render.mass import Deflector, deflection
from pipeline.sims.render.photometry import flux_of, fluxes

_CELLS = 72
"""Cells of the search grid on a side: images nearer to each other than one may be found as one or none."""
_REACH = 2.0
"""Half the side of the search grid in Einstein radii, beyond the source's and the neighbours' distance."""
_STEPS = 10
_SOLVED = 1e-7
"""Distance on the source plane, in Einstein radii, at which an image counts as found."""
_STEP = 1e-5
"""Step of the derivatives in Einstein radii; their error is near 1e-10."""
_FAINTEST = 0.02
"""Images of a smaller magnification, those in the core of a mass, are none that anybody sees."""
_MOST_DRAWS = 200


@dataclass(frozen=True)
class Images:
    """Images of a point source, the brightest first; float64 of one length.

    Attributes
    ----------
    x, y : arcsec
    magnification : float
        Signed: negative for images of negative parity.
    """

    x: Float64
    y: Float64
    magnification: Float64


@dataclass(frozen=True)
class LensedQuasar:
    """Images of a quasar whose source, host included, has flux 1 in r before lensing.

    Attributes
    ----------
    points : tuple of Point
        Fluxes by band, magnified and scattered; the brightest in r first.
    separation : float, arcsec
        Between the two images that are farthest apart.
    """

    points: tuple[Point, ...]
    separation: float


def image_positions(deflector: Deflector, x: float, y: float) -> Images:
    """Images of a point source at (x, y) arcsec on the source plane.

    A grid about the deflector is mapped to the source plane; each triangle whose map holds the source starts a Newton
    iteration on the lens equation. Images of the smallest magnification, in the cores of masses, are left out.

    Returns
    -------
    Images
        None or one where the source isn't multiply imaged.
    """
    start_x, start_y = _starts(deflector, x, y)
    found_x, found_y = _newton(deflector, x, y, start_x, start_y)
    source_x, source_y, (xx, xy, yx, yy) = _mapped(deflector, found_x, found_y)
    with np.errstate(divide="ignore"):
        magnification = 1 / (xx * yy - xy * yx)
    solved = np.hypot(source_x - x, source_y - y) < _SOLVED * deflector.theta_E
    kept = solved & (np.abs(magnification) > _FAINTEST)
    order = [index for index in np.argsort(-np.abs(magnification), kind="stable") if kept[index]]
    different: list[int] = []
    for index in order:
        apart = np.hypot(found_x[different] - found_x[index], found_y[different] - found_y[index])
        if (apart > 1e-4 * deflector.theta_E).all():
            different.append(int(index))
    return Images(found_x[different], found_y[different], magnification[different])


def quasar_behind(
    rng: Generator, lenses: LensPopulation, deflector: Deflector, bands: tuple[str, ...]
) -> tuple[LensedQuasar, tuple[Sersic, ...]]:
    """Draw a quasar that a deflector images more than once, and its host galaxy.

    Returns
    -------
    quasar : LensedQuasar
    host : tuple of Sersic
        Components for `LensedSource`; their fluxes add up to the host's share of the source's light in r.

    Raises
    ------
    ConfigError
        If no multiple images are found behind the deflector.
    """
    quasars = lenses.quasars
    for _ in range(_MOST_DRAWS):
        distance, angle = quasars.reach * deflector.theta_E * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        seen = deflector.x + distance * np.cos(angle), deflector.y + distance * np.sin(angle)
        place = _source(deflector, np.array([seen[0]]), np.array([seen[1]]))
        x, y = float(place[0][0]), float(place[1][0])
        images = image_positions(deflector, x, y)
        if len(images.x) > 1:
            break
    else:
        raise ConfigError(f"no quasar with two images in {_MOST_DRAWS} draws; lower quasars.reach.")
    host_share = float(rng.uniform(*quasars.host_share))
    colour = fluxes(0.0, colours_of(rng, quasars.colours), bands) / flux_of(0.0)
    scatter = 10 ** (-0.4 * rng.normal(0, quasars.flux_scatter, len(images.x)))
    flux = (1 - host_share) * np.abs(images.magnification) * scatter
    points = tuple(
        Point(float(images.x[index]), float(images.y[index]), flux[index] * colour) for index in np.argsort(-flux)
    )
    radius = float(np.exp(rng.uniform(*np.log(quasars.host_radius))))
    n = float(np.round(rng.uniform(*lenses.source_sersic), 2))
    q, angle = float(rng.uniform(*lenses.source_axis_ratio)), float(rng.uniform(0, np.pi))
    host = Sersic(x, y, radius, n, q, angle, np.array([host_share]))
    return LensedQuasar(points, separation(images)), (host,)


def separation(images: Images) -> float:
    """Arcsec between the two images that are farthest apart; 0 for fewer than two."""
    between = np.hypot(images.x[:, None] - images.x, images.y[:, None] - images.y)
    return float(between.max(initial=0.0))


def _starts(deflector: Deflector, x: float, y: float) -> tuple[Float64, Float64]:
    """Middles of the triangles of the grid whose maps hold the source."""
    distances = [np.hypot(item.x - deflector.x, item.y - deflector.y) for item in deflector.neighbours]
    offset = float(np.hypot(x - deflector.x, y - deflector.y))
    # Images of weak neighbours lie in their own light; only those that reach into the ring count.
    near = min(max(distances, default=0.0), _REACH * deflector.theta_E)
    half = _REACH * deflector.theta_E + offset + 0.3 * near
    # An odd share of a cell keeps the deflector's centre, where the map breaks, off the grid's corners.
    axis = np.linspace(-half, half, _CELLS + 1) + 0.137 * half / _CELLS
    grid_x, grid_y = np.meshgrid(deflector.x + axis, deflector.y + axis)
    source_x, source_y = _source(deflector, grid_x.ravel(), grid_y.ravel())
    dx, dy = source_x.reshape(grid_x.shape) - x, source_y.reshape(grid_x.shape) - y
    starts_x, starts_y = [], []
    for corners in (((0, 0), (0, 1), (1, 0)), ((1, 1), (1, 0), (0, 1))):
        parts = [(slice(row, _CELLS + row), slice(column, _CELLS + column)) for row, column in corners]
        sides = [
            dx[first] * dy[second] - dy[first] * dx[second]
            for first, second in zip(parts, (*parts[1:], parts[0]), strict=True)
        ]
        inside = np.logical_and.reduce([side >= 0 for side in sides]) | np.logical_and.reduce(
            [side <= 0 for side in sides]
        )
        starts_x.append(sum(grid_x[part][inside] for part in parts) / 3)
        starts_y.append(sum(grid_y[part][inside] for part in parts) / 3)
    return np.concatenate(starts_x), np.concatenate(starts_y)


def _newton(deflector: Deflector, x: float, y: float, start_x: Float64, start_y: Float64) -> tuple[Float64, Float64]:
    """Solutions of the lens equation from starts near them, each step at most a quarter of theta_E."""
    found_x, found_y = start_x.copy(), start_y.copy()
    longest = 0.25 * deflector.theta_E
    for _ in range(_STEPS):
        source_x, source_y, (xx, xy, yx, yy) = _mapped(deflector, found_x, found_y)
        miss_x, miss_y = x - source_x, y - source_y
        if np.hypot(miss_x, miss_y).max(initial=0.0) < _SOLVED * deflector.theta_E:
            break
        determinant = xx * yy - xy * yx
        determinant = np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)
        step_x, step_y = (yy * miss_x - xy * miss_y) / determinant, (xx * miss_y - yx * miss_x) / determinant
        shorter = np.minimum(1.0, longest / np.maximum(np.hypot(step_x, step_y), 1e-30))
        found_x, found_y = found_x + step_x * shorter, found_y + step_y * shorter
    return found_x, found_y


def _mapped(
    deflector: Deflector, x: Float64, y: Float64
) -> tuple[Float64, Float64, tuple[Float64, Float64, Float64, Float64]]:
    """Sources of (n,) positions, and derivatives (x by x, x by y, y by x, y by y) by central differences."""
    h = _STEP * deflector.theta_E
    points_x, points_y = np.concatenate([x, x + h, x - h, x, x]), np.concatenate([y, y, y, y + h, y - h])
    source_x, source_y = (part.reshape(5, -1) for part in _source(deflector, points_x, points_y))
    xx, xy = (source_x[1] - source_x[2]) / (2 * h), (source_x[3] - source_x[4]) / (2 * h)
    yx, yy = (source_y[1] - source_y[2]) / (2 * h), (source_y[3] - source_y[4]) / (2 * h)
    return source_x[0], source_y[0], (xx, xy, yx, yy)


def _source(deflector: Deflector, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """Where light seen at (n,) positions comes from."""
    seen_x, seen_y = torch.from_numpy(x)[None, None], torch.from_numpy(y)[None, None]
    ax, ay = deflection([deflector], seen_x, seen_y)
    return x - ax[0, 0].numpy(), y - ay[0, 0].numpy()
