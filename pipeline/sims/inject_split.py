"""Splits by sky area: which HEALPix cells a stamp lies in, and whose they are."""

from __future__ import annotations

from functools import lru_cache

import astropy.units as u
import cdshealpix.nested
import numpy as np
import numpy.typing as npt
from astropy.coordinates import Latitude, Longitude

from pipeline.sims.hst_sources import split_of
from pipeline.sims.inject_config import SkySplit
from pipeline.sims.light import Float64

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

_BASE_SIDE = float(np.degrees(np.sqrt(4 * np.pi / 12)))
"""Side in degrees of a square of the area of a HEALPix cell of order 0."""


def cell_order(side: float) -> int:
    """The HEALPix order whose cells are nearest to `side` degrees on a side, 0 to 29."""
    return int(np.clip(round(np.log2(_BASE_SIDE / side)), 0, 29))


def cells(ra: Float64, dec: Float64, order: int) -> Int64:
    """Nested HEALPix cells of ICRS degrees, int64, same shape."""
    flat = cdshealpix.nested.lonlat_to_healpix(
        Longitude(np.ravel(ra) % 360.0, u.deg), Latitude(np.clip(np.ravel(dec), -90, 90), u.deg), order
    )
    return np.asarray(flat).astype(np.int64).reshape(np.shape(ra))


def in_split(ra: Float64, dec: Float64, reach: float, config: SkySplit) -> Bool:
    """Which square stamps lie wholly in cells of the config's split.

    Parameters
    ----------
    ra, dec : float64 (n,), degrees
        Of the stamps' centres.
    reach : degrees
        Half a stamp's side; asked at its centre, the corners and the middles of the sides. Cells have to be larger
        than half a stamp, which is the caller's to check.
    config : SkySplit

    Returns
    -------
    bool (n,)
        All True for split "all".
    """
    if config.split == "all":
        return np.ones(len(ra), np.bool_)
    steps = np.array([-1.0, 0.0, 1.0]) * reach
    dx, dy = (part.ravel() for part in np.meshgrid(steps, steps))
    stretched = dx[None, :] / np.maximum(np.cos(np.radians(dec)), 1e-6)[:, None]
    order, shares = cell_order(config.cell), tuple(config.shares.items())
    touched = cells(ra[:, None] + stretched, np.broadcast_to(dec[:, None] + dy[None, :], stretched.shape), order)
    wanted = {cell: _split_of_cell(cell, order, shares) == config.split for cell in np.unique(touched).tolist()}
    return np.array([all(wanted[cell] for cell in row) for row in touched.tolist()], np.bool_).reshape(len(ra))


@lru_cache(maxsize=65536)
def _split_of_cell(cell: int, order: int, shares: tuple[tuple[str, float], ...]) -> str:
    return split_of(f"sky/{order}/{cell}", dict(shares))
