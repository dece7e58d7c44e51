"""Draws of lenses: a deflector with its group, its mass, and a source behind it.

`lens_system` draws all of it. For a galaxy that is given, such as one of a real image, `mass_of` gives it the mass
of an Einstein radius, and `source_galaxy` or `quasars.quasar_behind` a source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.errors import ConfigError
from pipeline.sims.config.lenses import LensPopulation, SourceRedshift
from pipeline.sims.config.population import Population
from pipeline.sims.population.cosmology import dispersion_of, einstein_radius
from pipeline.sims.population.dispersion import dispersion, magnitude, table
from pipeline.sims.population.galaxies import colours_of, counted_magnitude, elliptical, members
from pipeline.sims.population.quasars import LensedQuasar, quasar_behind
from pipeline.sims.render.lensing import LensedSource
from pipeline.sims.render.light import Float64, Light, Sersic
from pipeline.sims.render.mass import Deflector, Sphere
from pipeline.sims.render.photometry import flux_of, fluxes

_MOST_DRAWS = 10_000


@dataclass(frozen=True)
class Foreground:
    """A galaxy that is to be a lens, as it is seen: place (arcsec), r magnitude, redshift, axis ratio and angle."""

    x: float
    y: float
    magnitude: float
    redshift: float
    q: float
    angle: float


@dataclass(frozen=True)
class LensSystem:
    """A lens before rendering.

    Attributes
    ----------
    light : Light
        The deflector (first) and its group.
    source : LensedSource
        The lensed galaxy; the quasar's host where there is a quasar.
    colour : float64 (band,)
        The source's flux in each band over that in r.
    magnitude : float
        Of the deflector, r.
    redshift, source_redshift : float
    dispersion : float, km/s
        Of an isothermal sphere of this theta_E.
    red : bool
        Whether the source is a red one.
    quasar : LensedQuasar or None
    source_id : int
        Of a real galaxy; -1 for other sources.
    """

    light: Light
    source: LensedSource
    colour: Float64
    magnitude: float
    redshift: float
    source_redshift: float
    dispersion: float
    red: bool
    quasar: LensedQuasar | None = None
    source_id: int = -1


def lens_system(
    rng: Generator,
    population: Population,
    bands: tuple[str, ...],
    at: tuple[float, float],
    theta_e: float | None = None,
    quasar: bool = False,
) -> LensSystem:
    """Draw a lens.

    Parameters
    ----------
    rng : Generator
    population : Population
    bands : names
    at : (x, y), arcsec
        The deflector's place.
    theta_e : float, optional
        Einstein radius in arcsec, instead of a draw.
    quasar : bool
        Whether the source is a quasar in its host galaxy.

    Raises
    ------
    ConfigError
        If the population has no deflector with an Einstein radius in its range, or no multiple images.
    """
    lenses = population.lenses
    drawn = draw_deflector(rng, population, theta_e, quasar)
    galaxy = elliptical(rng, population, drawn.magnitude, bands, drawn.redshift, at)
    group = members(rng, population, drawn.magnitude, drawn.redshift, bands)
    own = Foreground(at[0], at[1], drawn.magnitude, drawn.redshift, galaxy.q, galaxy.angle)
    around = [
        Foreground(at[0] + m.light.x, at[1] + m.light.y, m.magnitude, drawn.redshift, m.light.q, m.light.angle)
        for m in group
    ]
    deflector = mass_of(rng, population, own, drawn.source_redshift, drawn.theta_e, around)
    light = Light((galaxy,)) + Light(tuple(member.light for member in group)).moved(*at)
    red = bool(rng.random() < lenses.red_source_share) and not quasar
    colour = fluxes(0.0, colours_of(rng, lenses.red_source if red else lenses.blue_source), bands) / flux_of(0.0)
    if quasar:
        images, host = quasar_behind(rng, lenses, deflector, bands)
        source = LensedSource(deflector, host)
    else:
        images, source = None, LensedSource(deflector, source_galaxy(rng, lenses, deflector))
    return LensSystem(
        light=light,
        source=source,
        colour=colour,
        magnitude=drawn.magnitude,
        redshift=drawn.redshift,
        source_redshift=drawn.source_redshift,
        dispersion=drawn.dispersion,
        red=red,
        quasar=images,
    )


@dataclass(frozen=True)
class DrawnDeflector:
    """Einstein radius (arcsec), r magnitude, velocity dispersion (km/s) and redshifts that belong together."""

    theta_e: float
    magnitude: float
    dispersion: float
    redshift: float
    source_redshift: float


def draw_deflector(
    rng: Generator,
    population: Population,
    theta_e: float | None = None,
    quasar: bool = False,
) -> DrawnDeflector:
    """Draw a deflector in the way that the population's `theta_E_drawn` says.

    Parameters
    ----------
    theta_e : float, optional
        Einstein radius in arcsec; the magnitude then follows from it, whatever the population says.
    quasar : bool
        Whether Einstein radii and source redshifts are those of lensed quasars.

    Raises
    ------
    ConfigError
        If nothing with an Einstein radius in the range can be drawn.
    """
    lenses, universe = population.lenses, table(population.cosmology)
    drawn = lenses.quasars if quasar else lenses
    sources = lenses.quasars.redshift if quasar else lenses.source_redshift
    for _ in range(_MOST_DRAWS):
        redshift = float(rng.uniform(*lenses.redshift))
        behind = draw_source_redshift(rng, sources, redshift)
        ratio, modulus = universe.ratio(redshift, behind), universe.modulus(redshift)
        if theta_e is not None or lenses.theta_E_drawn == "log_normal":
            theta = draw_theta_e(rng, lenses, quasar) if theta_e is None else theta_e
            sigma = dispersion_of(theta, ratio)
            own = magnitude(lenses.dispersion, sigma, redshift, modulus, rng)
            return DrawnDeflector(theta, own, sigma, redshift, behind)
        slope = population.galaxies.count_slope
        own = float(counted_magnitude(rng, lenses.deflector_magnitude, slope, 1)[0])
        sigma = dispersion(lenses.dispersion, own, redshift, modulus, rng)
        theta = einstein_radius(sigma, ratio)
        if drawn.theta_E[0] <= theta <= drawn.theta_E[1]:
            return DrawnDeflector(theta, own, sigma, redshift, behind)
    raise ConfigError(
        f"no deflector with theta_E from {drawn.theta_E[0]} to {drawn.theta_E[1]} arcsec in {_MOST_DRAWS} draws; "
        "widen theta_E or make deflector_magnitude brighter."
    )


def draw_source_redshift(rng: Generator, redshifts: SourceRedshift, deflector: float) -> float:
    """A redshift behind a deflector's: log-normal, drawn again outside its range, which gives way where it must."""
    low, high = redshifts.range[0], redshifts.range[1]
    nearest = deflector + redshifts.behind
    for _ in range(_MOST_DRAWS):
        drawn = redshifts.median * np.exp(rng.normal(0, redshifts.scatter))
        if max(low, nearest) <= drawn <= high:
            return float(drawn)
    return max(high, nearest)


