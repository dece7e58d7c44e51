"""AB magnitudes, fluxes in nJy, and the fluxes that colours make of a magnitude."""

from __future__ import annotations

import math

import numpy as np

from pipeline.sims.render.light import Float64

AB_NANOJANSKY = 31.4
"""AB magnitude of 1 nJy."""
VIS_SHARES = {"r": 0.48, "i": 0.36, "z": 0.16}
"""Flux in Euclid's VIS as a sum of those in r, i and z: the parts that the bands' ranges, 550-690, 690-820 and
820-900 nm, have of its response to a flat spectrum, integral of T d(ln wavelength), T falling towards 900 nm."""


def flux_of(magnitude: float | Float64) -> Float64:
    """AB magnitudes to nJy, same shape."""
    return np.asarray(10 ** (-0.4 * (np.asarray(magnitude, np.float64) - AB_NANOJANSKY)))


def fluxes(magnitude: float, colours: tuple[float, float, float], bands: tuple[str, ...]) -> Float64:
    """Fluxes in nJy of an object of r magnitude and colours (g - r, r - i, i - z), float64 (band,)."""
    g_r, r_i, i_z = colours
    offsets = {"g": g_r, "r": 0.0, "i": -r_i, "z": -r_i - i_z}
    if "VIS" in bands:
        offsets["VIS"] = -2.5 * math.log10(sum(w * 10 ** (-0.4 * offsets[band]) for band, w in VIS_SHARES.items()))
    return flux_of(np.array([magnitude + offsets[band] for band in bands]))
