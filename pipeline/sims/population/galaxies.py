"""Draws of galaxies and stars: magnitudes, colours, sizes and shapes."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.sims.config.population import GalaxyPopulation, Population, RedSequence, StarPopulation
from pipeline.sims.config.ranges import ArcsecRange, Colours
from pipeline.sims.render.light import Float64, Light, Point, Sersic
from pipeline.sims.render.photometry import fluxes


def colours_of(rng: Generator, colours: Colours) -> tuple[float, float, float]:
    """Draw (g - r, r - i, i - z)."""
    spreads = (colours.g_r, colours.r_i, colours.i_z)
    g_r, r_i, i_z = (rng.normal(spread.mean, spread.scatter) for spread in spreads)
    return g_r, r_i, i_z


def red_colours(rng: Generator, galaxies: GalaxyPopulation, redshift: float) -> tuple[float, float, float]:
    """Colours of an old galaxy at a redshift, with the red sequence's scatter."""
    shift = rng.normal(0.0, galaxies.red_sequence.scatter)
    g_r, r_i, i_z = _sequence_at(galaxies.red_sequence, redshift)
    return g_r + shift, r_i + shift, i_z + shift


def red_redshift(galaxies: GalaxyPopulation, g_r: float, r_i: float) -> float:
    """The redshift at which the red sequence comes nearest to two colours, to 0.01; for galaxies that are given."""
    sequence = galaxies.red_sequence
    low, high = sequence.redshift[0], sequence.redshift[-1]
    trials = np.linspace(low, high, round((high - low) / 0.01) + 1)
    away = np.hypot(
        np.interp(trials, sequence.redshift, sequence.g_r) - g_r,
        np.interp(trials, sequence.redshift, sequence.r_i) - r_i,
    )
    return float(trials[np.argmin(away)])


def _sequence_at(sequence: RedSequence, redshift: float) -> tuple[float, float, float]:
    """The red sequence's colours at a redshift, linear in it; those of the ends beyond them."""
    above = min(max(bisect(sequence.redshift, redshift), 1), len(sequence.redshift) - 1)
    low, high = sequence.redshift[above - 1], sequence.redshift[above]
    along = min(max((redshift - low) / (high - low), 0.0), 1.0)
    g_r, r_i, i_z = (
        values[above - 1] + along * (values[above] - values[above - 1])
        for values in (sequence.g_r, sequence.r_i, sequence.i_z)
    )
    return g_r, r_i, i_z


def star_colours(rng: Generator, stars: StarPopulation) -> tuple[float, float, float]:
    """Colours of a star, somewhere along the line from the bluest to the reddest."""
    along = rng.beta(stars.colour_concentration, stars.colour_concentration)
    g_r, r_i, i_z = (low + along * (high - low) for low, high in (stars.g_r, stars.r_i, stars.i_z))
    if along >= stars.bend:
        low, high = stars.g_r
        g_r = low + stars.bend * (high - low) + stars.beyond_bend * (along - stars.bend)
    return g_r, r_i, i_z


def counted_magnitude(rng: Generator, ends: tuple[float, float], slope: float, n: int) -> Float64:
    """Magnitudes with log10 N rising by `slope` a magnitude between the ends, float64 (n,)."""
    low, high = ends
    share = rng.random(n)
    if slope == 0:
        return np.asarray(low + share * (high - low))
    ratio = 10 ** (slope * (high - low))
    return np.asarray(low + np.log10(1 + share * (ratio - 1)) / slope)


def between(rng: Generator, ends: ArcsecRange) -> float:
    """A uniform draw."""
    return float(rng.uniform(*ends))


def elliptical_radius(rng: Generator, galaxies: GalaxyPopulation, magnitude: float) -> float:
    """Effective radius in arcsec of an elliptical of r magnitude, log-normal."""
    dex = galaxies.elliptical_radius_slope * (magnitude - galaxies.elliptical_radius_magnitude)
    drawn = galaxies.elliptical_radius * 10 ** (dex + rng.normal(0, galaxies.elliptical_radius_scatter))
    return float(np.clip(drawn, *galaxies.radius_limits))


