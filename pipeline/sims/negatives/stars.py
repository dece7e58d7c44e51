"""Stars and quasars that are not lensed, alone and beside galaxies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from pipeline.sims.config.population import Population
from pipeline.sims.negatives.parts import Bands, number_of, place_about, red_galaxy
from pipeline.sims.population.galaxies import (
    colours_of,
    disc,
    elliptical,
    star_colours,
)
from pipeline.sims.render.light import Light, Point
from pipeline.sims.render.photometry import fluxes


def draw_star(rng: Generator, population: Population, bands: Bands) -> Light:
    """A star; bright ones are saturated where the stamp's artefacts say so."""
    return Light((), (), (_star(rng, population, bands),))


def draw_star_pair(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two to four stars within a few arcsec, as lensed quasars look."""
    shape = population.negatives.star_pair
    first = _star(rng, population, bands)
    others = []
    for _ in range(number_of(rng, shape.numbers)):
        own = _star(rng, population, bands)
        flux = own.flux * first.flux.sum() / own.flux.sum() * 10 ** (-0.4 * rng.uniform(*shape.contrast))
        others.append(Point(*place_about(rng, shape.distance), flux))
    return Light((), (), (first, *others))


def draw_star_galaxy(rng: Generator, population: Population, bands: Bands) -> Light:
    """A galaxy with a star or two in its light, as a quasar's images are beside a deflector."""
    shape = population.negatives.star_galaxy
    magnitude, redshift = red_galaxy(rng, population)
    red = rng.random() < shape.elliptical_share
    galaxy = elliptical(rng, population, magnitude, bands, redshift) if red else disc(rng, population, magnitude, bands)
    first = place_about(rng, shape.distance)
    own = magnitude + rng.uniform(*shape.contrast)
    stars = [Point(*first, fluxes(own, star_colours(rng, population.stars), bands))]
    for _ in range(number_of(rng, shape.numbers) - 1):
        at = place_about(rng, shape.distance)
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
    for _ in range(number_of(rng, shape.numbers)):
        at, own = place_about(rng, shape.distance), magnitude + rng.uniform(*shape.contrast)
        if rng.random() < shape.galaxy_share:
            make = elliptical if rng.random() < population.galaxies.red_share else disc
            galaxies.append(make(rng, population, own, bands, at=at))
        else:
            points.append(Point(*at, fluxes(own, star_colours(rng, population.stars), bands)))
    return Light(tuple(galaxies), (), tuple(points))


def _star(rng: Generator, population: Population, bands: Bands) -> Point:
    stars = population.stars
    magnitude = rng.uniform(*stars.central_magnitude)
    return Point(0.0, 0.0, fluxes(float(magnitude), star_colours(rng, stars), bands))
