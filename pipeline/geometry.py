"""Where a field is on the sky, and which of its objects it owns.

Pixel coordinates are 0-based with the centre of pixel (0, 0) at (0, 0); FITS's 1-based origin is
converted here and nowhere else. Sky positions are ICRS degrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from scipy.spatial import cKDTree

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FieldGeometry:
    """The footprint of a field, known from a header alone.

    Attributes
    ----------
    field_id : str
    shape : (ny, nx)
    wcs : astropy.wcs.WCS
        Celestial, two axes.
    """

    field_id: str
    shape: tuple[int, int]
    wcs: WCS

    @property
    def pixel_scale(self) -> float:
        """Arcsec a pixel at the reference point."""
        return pixel_scale(self.wcs)

    def token(self) -> str:
        """32 hex digits that change if and only if shape or WCS do; they go into fingerprints."""
        header = self.wcs.to_header(relax=True)
        cards = sorted(str(card) for card in header.cards if card.keyword != "DATE-OBS")
        return hashlib.sha256("\n".join([str(self.shape), *cards]).encode()).hexdigest()[:32]

    def footprint(self) -> Footprint:
        """What a plan keeps of this."""
        centre, radius = bounding_circle(self)
        x, y, z = map(float, centre)
        return Footprint(self.field_id, self.shape, self.pixel_scale, (x, y, z), radius, self.token())


@dataclass(frozen=True, slots=True)
class Footprint:
    """A field's geometry in a few numbers, where its WCS would take kilobytes.

    Attributes
    ----------
    field_id : str
    shape : (ny, nx)
    pixel_scale : float, arcsec
    centre : (x, y, z)
        Unit vector to the middle of the field.
    radius : float, rad
        Of a circle about the centre that holds the whole field.
    token : str
        See `FieldGeometry.token`.
    """

    field_id: str
    shape: tuple[int, int]
    pixel_scale: float
    centre: tuple[float, float, float]
    radius: float
    token: str

    @property
    def area(self) -> float:
        """arcmin²."""
        return self.shape[0] * self.shape[1] * (self.pixel_scale / 60.0) ** 2


def pixel_scale(wcs: WCS) -> float:
    """Arcsec a pixel at the reference point: the square root of the pixel's area."""
    return float(np.sqrt(proj_plane_pixel_area(wcs))) * 3600.0


def to_sky(wcs: WCS, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Float64, Float64]:
    """0-based pixel coordinates to ICRS (ra, dec) in degrees, ra in [0, 360); same shapes."""
    ra, dec = wcs.all_pix2world(np.asarray(x, float), np.asarray(y, float), 0)
    return np.asarray(ra, np.float64) % 360.0, np.asarray(dec, np.float64)


def to_pixel(wcs: WCS, ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[Float64, Float64]:
    """ICRS degrees to 0-based (x, y).

    NaN where a position has no image in the projection, as on the far side of the sky.
    """
    ra_, dec_ = np.asarray(ra, float), np.asarray(dec, float)
    x, y = wcs.all_world2pix(ra_, dec_, 0, quiet=True)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    # A tangent projection maps the far hemisphere onto the near one; only what comes back is real.
    with np.errstate(invalid="ignore"):
        ra_back, dec_back = to_sky(wcs, np.where(np.isfinite(x), x, 0.0), np.where(np.isfinite(y), y, 0.0))
        near = separation(ra_, dec_, ra_back, dec_back) < 1.0 / 60.0
    return np.where(near, x, np.nan), np.where(near, y, np.nan)


def separation(ra1: npt.ArrayLike, dec1: npt.ArrayLike, ra2: npt.ArrayLike, dec2: npt.ArrayLike) -> Float64:
    """Great-circle distance in degrees by the haversine formula; arrays broadcast."""
    lon1, lat1, lon2, lat2 = (np.radians(np.asarray(angle, float)) for angle in (ra1, dec1, ra2, dec2))
    half = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))), np.float64)


