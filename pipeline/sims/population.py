"""Draws of galaxies, stars and lenses: magnitudes, colours, sizes and shapes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pipeline.sims.config import BANDS
from pipeline.sims.light import Float64, Light, Point, Sersic
from pipeline.sims.population_config import (
    ArcsecRange,
    Colours,
    GalaxyPopulation,
    LensPopulation,
    Population,
    StarPopulation,
)
from pipeline.sims.render import Deflector, LensedSource

AB_NANOJANSKY = 31.4
"""AB magnitude of 1 nJy."""


def flux_of(magnitude: float | Float64) -> Float64:
    """AB magnitudes to nJy, same shape."""
    return np.asarray(10 ** (-0.4 * (np.asarray(magnitude, np.float64) - AB_NANOJANSKY)))


def fluxes(magnitude: float, colours: tuple[float, float, float], bands: tuple[str, ...]) -> Float64:
    """Fluxes in nJy of an object of r magnitude and colours (g - r, r - i, i - z), float64 (band,)."""
    g_r, r_i, i_z = colours
    offsets = dict(zip(BANDS, (g_r, 0.0, -r_i, -r_i - i_z), strict=True))
    return flux_of(magnitude + np.array([offsets[band] for band in bands]))


def colours_of(rng: Generator, colours: Colours) -> tuple[float, float, float]:
    """Draw (g - r, r - i, i - z)."""
    spreads = (colours.g_r, colours.r_i, colours.i_z)
    g_r, r_i, i_z = (rng.normal(spread.mean, spread.scatter) for spread in spreads)
    return g_r, r_i, i_z


def red_colours(rng: Generator, galaxies: GalaxyPopulation, redshift: float) -> tuple[float, float, float]:
    """Colours of an old galaxy at a redshift, with the red sequence's scatter."""
    sequence = galaxies.red_sequence
    shift = rng.normal(0.0, sequence.scatter)
    g_r, r_i, i_z = (
        float(np.interp(redshift, sequence.redshift, values)) + shift
        for values in (sequence.g_r, sequence.r_i, sequence.i_z)
    )
    return g_r, r_i, i_z


def star_colours(rng: Generator, stars: StarPopulation) -> tuple[float, float, float]:
    """Colours of a star, somewhere along the line from the bluest to the reddest."""
    along = rng.beta(1.2, 1.2)
    g_r, r_i, i_z = (low + along * (high - low) for low, high in (stars.g_r, stars.r_i, stars.i_z))
    # g - r of M dwarfs saturates while r - i goes on rising, so the line bends.
    return g_r if along < 0.6 else stars.g_r[0] + 0.6 * (stars.g_r[1] - stars.g_r[0]) + 0.4 * (along - 0.6), r_i, i_z


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


def members(
    rng: Generator, population: Population, central: float, redshift: float, bands: tuple[str, ...]
) -> tuple[Sersic, ...]:
    """Fainter red galaxies of the same redshift around a red galaxy of r magnitude `central`."""
    lenses = population.lenses
    drawn = []
    for _ in range(rng.poisson(lenses.group_members)):
        distance, angle = rng.uniform(*lenses.group_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        drawn.append(elliptical(rng, population, central + rng.uniform(*lenses.group_contrast), bands, redshift, at))
    return tuple(drawn)


def lens_system(
    rng: Generator,
    population: Population,
    bands: tuple[str, ...],
    at: tuple[float, float],
    theta_e: float | None = None,
) -> tuple[Light, LensedSource, Float64, float, bool]:
    """A deflector with its group, and a source behind it.

    Parameters
    ----------
    at : (x, y), arcsec
        The deflector's place.
    theta_e : float, optional
        Einstein radius in arcsec, instead of a draw.

    Returns
    -------
    light : Light
        The deflector (first) and its group.
    source : LensedSource
    colour : float64 (band,)
        The source's flux in each band over that in r.
    magnitude : float
        Of the deflector, r.
    red : bool
        Whether the source is a red one.
    """
    lenses = population.lenses
    theta = draw_theta_e(rng, lenses) if theta_e is None else theta_e
    redshift = rng.uniform(*lenses.redshift)
    magnitude = deflector_magnitude(rng, lenses, theta)
    galaxy = elliptical(rng, population, magnitude, bands, redshift, at)
    group = Light(members(rng, population, magnitude, redshift, bands)).moved(*at)
    deflector = Deflector(
        at[0],
        at[1],
        theta,
        float(np.clip(rng.normal(galaxy.q, 0.1), *lenses.axis_ratio)),
        galaxy.angle + np.deg2rad(rng.normal(0, lenses.mass_light_angle_scatter)),
        rng.normal(0, lenses.shear_scatter),
        rng.normal(0, lenses.shear_scatter),
    )
    red = bool(rng.random() < lenses.red_source_share)
    colour = fluxes(0.0, colours_of(rng, lenses.red_source if red else lenses.blue_source), bands) / flux_of(0.0)
    components = _source(rng, lenses, deflector)
    return Light((galaxy,)) + group, LensedSource(deflector, components), colour, magnitude, red


def draw_theta_e(rng: Generator, lenses: LensPopulation) -> float:
    """An Einstein radius in arcsec: log-normal, drawn again outside the range."""
    while True:
        theta = lenses.theta_E_median * np.exp(rng.normal(0, lenses.theta_E_scatter))
        if lenses.theta_E[0] <= theta <= lenses.theta_E[1]:
            return float(theta)


def deflector_magnitude(rng: Generator, lenses: LensPopulation, theta_e: float) -> float:
    """R magnitude of a deflector of an Einstein radius in arcsec."""
    mean = lenses.magnitude + lenses.magnitude_per_dex * np.log10(theta_e / lenses.theta_E_median)
    return float(rng.normal(mean, lenses.magnitude_scatter))


def _source(rng: Generator, lenses: LensPopulation, deflector: Deflector) -> tuple[Sersic, ...]:
    """A galaxy behind the deflector, uniform over a disc, with clumps of star formation."""
    distance = lenses.source_offset * deflector.theta_E * np.sqrt(rng.random())
    angle = rng.uniform(0, 2 * np.pi)
    x, y = deflector.x + distance * np.cos(angle), deflector.y + distance * np.sin(angle)
    radius = float(np.exp(rng.uniform(*np.log(lenses.source_radius))))
    clumps = int(rng.integers(0, lenses.source_clumps + 1))
    share = rng.uniform(0.1, 0.5) if clumps else 0.0
    body = Sersic(
        x,
        y,
        radius,
        float(np.round(rng.uniform(*lenses.source_sersic), 2)),
        float(rng.uniform(*lenses.source_axis_ratio)),
        float(rng.uniform(0, np.pi)),
        np.array([1 - share]),
    )
    spots = [
        Sersic(
            x + rng.normal(0, radius),
            y + rng.normal(0, radius),
            between(rng, lenses.source_clump_radius),
            1.0,
            float(rng.uniform(0.6, 1.0)),
            float(rng.uniform(0, np.pi)),
            np.array([share / clumps]),
        )
        for _ in range(clumps)
    ]
    return (body, *spots)
