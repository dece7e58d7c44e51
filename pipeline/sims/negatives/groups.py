"""Several galaxies without a lens among them, and one that is hardly seen."""

from __future__ import annotations

from numpy.random import Generator

from pipeline.sims.config.negatives import Group, RedGroup
from pipeline.sims.config.population import Population
from pipeline.sims.negatives.parts import Bands, number_of, place_about, red_galaxy, whole_number
from pipeline.sims.population.galaxies import (
    disc,
    elliptical,
)
from pipeline.sims.render.light import Light


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
    for _ in range(number_of(rng, shape.numbers) - 1):
        make = elliptical if rng.random() < shape.elliptical_share else disc
        own = magnitude + rng.uniform(*shape.contrast)
        parts.append(make(rng, population, own, bands, at=place_about(rng, shape.distance)))
    return Light(tuple(parts))


def draw_empty(rng: Generator, population: Population, bands: Bands) -> Light:
    """One galaxy at the detection limit."""
    bright_end = population.galaxies.central_magnitude[1] + population.negatives.empty
    return Light((disc(rng, population, rng.uniform(bright_end, population.galaxies.magnitude[1]), bands),))


def _faint_galaxies(rng: Generator, population: Population, shape: Group, bands: Bands) -> Light:
    faint_end = population.galaxies.central_magnitude[1]
    galaxies = []
    for index in range(whole_number(rng, shape.galaxies)):
        at = place_about(rng, shape.distance) if index else (0.0, 0.0)
        make = elliptical if rng.random() < shape.elliptical_share else disc
        galaxies.append(make(rng, population, faint_end + rng.uniform(*shape.fainter), bands, at=at))
    return Light(tuple(galaxies))


def _red_group(rng: Generator, population: Population, shape: RedGroup, bands: Bands) -> Light:
    magnitude, redshift = red_galaxy(rng, population)
    galaxies = [elliptical(rng, population, magnitude, bands, redshift)]
    for _ in range(number_of(rng, shape.numbers)):
        own = magnitude + rng.uniform(*shape.contrast)
        galaxies.append(elliptical(rng, population, own, bands, redshift, place_about(rng, shape.distance)))
    return Light(tuple(galaxies))
