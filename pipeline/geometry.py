"""Where a field is on the sky, and which of its objects it owns.

Pixel coordinates are 0-based with the centre of pixel (0, 0) at (0, 0); FITS's 1-based origin is
converted here and nowhere else. Sky positions are ICRS degrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


class Footprints:
    """Footprints of many fields, by the number of each among them, in columns of a hundred bytes a field.

    None is known at first.

    Parameters
    ----------
    ids : sequence of str
        Of the fields, in order.

    Attributes
    ----------
    known : bool (n,)
    shape : int32 (n, 2)
    pixel_scale, radius : float64 (n,)
    centre : float64 (n, 3)
    token : bytes (n,) of 32 hex digits
        As `Footprint` has them; meaningless where not `known`.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        number = len(ids)
        self.ids = ids
        self.known = np.zeros(number, bool)
        self.shape = np.zeros((number, 2), np.int32)
        self.pixel_scale = np.zeros(number)
        self.radius = np.zeros(number)
        self.centre = np.zeros((number, 3))
        self.token = np.zeros(number, "S32")

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """The columns but `known`, always in the same order."""
        return self.shape, self.pixel_scale, self.radius, self.centre, self.token

    def put(self, number: int, footprint: Footprint) -> None:
        """Make one known."""
        self.known[number] = True
        self.shape[number] = footprint.shape
        self.pixel_scale[number] = footprint.pixel_scale
        self.radius[number] = footprint.radius
        self.centre[number] = footprint.centre
        self.token[number] = footprint.token.encode()

    def get(self, number: int) -> Footprint | None:
        """One of them, None if it is not known."""
        if not self.known[number]:
            return None
        ny, nx = map(int, self.shape[number])
        x, y, z = map(float, self.centre[number])
        scale, radius = float(self.pixel_scale[number]), float(self.radius[number])
        return Footprint(self.ids[number], (ny, nx), scale, (x, y, z), radius, self.token[number].decode())


class Overlaps:
    """Which fields lie beside which, by their bounding circles.

    A superset of the true overlaps, which is all that `primary` needs.
    """

    def __init__(self, footprints: Footprints) -> None:
        self._footprints = footprints
        self._numbers = np.flatnonzero(footprints.known)
        self._widest = float(footprints.radius[self._numbers].max(initial=0.0))
        self._tree = cKDTree(footprints.centre[self._numbers]) if self._numbers.size else None

    def around(self, number: int) -> tuple[int, ...]:
        """The numbers of the fields whose circles meet a field's own, in order; raises KeyError if it is not known."""
        if self._tree is None or not self._footprints.known[number]:
            raise KeyError(number)
        centre, radius = self._footprints.centre[number], self._footprints.radius[number]
        reach = 2 * np.sin(min(np.pi, radius + self._widest) / 2)
        near = np.sort(self._numbers[self._tree.query_ball_point(centre, reach)])
        near = near[near != number]
        chords = np.linalg.norm(self._footprints.centre[near] - centre, axis=1)
        angles = 2 * np.arcsin(np.clip(chords / 2, 0, 1))
        return tuple(near[angles <= radius + self._footprints.radius[near]].tolist())
