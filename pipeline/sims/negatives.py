"""What is not a lens: one function a kind, each drawing the light in the middle of a stamp.

The kinds are those that networks mistook for lenses on real images: clumpy and blue discs, red galaxies with
blue companions, close blends, bright stars, groups of faint galaxies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from pipeline.sims.light import Float64, Light, Point, Ring, Sersic
from pipeline.sims.population import (
    between,
    colours_of,
    counted_magnitude,
    deflector_magnitude,
    disc,
    draw_theta_e,
    elliptical,
    fluxes,
    members,
    star_colours,
)
from pipeline.sims.population_config import Population

Bands = tuple[str, ...]


def _central_magnitude(rng: Generator, population: Population) -> float:
    galaxies = population.galaxies
    return float(counted_magnitude(rng, galaxies.central_magnitude, galaxies.count_slope, 1)[0])


def _red_magnitude(rng: Generator, population: Population) -> float:
    """As bright as deflectors are, for most; else brightness alone would tell the lenses."""
    if rng.random() < population.galaxies.deflector_like_share:
        return deflector_magnitude(rng, population.lenses, draw_theta_e(rng, population.lenses))
    return _central_magnitude(rng, population)


def draw_elliptical(rng: Generator, population: Population, bands: Bands) -> Light:
    """A red galaxy with its group, as lenses have one."""
    magnitude = _red_magnitude(rng, population)
    redshift = rng.uniform(*population.lenses.redshift)
    galaxy = elliptical(rng, population, magnitude, bands, redshift)
    return Light((galaxy, *members(rng, population, magnitude, redshift, bands)))


def draw_spiral(rng: Generator, population: Population, bands: Bands) -> Light:
    """A disc with two arms, knots along them, and a red bulge."""
    magnitude = _central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=1.5)
    body = replace(
        body,
        n=1.0,
        q=max(body.q, 0.4),
        arms=rng.uniform(0.4, 1.0),
        pitch=np.deg2rad(rng.uniform(10, 35)) * rng.choice([-1, 1]),
        phase=rng.uniform(0, 2 * np.pi),
    )
    bulge = elliptical(rng, population, magnitude + rng.uniform(0.8, 3.0), bands)
    knots = _knots(rng, population, body, int(rng.integers(0, 7)), bands)
    return Light((body, replace(bulge, radius=min(bulge.radius, 0.35 * body.radius)), *knots))


def draw_clumpy(rng: Generator, population: Population, bands: Bands) -> Light:
    """A blue disc with bright clumps, some of them on an arc about the middle."""
    magnitude = _central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=rng.uniform(1.0, 2.0))
    return Light((body, *_knots(rng, population, body, int(rng.integers(3, 10)), bands, strength=0.6)))


def draw_ring(rng: Generator, population: Population, bands: Bands) -> Light:
    """A ring galaxy: a core and a bluer, knotty ring about it, in one plane."""
    magnitude = _red_magnitude(rng, population)
    core = elliptical(rng, population, magnitude, bands)
    radius = between(rng, population.galaxies.ring_radius)
    q, angle = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    colours = colours_of(rng, population.galaxies.blue)
    ring_magnitude = magnitude + rng.uniform(0.0, 2.5)
    width = radius * rng.uniform(0.1, 0.3)
    ring = Ring(
        0, 0, radius, width, q, angle, rng.uniform(0, 6.3), rng.exponential(0.3), fluxes(ring_magnitude, colours, bands)
    )
    knots = []
    for _ in range(int(rng.integers(0, 5))):
        along = rng.uniform(0, 2 * np.pi)
        at = _on_ellipse(radius, q, angle, along)
        flux = fluxes(ring_magnitude + rng.uniform(2.0, 4.0), colours, bands)
        knots.append(Sersic(at[0], at[1], rng.uniform(0.1, 0.3), 1.0, rng.uniform(0.5, 1), rng.uniform(0, np.pi), flux))
    core = replace(core, radius=min(core.radius, 0.5 * radius), q=max(q, core.q * 0.8), angle=angle)
    return Light((core, *knots), (ring,))


def draw_companion(rng: Generator, population: Population, bands: Bands) -> Light:
    """A red galaxy with one to three blue ones where arcs would be, some drawn out along the tangent."""
    galaxies = population.galaxies
    magnitude = _red_magnitude(rng, population)
    redshift = rng.uniform(*population.lenses.redshift)
    red = elliptical(rng, population, magnitude, bands, redshift)
    companions = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
        distance, angle = between(rng, galaxies.companion_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        blue = disc(rng, population, magnitude + between(rng, galaxies.companion_contrast), bands, at)
        if rng.random() < 0.4:
            blue = replace(blue, angle=angle + np.pi / 2 + rng.normal(0, 0.3), q=rng.uniform(0.2, 0.5))
        colours = colours_of(rng, population.lenses.blue_source if rng.random() < 0.6 else galaxies.blue)
        r_magnitude = magnitude + between(rng, galaxies.companion_contrast)
        companions.append(replace(blue, flux=fluxes(r_magnitude, colours, bands)))
        if rng.random() < 0.3:
            companions.extend(_knots(rng, population, blue, int(rng.integers(1, 4)), bands))
    return Light((red, *members(rng, population, magnitude, redshift, bands), *companions))


def draw_edge_on(rng: Generator, population: Population, bands: Bands) -> Light:
    """A disc seen from its side, with a bulge."""
    magnitude = _central_magnitude(rng, population)
    body = replace(disc(rng, population, magnitude, bands, stretch=1.8), n=1.0, q=rng.uniform(0.08, 0.25))
    bulge = elliptical(rng, population, magnitude + rng.uniform(1.0, 3.0), bands)
    return Light((body, replace(bulge, radius=min(bulge.radius, 0.3 * body.radius), angle=body.angle)))


def draw_merger(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two or three galaxies of like brightness in one another's light, sometimes with tidal tails."""
    magnitude = _red_magnitude(rng, population)
    light = Light()
    for index in range(int(rng.choice([2, 3], p=[0.75, 0.25]))):
        distance, angle = (rng.uniform(0.7, 3.0) if index else 0.0), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        make = elliptical if rng.random() < 0.5 else disc
        own = magnitude + (rng.uniform(0, 1.8) if index else 0.0)
        light += Light((make(rng, population, own, bands, at=at),))
    if rng.random() < 0.35:
        radius = rng.uniform(1.5, 5.0)
        direction = rng.uniform(0, 2 * np.pi)
        flux = fluxes(magnitude + rng.uniform(1.5, 3.5), colours_of(rng, population.galaxies.blue), bands)
        x, y = radius * np.cos(direction), radius * np.sin(direction)
        # Curved away from the pair: the circle's centre is outside it, and the tail begins in the galaxy.
        start = direction + np.pi + rng.uniform(-1, 1)
        tail = Ring(x, y, radius, rng.uniform(0.2, 0.5), rng.uniform(0.6, 1.0), 0.0, start, rng.uniform(1.5, 6.0), flux)
        light += Light((), (tail,))
    return light