def unit_vectors(ra: npt.ArrayLike, dec: npt.ArrayLike) -> Float64:
    """Directions on the unit sphere, shape (..., 3)."""
    lon, lat = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def depth(geometry: FieldGeometry, ra: npt.ArrayLike, dec: npt.ArrayLike) -> Float64:
    """How far inside a field positions lie, in arcsec from its nearest edge.

    Negative outside, -inf on the far side of the sky. The edge is the outer border of the outermost pixels.
    """
    x, y = to_pixel(geometry.wcs, ra, dec)
    ny, nx = geometry.shape
    inside = np.minimum(np.minimum(x + 0.5, nx - 0.5 - x), np.minimum(y + 0.5, ny - 0.5 - y))
    return np.where(np.isfinite(inside), inside * geometry.pixel_scale, -np.inf)


def primary(
    geometry: FieldGeometry, others: Sequence[FieldGeometry], ra: npt.ArrayLike, dec: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Which positions a field owns among the fields that overlap it.

    A position belongs to the field that it lies deepest inside, and to the lowest `field_id` of equals, so that
    every point of the survey has one owner, decided from footprints alone.

    Parameters
    ----------
    geometry : FieldGeometry
        The field that the positions were measured in.
    others : sequence of FieldGeometry
        Overlapping fields, without itself.
    ra, dec : array-like, ICRS degrees

    Returns
    -------
    bool array, the shape of `ra`
    """
    own = depth(geometry, ra, dec)
    mine = np.ones(own.shape, bool)
    for other in others:
        theirs = depth(other, ra, dec)
        tie = other.field_id < geometry.field_id
        mine &= (own > theirs) | ((own == theirs) & (not tie))
    return mine


def bounding_circle(geometry: FieldGeometry) -> tuple[Float64, float]:
    """Centre (unit vector) and radius in radians of a circle that holds the whole footprint."""
    ny, nx = geometry.shape
    edge_x = np.linspace(-0.5, nx - 0.5, 9)
    edge_y = np.linspace(-0.5, ny - 0.5, 9)
    x = np.concatenate([edge_x, edge_x, np.full(9, -0.5), np.full(9, nx - 0.5), [(nx - 1) / 2]])
    y = np.concatenate([np.full(9, -0.5), np.full(9, ny - 0.5), edge_y, edge_y, [(ny - 1) / 2]])
    vectors = unit_vectors(*to_sky(geometry.wcs, x, y))
    centre = vectors[-1]
    chord = np.linalg.norm(vectors - centre, axis=1).max()
    return centre, float(2 * np.arcsin(min(1.0, chord / 2)))


class Overlaps:
    """Which fields lie beside which, by their bounding circles.

    A superset of the true overlaps, which is all that `primary` needs.
    """

    def __init__(self, footprints: Sequence[Footprint]) -> None:
        self._ids = [footprint.field_id for footprint in footprints]
        self._index = {name: index for index, name in enumerate(self._ids)}
        self._centres = np.array([footprint.centre for footprint in footprints]).reshape(-1, 3)
        self._radii = np.array([footprint.radius for footprint in footprints])
        self._widest = float(self._radii.max(initial=0.0))
        self._tree = cKDTree(self._centres) if footprints else None

    def around(self, field_id: str) -> tuple[str, ...]:
        """The ids of the fields whose circles meet a field's own, sorted; raises KeyError for a field not given."""
        index = self._index[field_id]
        if self._tree is None:
            return ()
        centre, radius = self._centres[index], self._radii[index]
        reach = 2 * np.sin(min(np.pi, radius + self._widest) / 2)
        near = [other for other in self._tree.query_ball_point(centre, reach) if other != index]
        chords = np.linalg.norm(self._centres[near] - centre, axis=1)
        angles = 2 * np.arcsin(np.clip(chords / 2, 0, 1))
        return tuple(sorted(self._ids[near[k]] for k in np.flatnonzero(angles <= radius + self._radii[near])))
