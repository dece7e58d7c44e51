"""What is not a lens: one function a kind, each drawing the light in the middle of a stamp.

The kinds are those that networks mistook for lenses on real images: bright ellipticals and close blends, clumpy and
blue discs, red galaxies with blue companions, white cores, stars beside galaxies, groups of faint galaxies. Shapes
and numbers are the population's `negatives`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from pipeline.sims.lens_population import draw_deflector
from pipeline.sims.light import Float64, Light, Point, Ring, Sersic
from pipeline.sims.negatives_config import Group, RedGroup
from pipeline.sims.population import (
    between,
    colours_of,
    counted_magnitude,
    disc,
    elliptical,
    flux_of,
    fluxes,
    members,
    star_colours,
)
from pipeline.sims.population_config import Population

Bands = tuple[str, ...]


def draw_elliptical(rng: Generator, population: Population, bands: Bands) -> Light:
    """A red galaxy with its group, as lenses have one."""
    magnitude, redshift = _red_galaxy(rng, population)
    galaxy = elliptical(rng, population, magnitude, bands, redshift)
    return Light((galaxy, *_members(rng, population, magnitude, redshift, bands)))


def draw_spiral(rng: Generator, population: Population, bands: Bands) -> Light:
    """A disc with two arms, knots along them, and a red bulge."""
    shape = population.negatives.spiral
    magnitude = _central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=shape.stretch)
    body = replace(
        body,
        n=1.0,
        q=max(body.q, shape.least_axis_ratio),
        arms=rng.uniform(*shape.arms),
        pitch=np.deg2rad(rng.uniform(*shape.pitch)) * rng.choice([-1, 1]),
        phase=rng.uniform(0, 2 * np.pi),
    )
    bulge = elliptical(rng, population, magnitude + rng.uniform(*shape.bulge_contrast), bands)
    knots = _knots(rng, population, body, _whole(rng, shape.knots), bands, shape.knot_strength)
    return Light((body, replace(bulge, radius=min(bulge.radius, shape.bulge_radius * body.radius)), *knots))


def draw_clumpy(rng: Generator, population: Population, bands: Bands) -> Light:
    """A blue disc with bright clumps, some of them on an arc about the middle."""
    shape = population.negatives.clumpy
    magnitude = _central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=rng.uniform(*shape.stretch))
    return Light((body, *_knots(rng, population, body, _whole(rng, shape.knots), bands, shape.knot_strength)))


def draw_blue_disc(rng: Generator, population: Population, bands: Bands) -> Light:
    """A blue disc, smooth or with a few knots, at times lopsided."""
    shape = population.negatives.blue_disc
    magnitude = _central_magnitude(rng, population)
    colours = colours_of(rng, shape.colours)
    body = disc(rng, population, magnitude, bands, stretch=rng.uniform(*shape.stretch))
    body = replace(body, flux=fluxes(magnitude, colours, bands))
    parts = [body, *_knots(rng, population, body, _whole(rng, shape.knots), bands, shape.knot_strength)]
    if rng.random() < shape.lopsided_share:
        distance, angle = body.radius * rng.uniform(*shape.lopsided_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        own = magnitude + rng.uniform(*shape.lopsided_contrast)
        parts.append(replace(disc(rng, population, own, bands, at), flux=fluxes(own, colours, bands)))
    return Light(tuple(parts))


def draw_ring(rng: Generator, population: Population, bands: Bands) -> Light:
    """A ring galaxy: a core and a bluer, knotty ring about it, in one plane."""
    shape = population.negatives.ring
    magnitude, redshift = _red_galaxy(rng, population)
    core = elliptical(rng, population, magnitude, bands, redshift)
    radius = between(rng, population.galaxies.ring_radius)
    q, angle = rng.uniform(*shape.axis_ratio), rng.uniform(0, np.pi)
    colours = colours_of(rng, population.galaxies.blue)
    own = magnitude + rng.uniform(*shape.contrast)
    width, brightest = radius * rng.uniform(*shape.width), rng.uniform(0, 2 * np.pi)
    ring = Ring(
        0, 0, radius, width, q, angle, brightest, rng.exponential(shape.unevenness), fluxes(own, colours, bands)
    )
    knots = []
    for _ in range(_whole(rng, shape.knots)):
        at = _on_ellipse(radius, q, angle, rng.uniform(0, 2 * np.pi))
        flux = fluxes(own + rng.uniform(*shape.knot_contrast), colours, bands)
        size, knot_q = rng.uniform(*shape.knot_radius), rng.uniform(*population.negatives.knots.axis_ratio)
        knots.append(Sersic(at[0], at[1], size, 1.0, knot_q, rng.uniform(0, np.pi), flux))
    core = replace(core, radius=min(core.radius, shape.core_radius * radius), q=max(q, core.q * 0.8), angle=angle)
    return Light((core, *knots), (ring,))


def draw_companion(rng: Generator, population: Population, bands: Bands) -> Light:
    """A red galaxy with one to three blue ones where arcs would be, some drawn out along the tangent."""
    galaxies, shape = population.galaxies, population.negatives.companion
    magnitude, redshift = _red_galaxy(rng, population)
    red = elliptical(rng, population, magnitude, bands, redshift)
    companions = []
    for _ in range(_number(rng, shape.numbers)):
        distance, angle = between(rng, galaxies.companion_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        own = magnitude + between(rng, galaxies.companion_contrast)
        blue = disc(rng, population, own, bands, at)
        if rng.random() < shape.drawn_out_share:
            tangent = angle + np.pi / 2 + np.deg2rad(rng.normal(0, shape.tangent_scatter))
            blue = replace(blue, angle=tangent, q=rng.uniform(*shape.drawn_out_axis_ratio))
        like_source = rng.random() < shape.source_colour_share
        colours = colours_of(rng, population.lenses.blue_source if like_source else galaxies.blue)
        companions.append(replace(blue, flux=fluxes(own, colours, bands)))
        if rng.random() < shape.knots_share:
            knots = _knots(rng, population, blue, _whole(rng, shape.knots), bands, shape.knot_strength)
            companions.extend(knots)
    return Light((red, *_members(rng, population, magnitude, redshift, bands), *companions))


def draw_edge_on(rng: Generator, population: Population, bands: Bands) -> Light:
    """A disc seen from its side, with a bulge."""
    shape = population.negatives.edge_on
    magnitude = _central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=shape.stretch)
    body = replace(body, n=1.0, q=rng.uniform(*shape.axis_ratio))
    bulge = elliptical(rng, population, magnitude + rng.uniform(*shape.bulge_contrast), bands)
    return Light((body, replace(bulge, radius=min(bulge.radius, shape.bulge_radius * body.radius), angle=body.angle)))


def draw_merger(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two or three galaxies of like brightness in one another's light, sometimes with tidal tails."""
    shape = population.negatives.merger
    magnitude, _ = _red_galaxy(rng, population)
    light = Light()
    for index in range(1 + _number(rng, shape.numbers)):
        at = _about(rng, shape.distance) if index else (0.0, 0.0)
        make = elliptical if rng.random() < shape.elliptical_share else disc
        own = magnitude + (rng.uniform(*shape.contrast) if index else 0.0)
        light += Light((make(rng, population, own, bands, at=at),))
    if rng.random() < shape.tail_share:
        radius = rng.uniform(*shape.tail_radius)
        direction = rng.uniform(0, 2 * np.pi)
        flux = fluxes(magnitude + rng.uniform(*shape.tail_contrast), colours_of(rng, population.galaxies.blue), bands)
        x, y = radius * np.cos(direction), radius * np.sin(direction)
        # Curved away from the pair: the circle's centre is outside it, and the tail begins in the galaxy.
        start = direction + np.pi + rng.uniform(-1, 1)
        width, q, sharpness = (
            rng.uniform(*ends) for ends in (shape.tail_width, shape.tail_axis_ratio, shape.tail_sharpness)
        )
        light += Light((), (Ring(x, y, radius, width, q, 0.0, start, sharpness, flux),))
    return light