def mass_of(
    rng: Generator,
    population: Population,
    galaxy: Foreground,
    source_redshift: float,
    theta_e: float,
    around: list[Foreground],
) -> Deflector:
    """The mass of a galaxy of an Einstein radius (arcsec), with its neighbours' for a source redshift."""
    lenses = population.lenses
    universe = table(population.cosmology)
    ratio, modulus = universe.ratio(galaxy.redshift, source_redshift), universe.modulus(galaxy.redshift)
    spheres = []
    for neighbour in around:
        sigma = dispersion(lenses.dispersion, neighbour.magnitude, galaxy.redshift, modulus, rng)
        spheres.append(Sphere(neighbour.x, neighbour.y, einstein_radius(sigma, ratio)))
    return Deflector(
        x=galaxy.x,
        y=galaxy.y,
        theta_E=theta_e,
        q=float(np.clip(rng.normal(galaxy.q, lenses.mass_light_axis_ratio_scatter), *lenses.axis_ratio)),
        angle=galaxy.angle + float(np.deg2rad(rng.normal(0, lenses.mass_light_angle_scatter))),
        shear_1=float(rng.normal(0, lenses.shear_scatter)),
        shear_2=float(rng.normal(0, lenses.shear_scatter)),
        slope=float(np.clip(rng.normal(lenses.slope_mean, lenses.slope_scatter), *lenses.slope)),
        convergence=float(rng.uniform(*lenses.group_convergence)) if spheres else 0.0,
        neighbours=tuple(spheres),
    )


def draw_theta_e(rng: Generator, lenses: LensPopulation, quasar: bool = False) -> float:
    """An Einstein radius in arcsec: log-normal, drawn again outside the range."""
    drawn = lenses.quasars if quasar else lenses
    while True:
        theta = drawn.theta_E_median * np.exp(rng.normal(0, drawn.theta_E_scatter))
        if drawn.theta_E[0] <= theta <= drawn.theta_E[1]:
            return float(theta)


def source_galaxy(rng: Generator, lenses: LensPopulation, deflector: Deflector) -> tuple[Sersic, ...]:
    """A galaxy behind the deflector, uniform over a disc, with clumps of star formation; fluxes are shares."""
    x, y = source_place(rng, lenses, deflector)
    radius = float(np.exp(rng.uniform(*np.log(lenses.source_radius))))
    clumps = int(rng.integers(0, lenses.source_clumps + 1))
    share = rng.uniform(*lenses.source_clump_share) if clumps else 0.0
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
            x + rng.normal(0, lenses.source_clump_scatter * radius),
            y + rng.normal(0, lenses.source_clump_scatter * radius),
            float(rng.uniform(*lenses.source_clump_radius)),
            lenses.source_clump_sersic,
            float(rng.uniform(*lenses.source_clump_axis_ratio)),
            float(rng.uniform(0, np.pi)),
            np.array([share / clumps]),
        )
        for _ in range(clumps)
    ]
    return (body, *spots)


def source_place(rng: Generator, lenses: LensPopulation, deflector: Deflector) -> tuple[float, float]:
    """Where a source is, in arcsec on the source plane: uniform over a disc of `source_offset` Einstein radii."""
    distance = lenses.source_offset * deflector.theta_E * np.sqrt(rng.random())
    angle = rng.uniform(0, 2 * np.pi)
    return float(deflector.x + distance * np.cos(angle)), float(deflector.y + distance * np.sin(angle))
