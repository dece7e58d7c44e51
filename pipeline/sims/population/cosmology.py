"""Distances, and what they make of a velocity dispersion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import astropy.units as u
import numpy as np
from astropy.cosmology import FlatLambdaCDM

from pipeline.sims.render.light import Float64

SPEED_OF_LIGHT = 299_792.458
"""km/s."""
_ARCSEC = 180 * 3600 / np.pi
_FARTHEST = 8.0
_STEP = 0.005


@dataclass(frozen=True)
class Distances:
    """Comoving distances of a flat universe by redshift, interpolated linearly.

    Attributes
    ----------
    redshift : float64 (n,)
        From 0 to 8.
    comoving : float64 (n,), Mpc
    """

    redshift: Float64
    comoving: Float64

    def at(self, redshift: float) -> float:
        """Comoving distance in Mpc; beyond redshift 8 that of 8."""
        return float(np.interp(redshift, self.redshift, self.comoving))

    def modulus(self, redshift: float) -> float:
        """Distance modulus m - M in mag, of a redshift above 0."""
        return float(5 * np.log10(self.at(redshift) * (1 + redshift)) + 25)

    def ratio(self, deflector: float, source: float) -> float:
        """D_ls / D_s of angular diameter distances; 0 for a source in front of the deflector.

        In a flat universe 1 - D_C(z_l) / D_C(z_s); Hogg (1999), eq. 19.
        """
        return max(0.0, 1 - self.at(deflector) / self.at(source))


@lru_cache(maxsize=8)
def distances(hubble: float, matter: float) -> Distances:
    """The table of a Hubble constant in km/s/Mpc and a density of matter, from astropy."""
    redshift = np.arange(0.0, _FARTHEST + _STEP, _STEP)
    cosmology = FlatLambdaCDM(H0=hubble, Om0=matter)
    return Distances(redshift, np.asarray(cosmology.comoving_distance(redshift).to_value(u.Mpc), np.float64))


def einstein_radius(dispersion: float, ratio: float) -> float:
    """Einstein radius in arcsec of an isothermal sphere: 4 pi (sigma / c)^2 D_ls / D_s; Narayan & Bartelmann (1996).

    Parameters
    ----------
    dispersion : float, km/s
    ratio : float
        D_ls / D_s.
    """
    return float(4 * np.pi * (dispersion / SPEED_OF_LIGHT) ** 2 * ratio * _ARCSEC)


def dispersion_of(theta_e: float, ratio: float) -> float:
    """Velocity dispersion in km/s of the isothermal sphere of an Einstein radius in arcsec; inf where `ratio` is 0."""
    return float(SPEED_OF_LIGHT * np.sqrt(theta_e / _ARCSEC / (4 * np.pi * ratio))) if ratio > 0 else float("inf")