def draw_star(rng: Generator, population: Population, bands: Bands) -> Light:
    """A star; bright ones are saturated where the stamp's artefacts say so."""
    return Light((), (), (_star(rng, population, bands),))


def draw_star_pair(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two to four stars within a few arcsec, as lensed quasars look."""
    shape = population.negatives.star_pair
    first = _star(rng, population, bands)
    others = []
    for _ in range(_number(rng, shape.numbers)):
        own = _star(rng, population, bands)
        flux = own.flux * first.flux.sum() / own.flux.sum() * 10 ** (-0.4 * rng.uniform(*shape.contrast))
        others.append(Point(*_about(rng, shape.distance), flux))
    return Light((), (), (first, *others))


def draw_star_galaxy(rng: Generator, population: Population, bands: Bands) -> Light:
    """A galaxy with a star or two in its light, as a quasar's images are beside a deflector."""
    shape = population.negatives.star_galaxy
    magnitude, redshift = _red_galaxy(rng, population)
    red = rng.random() < shape.elliptical_share
    galaxy = elliptical(rng, population, magnitude, bands, redshift) if red else disc(rng, population, magnitude, bands)
    first = _about(rng, shape.distance)
    own = magnitude + rng.uniform(*shape.contrast)
    stars = [Point(*first, fluxes(own, star_colours(rng, population.stars), bands))]
    for _ in range(_number(rng, shape.numbers) - 1):
        at = _about(rng, shape.distance)
        if rng.random() < shape.opposite_share:
            angle = np.arctan2(first[1], first[0]) + np.pi + np.deg2rad(rng.normal(0, shape.opposite_scatter))
            at = (np.hypot(*at) * np.cos(angle), np.hypot(*at) * np.sin(angle))
        own = magnitude + rng.uniform(*shape.contrast)
        stars.append(Point(*at, fluxes(own, star_colours(rng, population.stars), bands)))
    return Light((galaxy,), (), tuple(stars))


def draw_blue_point(rng: Generator, population: Population, bands: Bands) -> Light:
    """A quasar, not lensed, in its host, beside a galaxy or star that happens to be there."""
    shape = population.negatives.blue_point
    magnitude = float(rng.uniform(*population.stars.central_magnitude))
    share = rng.uniform(*shape.host_share)
    flux = fluxes(magnitude, colours_of(rng, population.lenses.quasars.colours), bands)
    host = disc(rng, population, magnitude, bands)
    points, galaxies = [Point(0.0, 0.0, flux * (1 - share))], [replace(host, flux=host.flux * share)]
    if share <= 0:
        galaxies = []
    for _ in range(_number(rng, shape.numbers)):
        at, own = _about(rng, shape.distance), magnitude + rng.uniform(*shape.contrast)
        if rng.random() < shape.galaxy_share:
            make = elliptical if rng.random() < population.galaxies.red_share else disc
            galaxies.append(make(rng, population, own, bands, at=at))
        else:
            points.append(Point(*at, fluxes(own, star_colours(rng, population.stars), bands)))
    return Light(tuple(galaxies), (), tuple(points))


def draw_group(rng: Generator, population: Population, bands: Bands) -> Light:
    """Several faint galaxies, some of them about a middle one."""
    return _faint_galaxies(rng, population, population.negatives.group, bands)


def draw_faint_field(rng: Generator, population: Population, bands: Bands) -> Light:
    """Near-empty sky with several galaxies about the detection limit."""
    return _faint_galaxies(rng, population, population.negatives.faint_field, bands)


def draw_compact_group(rng: Generator, population: Population, bands: Bands) -> Light:
    """Several red galaxies of like brightness within a few arcsec of one another."""
    return _red_group(rng, population, population.negatives.compact_group, bands)


def draw_red_blend(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two or three red galaxies that overlap."""
    return _red_group(rng, population, population.negatives.red_blend, bands)


def draw_bright_core(rng: Generator, population: Population, bands: Bands) -> Light:
    """A nearby red galaxy, very bright, with a few faint galaxies in its light."""
    shape = population.negatives.bright_core
    magnitude, redshift = float(rng.uniform(*shape.magnitude)), float(rng.uniform(*shape.redshift))
    parts = [elliptical(rng, population, magnitude, bands, redshift)]
    for _ in range(_number(rng, shape.numbers) - 1):
        make = elliptical if rng.random() < shape.elliptical_share else disc
        own = magnitude + rng.uniform(*shape.contrast)
        parts.append(make(rng, population, own, bands, at=_about(rng, shape.distance)))
    return Light(tuple(parts))


def draw_empty(rng: Generator, population: Population, bands: Bands) -> Light:
    """One galaxy at the detection limit."""
    bright_end = population.galaxies.central_magnitude[1] + population.negatives.empty
    return Light((disc(rng, population, rng.uniform(bright_end, population.galaxies.magnitude[1]), bands),))


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
    "blue_disc": draw_blue_disc,
    "red_blend": draw_red_blend,
    "compact_group": draw_compact_group,
    "bright_core": draw_bright_core,
    "star_galaxy": draw_star_galaxy,
    "blue_point": draw_blue_point,
    "faint_field": draw_faint_field,
}
"""Kind -> function (rng, population, bands) that draws the light in the middle of a stamp."""


def _central_magnitude(rng: Generator, population: Population) -> float:
    galaxies = population.galaxies
    return float(counted_magnitude(rng, galaxies.central_magnitude, galaxies.count_slope, 1)[0])


def _red_galaxy(rng: Generator, population: Population) -> tuple[float, float]:
    """R magnitude and redshift, those of deflectors for most; else brightness alone would tell the lenses."""
    if rng.random() < population.galaxies.deflector_like_share:
        drawn = draw_deflector(rng, population)
        return drawn.magnitude, drawn.redshift
    return _central_magnitude(rng, population), float(rng.uniform(*population.lenses.redshift))


def _members(rng: Generator, population: Population, magnitude: float, redshift: float, bands: Bands) -> list[Sersic]:
    return [member.light for member in members(rng, population, magnitude, redshift, bands)]


def _faint_galaxies(rng: Generator, population: Population, shape: Group, bands: Bands) -> Light:
    faint_end = population.galaxies.central_magnitude[1]
    galaxies = []
    for index in range(_whole(rng, shape.galaxies)):
        at = _about(rng, shape.distance) if index else (0.0, 0.0)
        make = elliptical if rng.random() < shape.elliptical_share else disc
        galaxies.append(make(rng, population, faint_end + rng.uniform(*shape.fainter), bands, at=at))
    return Light(tuple(galaxies))


def _red_group(rng: Generator, population: Population, shape: RedGroup, bands: Bands) -> Light:
    magnitude, redshift = _red_galaxy(rng, population)
    galaxies = [elliptical(rng, population, magnitude, bands, redshift)]
    for _ in range(_number(rng, shape.numbers)):
        own = magnitude + rng.uniform(*shape.contrast)
        galaxies.append(elliptical(rng, population, own, bands, redshift, _about(rng, shape.distance)))
    return Light(tuple(galaxies))


def _star(rng: Generator, population: Population, bands: Bands) -> Point:
    stars = population.stars
    magnitude = rng.uniform(*stars.central_magnitude)
    return Point(0.0, 0.0, fluxes(float(magnitude), star_colours(rng, stars), bands))


def _number(rng: Generator, shares: tuple[float, ...]) -> int:
    """1, 2, 3, ... by their shares."""
    return 1 + int(rng.choice(len(shares), p=np.array(shares) / sum(shares)))


def _whole(rng: Generator, ends: tuple[int, int]) -> int:
    """A uniform whole number, ends included."""
    return int(rng.integers(ends[0], ends[1] + 1))


def _about(rng: Generator, distance: tuple[float, float]) -> tuple[float, float]:
    """A place at a uniform distance from the centre, in any direction."""
    away, angle = rng.uniform(*distance), rng.uniform(0, 2 * np.pi)
    return float(away * np.cos(angle)), float(away * np.sin(angle))


def _knots(rng: Generator, population: Population, body: Sersic, n: int, bands: Bands, strength: float) -> list[Sersic]:
    """Small blue clumps in the plane of a disc, together `strength` of its light on average."""
    shape = population.negatives.knots
    knots = []
    for _ in range(n):
        radius = body.radius * rng.uniform(*shape.distance)
        at = _on_ellipse(radius, body.q, body.angle, rng.uniform(0, 2 * np.pi))
        share = strength * rng.exponential(1.0) / n
        blue = fluxes(0.0, colours_of(rng, population.lenses.blue_source), bands) / flux_of(0.0)
        flux: Float64 = blue / blue.mean() * body.flux.mean() * share
        size = float(np.clip(body.radius * rng.uniform(*shape.radius), *shape.radius_limits))
        q = rng.uniform(*shape.axis_ratio)
        knots.append(Sersic(body.x + at[0], body.y + at[1], size, 1.0, q, rng.uniform(0, np.pi), flux))
    return knots


def _on_ellipse(radius: float, q: float, angle: float, along: float) -> tuple[float, float]:
    """The point at angle `along` of the ellipse of geometric-mean radius `radius`."""
    u, v = radius / np.sqrt(q) * np.cos(along), radius * np.sqrt(q) * np.sin(along)
    return float(u * np.cos(angle) - v * np.sin(angle)), float(u * np.sin(angle) + v * np.cos(angle))