def disc_radius(rng: Generator, galaxies: GalaxyPopulation, magnitude: float) -> float:
    """Effective radius in arcsec of a blue galaxy of r magnitude, log-normal."""
    dex = galaxies.radius_slope * (magnitude - galaxies.radius_magnitude)
    drawn = galaxies.radius * 10 ** (dex + rng.normal(0, galaxies.radius_scatter))
    return float(np.clip(drawn, *galaxies.radius_limits))


def elliptical(
    rng: Generator,
    population: Population,
    magnitude: float,
    bands: tuple[str, ...],
    redshift: float | None = None,
    at: tuple[float, float] = (0.0, 0.0),
) -> Sersic:
    """A red early-type galaxy of r magnitude, at `at` (arcsec)."""
    galaxies = population.galaxies
    z = rng.uniform(*population.lenses.redshift) if redshift is None else redshift
    return Sersic(
        at[0],
        at[1],
        elliptical_radius(rng, galaxies, magnitude),
        float(np.round(rng.uniform(*galaxies.elliptical_sersic), 2)),
        float(rng.uniform(*galaxies.elliptical_axis_ratio)),
        float(rng.uniform(0, np.pi)),
        fluxes(magnitude, red_colours(rng, galaxies, z), bands),
    )


def disc(
    rng: Generator,
    population: Population,
    magnitude: float,
    bands: tuple[str, ...],
    at: tuple[float, float] = (0.0, 0.0),
    stretch: float = 1.0,
) -> Sersic:
    """A blue late-type galaxy of r magnitude; `stretch` times the usual radius."""
    galaxies = population.galaxies
    return Sersic(
        at[0],
        at[1],
        stretch * disc_radius(rng, galaxies, magnitude),
        float(np.round(rng.uniform(*galaxies.disc_sersic), 2)),
        float(rng.uniform(*galaxies.disc_axis_ratio)),
        float(rng.uniform(0, np.pi)),
        fluxes(magnitude, colours_of(rng, galaxies.blue), bands),
    )


def field_light(rng: Generator, population: Population, side: float, bands: tuple[str, ...]) -> Light:
    """Field galaxies and stars over a square of `side` arcsec about the centre, at the populations' densities."""
    area = (side / 60.0) ** 2
    galaxies, stars = population.galaxies, population.stars
    sersics = []
    for magnitude in counted_magnitude(
        rng, galaxies.magnitude, galaxies.count_slope, rng.poisson(galaxies.density * area)
    ):
        at = (rng.uniform(-side / 2, side / 2), rng.uniform(-side / 2, side / 2))
        make = elliptical if rng.random() < galaxies.red_share else disc
        sersics.append(make(rng, population, float(magnitude), bands, at=at))
    points = []
    for magnitude in counted_magnitude(rng, stars.magnitude, stars.count_slope, rng.poisson(stars.density * area)):
        flux = fluxes(float(magnitude), star_colours(rng, stars), bands)
        points.append(Point(rng.uniform(-side / 2, side / 2), rng.uniform(-side / 2, side / 2), flux))
    return Light(tuple(sersics), (), tuple(points))


@dataclass(frozen=True)
class Member:
    """A galaxy of a group: its light about the group's centre, and its r magnitude."""

    light: Sersic
    magnitude: float


def members(
    rng: Generator, population: Population, central: float, redshift: float, bands: tuple[str, ...]
) -> tuple[Member, ...]:
    """Fainter red galaxies of the same redshift around a red galaxy of r magnitude `central`."""
    lenses = population.lenses
    drawn = []
    for _ in range(rng.poisson(lenses.group_members)):
        distance, angle = rng.uniform(*lenses.group_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        magnitude = central + float(rng.uniform(*lenses.group_contrast))
        drawn.append(Member(elliptical(rng, population, magnitude, bands, redshift, at), magnitude))
    return tuple(drawn)
