"""Velocity dispersion and magnitude of early-type galaxies, each from the other.

The relation is `config.lenses.DispersionRelation`, its numbers are the config's; those that are shipped are of SDSS
early types in r. Their slope of -0.102 dex a magnitude is sigma ~ L^0.255, for which Bernardi et al. (2003, AJ 125,
1849) have 0.25 +- 0.012; the zero point and the scatter at a given magnitude are those of Sheth et al. (2003, ApJ 594,
225) for the same sample. Choi et al. (2007, ApJ 658, 884) find 161 +- 5 km/s at L*, near M_r = -21.3, where the
relation has 165 km/s.

What is assumed:

- Absolute magnitudes are those of H0 = 70 km/s/Mpc, without h in them. With another Hubble constant in the config,
  `magnitude` has to be moved by 5 log10(H0 / 70).
- The evolution, of galaxies at z < 0.3, goes on linearly to the redshifts of deflectors.
- The dispersion of the stars in the middle is that of the isothermal mass (Kochanek 1994, ApJ 436, 56).
"""

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
