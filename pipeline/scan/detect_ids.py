"""Ids of own detections: a place on the sky, kept when the field is run again."""

from __future__ import annotations

import astropy.units as u
import cdshealpix.nested
import numpy as np
import numpy.typing as npt
from astropy.coordinates import Latitude, Longitude
from scipy.spatial import cKDTree

from pipeline.geometry import unit_vectors

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

DEPTH = 29


def spatial_index(ra: Float64, dec: Float64) -> Int64:
    """Nested HEALPix index of order 29 (cells of 0.4 mas) of ICRS degrees; int64 (n,).

    cdshealpix answers in uint64; the largest index, 12 x 4**29, is below 2**62, so that int64 holds it.
    """
    if len(ra) == 0:
        return np.zeros(0, np.int64)
    index = cdshealpix.nested.lonlat_to_healpix(
        Longitude(np.asarray(ra, np.float64), u.deg), Latitude(np.asarray(dec, np.float64), u.deg), DEPTH
    )
    return np.asarray(index).astype(np.int64)


def unique_ids(index: Int64, taken: Int64 | None = None) -> Int64:
    """An id for every detection: its HEALPix index, or the next free number where that is taken.

    Rows come in a fixed order and the first keeps its index, so that the same detections get the same ids.

    Parameters
    ----------
    index : int64 (n,)
    taken : int64 (m,), optional
        Ids that are given already.
    """
    used = set() if taken is None else set(taken.tolist())
    _, first = np.unique(index, return_index=True)
    repeated = np.ones(len(index), bool)
    repeated[first] = False
    ids = index.copy()
    if used:
        repeated |= np.isin(index, np.fromiter(used, np.int64, len(used)))
    if not repeated.any():
        return ids
    used |= set(ids[~repeated].tolist())
    for row in np.flatnonzero(repeated):
        number = int(ids[row])
        while number in used:
            number += 1
        used.add(number)
        ids[row] = number
    return ids


def inherited_ids(
    objid: Int64,
    ra: Float64,
    dec: Float64,
    previous_objid: Int64,
    previous_ra: Float64,
    previous_dec: Float64,
    radius: float,
) -> Int64:
    """Ids after a rerun: a detection within `radius` of a previous one takes its id, one to one.

    Parameters
    ----------
    objid : int64 (n,)
        Ids that the detections would have without a past.
    ra, dec : float64 (n,), degrees
    previous_objid, previous_ra, previous_dec : (m,)
    radius : float
        Arcsec. Pairs are made from the closest on; equal distances go to the lower rows.

    Returns
    -------
    int64 (n,)
        Unique; the ids of unmatched detections step aside for inherited ones.
    """
    if len(objid) == 0 or len(previous_objid) == 0 or radius <= 0:
        return objid
    chord = 2 * np.sin(np.radians(radius / 3600) / 2)
    here = unit_vectors(ra, dec)
    tree = cKDTree(unit_vectors(previous_ra, previous_dec))
    pairs = [
        (float(np.linalg.norm(here[row] - tree.data[other])), row, other)
        for row, others in enumerate(tree.query_ball_point(here, chord))
        for other in others
    ]
    ids = objid.copy()
    old = np.zeros(len(objid), bool)
    spent: set[int] = set()
    for _, row, other in sorted(pairs):
        if not old[row] and other not in spent:
            ids[row] = previous_objid[other]
            old[row] = True
            spent.add(other)
    ids[~old] = unique_ids(objid[~old], taken=ids[old])
    return ids