def draw_star(rng: Generator, population: Population, bands: Bands) -> Light:
    """A star; bright ones are saturated where the stamp's artefacts say so."""
    return Light((), (), (_star(rng, population, bands),))


def draw_star_pair(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two to four stars within a few arcsec, as lensed quasars look."""
    first = _star(rng, population, bands)
    others = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.75, 0.18, 0.07]))):
        distance, angle = rng.uniform(0.7, 4.0), rng.uniform(0, 2 * np.pi)
        own = _star(rng, population, bands)
        flux = own.flux * first.flux.sum() / own.flux.sum() * 10 ** (-0.4 * rng.uniform(0, 2.5))
        others.append(Point(distance * np.cos(angle), distance * np.sin(angle), flux))
    return Light((), (), (first, *others))


def draw_group(rng: Generator, population: Population, bands: Bands) -> Light:
    """Several faint galaxies, some of them about a middle one."""
    high = population.galaxies.central_magnitude[1]
    light = Light()
    for index in range(int(rng.integers(3, 9))):
        distance, angle = (rng.uniform(1.0, 6.0) if index else 0.0), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        make = elliptical if rng.random() < 0.4 else disc
        light += Light((make(rng, population, rng.uniform(high - 1.0, high + 3.0), bands, at=at),))
    return light


def draw_empty(rng: Generator, population: Population, bands: Bands) -> Light:
    """One galaxy at the detection limit."""
    faint = rng.uniform(population.galaxies.central_magnitude[1] + 1.0, population.galaxies.magnitude[1])
    return Light((disc(rng, population, faint, bands),))


NEGATIVES: dict[str, Callable[[Generator, Population, Bands], Light]] = {
    "elliptical": draw_elliptical,
    "spiral": draw_spiral,
    "clumpy": draw_clumpy,
    "ring": draw_ring,
    "companion": draw_companion,
    "edge_on": draw_edge_on,
    "merger": draw_merger,
    "star": draw_star,
    "star_pair": draw_star_pair,
    "group": draw_group,
    "empty": draw_empty,
}
"""Kind -> function (rng, population, bands) that draws the light in the middle of a stamp."""


def _star(rng: Generator, population: Population, bands: Bands) -> Point:
    stars = population.stars
    magnitude = rng.uniform(*stars.central_magnitude)
    return Point(0.0, 0.0, fluxes(float(magnitude), star_colours(rng, stars), bands))


def _knots(
    rng: Generator, population: Population, body: Sersic, n: int, bands: Bands, strength: float = 0.25
) -> list[Sersic]:
    """Small blue clumps in the plane of a disc, together `strength` of its light on average."""
    knots = []
    for _ in range(n):
        radius = body.radius * rng.uniform(0.3, 2.0)
        at = _on_ellipse(radius, body.q, body.angle, rng.uniform(0, 2 * np.pi))
        share = strength * rng.exponential(1.0) / n
        blue = fluxes(0.0, colours_of(rng, population.lenses.blue_source), bands)
        flux: Float64 = blue / blue.mean() * body.flux.mean() * share
        size = float(np.clip(body.radius * rng.uniform(0.08, 0.25), 0.08, 0.5))
        knots.append(
            Sersic(body.x + at[0], body.y + at[1], size, 1.0, rng.uniform(0.5, 1), rng.uniform(0, np.pi), flux)
        )
    return knots


def _on_ellipse(radius: float, q: float, angle: float, along: float) -> tuple[float, float]:
    """The point at angle `along` of the ellipse of geometric-mean radius `radius`."""
    u, v = radius / np.sqrt(q) * np.cos(along), radius * np.sqrt(q) * np.sin(along)
    return float(u * np.cos(angle) - v * np.sin(angle)), float(u * np.sin(angle) + v * np.cos(angle))
