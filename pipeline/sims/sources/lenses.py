"""Lens systems whose source is a real galaxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from numpy.random import Generator

from pipeline.sims.config.population import Population
from pipeline.sims.config.sources import SourcesConfig
from pipeline.sims.population.cosmology import dispersion_of
from pipeline.sims.population.dispersion import table
from pipeline.sims.population.lenses import LensSystem, source_place
from pipeline.sims.render.lensing import LensedSource
from pipeline.sims.render.photometry import flux_of, fluxes
from pipeline.sims.sources.hst import Galaxy, place


def galaxy_behind(
    rng: Generator, galaxies: Sequence[Galaxy], config: SourcesConfig, redshift: float, behind: float
) -> Galaxy | None:
    """A real galaxy at least `behind` above a deflector's redshift, in `hst_share` of the calls; None otherwise."""
    if not galaxies or rng.random() >= config.hst_share:
        return None
    far = [galaxy for galaxy in galaxies if galaxy.redshift >= redshift + behind]
    return far[int(rng.integers(len(far)))] if far else None


def with_real_source(
    rng: Generator,
    system: LensSystem,
    galaxies: Sequence[Galaxy],
    config: SourcesConfig,
    population: Population,
    bands: tuple[str, ...],
) -> LensSystem:
    """The system with a real galaxy as its source, or as it is in the share of the calls that the config says.

    The Einstein radius stays; the velocity dispersion that goes with it follows from the galaxy's redshift.
    """
    lenses = population.lenses
    galaxy = galaxy_behind(rng, galaxies, config, system.redshift, lenses.source_redshift.behind)
    if galaxy is None:
        return system
    deflector = system.source.deflector
    placed = place(rng, galaxy, config, source_place(rng, lenses, deflector))
    ratio = table(population.cosmology).ratio(system.redshift, galaxy.redshift)
    own = config.colours == "catalogue"
    return replace(
        system,
        source=LensedSource(deflector, (), (placed,)),
        colour=fluxes(0.0, galaxy.colours, bands) / flux_of(0.0) if own else system.colour,
        source_redshift=galaxy.redshift,
        dispersion=dispersion_of(deflector.theta_E, ratio),
        red=is_red(galaxy, population) if own else system.red,
        source_id=galaxy.source_id,
    )


def is_red(galaxy: Galaxy, population: Population) -> bool:
    """Whether a galaxy's g - r is nearer to the population's red sources than to the blue ones."""
    lenses = population.lenses
    return galaxy.colours[0] > (lenses.red_source.g_r.mean + lenses.blue_source.g_r.mean) / 2
