"""Velocity dispersion and magnitude of early-type galaxies, each from the other."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pipeline.sims.config.lenses import Cosmology, DispersionRelation
from pipeline.sims.population.cosmology import Distances, distances


def table(cosmology: Cosmology) -> Distances:
    """Distances of a configured cosmology."""
    return distances(cosmology.hubble, cosmology.matter)


def magnitude_at_zero(relation: DispersionRelation, magnitude: float, redshift: float, modulus: float) -> float:
    """Absolute r magnitude, K-corrected and evolved to redshift 0, of an observed r magnitude."""
    return magnitude - _dimming(relation, redshift, modulus)


def dispersion(
    relation: DispersionRelation,
    magnitude: float,
    redshift: float,
    modulus: float,
    rng: Generator | None = None,
) -> float:
    """Velocity dispersion in km/s of a galaxy of observed r magnitude.

    Parameters
    ----------
    relation : DispersionRelation
    magnitude : float
        Observed, AB, r.
    redshift, modulus : float
        And the distance modulus that goes with it.
    rng : Generator, optional
        Adds the relation's scatter; the mean without it.
    """
    absolute = magnitude_at_zero(relation, magnitude, redshift, modulus)
    scatter = relation.scatter * float(rng.standard_normal()) if rng is not None else 0.0
    exponent = relation.log_dispersion + relation.slope * (absolute - relation.magnitude) + scatter
    return float(min(10.0**exponent, relation.limit))


def magnitude(
    relation: DispersionRelation, dispersion: float, redshift: float, modulus: float, rng: Generator | None = None
) -> float:
    """Observed r magnitude of a galaxy of velocity dispersion in km/s; the mean without `rng`."""
    own = np.log10(min(dispersion, relation.limit))
    absolute = relation.magnitude + (own - relation.log_dispersion) / relation.slope + relation.magnitude_bias
    scatter = relation.magnitude_scatter * float(rng.standard_normal()) if rng is not None else 0.0
    return float(absolute + _dimming(relation, redshift, modulus) + scatter)


def _dimming(relation: DispersionRelation, redshift: float, modulus: float) -> float:
    """Observed r magnitude less the absolute one at redshift 0."""
    k_correction = float(np.interp(redshift, relation.redshift, relation.k_correction))
    return modulus + k_correction - relation.evolution * redshift
