"""What the kinds of negatives are made of: places, numbers, magnitudes, knots."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pipeline.sims.config.population import Population
from pipeline.sims.population.galaxies import (
    colours_of,
    counted_magnitude,
    members,
)
from pipeline.sims.population.lenses import draw_deflector
from pipeline.sims.render.light import Float64, Sersic
from pipeline.sims.render.photometry import flux_of, fluxes

Bands = tuple[str, ...]


def central_magnitude(rng: Generator, population: Population) -> float:
    """R magnitude of a galaxy in the middle of a stamp, by the galaxies' counts."""
    galaxies = population.galaxies
    return float(counted_magnitude(rng, galaxies.central_magnitude, galaxies.count_slope, 1)[0])


def red_galaxy(rng: Generator, population: Population) -> tuple[float, float]:
    """R magnitude and redshift, those of deflectors for most; else brightness alone would tell the lenses."""
    if rng.random() < population.galaxies.deflector_like_share:
        drawn = draw_deflector(rng, population)
        return drawn.magnitude, drawn.redshift
    return central_magnitude(rng, population), float(rng.uniform(*population.lenses.redshift))


def group_members(
    rng: Generator, population: Population, magnitude: float, redshift: float, bands: Bands
) -> list[Sersic]:
    """The galaxies of a red galaxy's group, if it has one."""
    return [member.light for member in members(rng, population, magnitude, redshift, bands)]


def number_of(rng: Generator, shares: tuple[float, ...]) -> int:
    """1, 2, 3, ... by their shares."""
    return 1 + int(rng.choice(len(shares), p=np.array(shares) / sum(shares)))


def whole_number(rng: Generator, ends: tuple[int, int]) -> int:
    """A uniform whole number, ends included."""
    return int(rng.integers(ends[0], ends[1] + 1))


def place_about(rng: Generator, distance: tuple[float, float]) -> tuple[float, float]:
    """A place at a uniform distance from the centre, in any direction."""
    away, angle = rng.uniform(*distance), rng.uniform(0, 2 * np.pi)
    return float(away * np.cos(angle)), float(away * np.sin(angle))


def knots_in(
    rng: Generator, population: Population, body: Sersic, n: int, bands: Bands, strength: float
) -> list[Sersic]:
    """Small blue clumps in the plane of a disc, together `strength` of its light on average."""
    shape = population.negatives.knots
    knots = []
    for _ in range(n):
        radius = body.radius * rng.uniform(*shape.distance)
        at = on_ellipse(radius, body.q, body.angle, rng.uniform(0, 2 * np.pi))
        share = strength * rng.exponential(1.0) / n
        blue = fluxes(0.0, colours_of(rng, population.lenses.blue_source), bands) / flux_of(0.0)
        flux: Float64 = blue / blue.mean() * body.flux.mean() * share
        size = float(np.clip(body.radius * rng.uniform(*shape.radius), *shape.radius_limits))
        q = rng.uniform(*shape.axis_ratio)
        knots.append(Sersic(body.x + at[0], body.y + at[1], size, shape.sersic, q, rng.uniform(0, np.pi), flux))
    return knots


def on_ellipse(radius: float, q: float, angle: float, along: float) -> tuple[float, float]:
    """The point at angle `along` of the ellipse of geometric-mean radius `radius`."""
    u, v = radius / np.sqrt(q) * np.cos(along), radius * np.sqrt(q) * np.sin(along)
    return float(u * np.cos(angle) - v * np.sin(angle)), float(u * np.sin(angle) + v * np.cos(angle))
