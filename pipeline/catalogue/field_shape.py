"""Where a field lies, by what its scan wrote: its detections tell the pixel grid, for the survey may be away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.geometry import Footprint, unit_vectors

Floats = npt.NDArray[np.float64]

FEWEST = 3
"""Detections that tell a grid: position, scale and turn."""

FEWEST_CURVED = 24
"""From so many on, terms of second order are fitted too: other projections than the tangential, and distortion."""

NONE_BY_CHANCE = 7.0
"""Detections that a part of a field should have by the field's mean density, for none there to mean no coverage: by
Poisson's law fewer than one such part in a thousand is empty by chance."""


@dataclass(frozen=True)
class FieldShape:
    """A field's outline on the sky.

    Attributes
    ----------
    centre : float64 (3,)
        Unit vector.
    radius : float, rad
        Of a circle about the centre that holds the field.
    shape : (ny, nx)
    terms : float64 (terms, 2) or None
        Pixel coordinates as polynomials on the tangential plane; None where too few detections tell.
    inner : float, rad
        Of a circle about the centre that lies in the field; what counts as inside without `terms`.
    """

    centre: Floats
    radius: float
    shape: tuple[int, int]
    terms: Floats | None
    inner: float

    def inside(self, ra: Floats, dec: Floats) -> npt.NDArray[np.bool_]:
        """Which positions (deg) lie on the field's pixels."""
        vectors = unit_vectors(ra, dec).reshape(-1, 3)
        chord = np.linalg.norm(vectors - self.centre, axis=1)
        within = chord <= 2 * np.sin(min(self.radius, np.pi) / 2)
        if self.terms is None:
            return np.asarray(chord <= 2 * np.sin(self.inner / 2))
        answer = np.zeros(len(vectors), bool)
        if within.any():
            plane = _plane(vectors[within], self.centre)
            x, y = (_polynomials(plane, len(self.terms)) @ self.terms).T
            ny, nx = self.shape
            answer[within] = (x >= -0.5) & (x <= nx - 0.5) & (y >= -0.5) & (y <= ny - 0.5)
        return answer


def field_shape(ra: Floats, dec: Floats, x: Floats, y: Floats, footprint: Footprint | None) -> FieldShape | None:
    """A field's outline from its detections, and from what the scan remembers of its header.

    Parameters
    ----------
    ra, dec : (n,) degrees
    x, y : (n,) 0-based pixel coordinates
    footprint : Footprint, optional
        Without it the field reaches as far as its detections do.

    Returns
    -------
    FieldShape or None
        None where neither footprint nor enough detections tell anything.
    """
    vectors = unit_vectors(ra, dec).reshape(-1, 3)
    enough = len(vectors) >= FEWEST
    if footprint is None and not enough:
        return None
    if footprint is not None:
        centre, radius, shape = np.array(footprint.centre), footprint.radius, footprint.shape
        inner = np.radians(min(shape) * footprint.pixel_scale / 2 / 3600)
    else:
        centre = vectors.mean(axis=0)
        centre /= np.linalg.norm(centre)
        # As far again as the farthest detection, so that the corners lie within.
        radius = 2 * float(2 * np.arcsin(min(1.0, np.linalg.norm(vectors - centre, axis=1).max() / 2)))
        shape, inner = (int(np.ceil(y.max())) + 1, int(np.ceil(x.max())) + 1), 0.0
    terms: Floats | None = None
    if enough:
        count = 6 if len(vectors) >= FEWEST_CURVED else 3
        plane = _polynomials(_plane(vectors, centre), count)
        terms = np.asarray(np.linalg.lstsq(plane, np.stack([x, y], axis=1), rcond=None)[0], np.float64)
    return FieldShape(centre, radius, shape, terms, float(inner))


def uncovered(places: Floats, detections: Floats, area: float) -> npt.NDArray[np.bool_]:
    """Places of a field around which nothing was detected where the field's mean density promises `NONE_BY_CHANCE`.

    Parameters
    ----------
    places : (m, 3) unit vectors
    detections : (n, 3) unit vectors
    area : float
        Of the field, steradians.
    """
    from scipy.spatial import KDTree

    if not len(detections):
        return np.ones(len(places), bool)
    reach = np.sqrt(NONE_BY_CHANCE * area / (np.pi * len(detections)))
    chord, _ = KDTree(detections).query(places)
    return np.asarray(chord > reach)


def _plane(vectors: Floats, centre: Floats) -> Floats:
    """Coordinates (n, 2) on the plane that touches the sphere at a centre, in radians."""
    pole = np.array([0.0, 0.0, 1.0]) if abs(centre[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(pole, centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    ahead = vectors @ centre
    return np.stack([vectors @ east / ahead, vectors @ north / ahead], axis=1)


def _polynomials(plane: Floats, count: int) -> Floats:
    """The first terms (n, count) of 1, u, v, u^2, uv, v^2, in units of a degree."""
    u, v = np.degrees(plane).T
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)[:, :count]
