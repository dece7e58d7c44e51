"""Parts of the sky that a query may ask for: exact for each row, with ranges of cells to skip most rows by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import cdshealpix.nested
import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import Latitude, Longitude

from pipeline.errors import QueryError

ORDER = 29
"""HEALPix order of `_healpix_29`: cells of 0.4 mas."""

MOST_RANGES = 48
"""Ranges that row groups are skipped by; more would take longer to compare than they save."""

_STRIP = 15.0
"""Degrees of right ascension of a zone that is asked for at once."""

Ranges = npt.NDArray[np.int64]


class Region(Protocol):
    """A part of the sky."""

    def ranges(self) -> Ranges | None:
        """Ranges of `_healpix_29` that cover the region, int64 (n, 2), the last cell excluded, sorted.

        At most `MOST_RANGES`; None where there is nothing to gain.
        """

    def boxes(self) -> tuple[Box, ...]:
        """Boxes each of which holds the whole region."""

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which positions (deg, ICRS) are in the region; NaN is outside."""


@dataclass(frozen=True)
class Cone:
    """Positions within `radius` of (ra, dec), the edge included; all in degrees, correct at poles and at ra 0."""

    ra: float
    dec: float
    radius: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.ra):
            raise QueryError(f"cone: ra {self.ra} must be a finite number of degrees.")
        if not -90 <= self.dec <= 90:
            raise QueryError(f"cone: dec {self.dec} must lie in -90 to 90 degrees.")
        if not 0 <= self.radius <= 180:
            raise QueryError(f"cone: radius {self.radius} must lie in 0 to 180 degrees.")

    def ranges(self) -> Ranges | None:
        """Cells about a quarter of the radius in size that touch the cone; None beyond 60 degrees."""
        if self.radius > 60:
            return None
        # A little wider than asked, so that rounding can't lose the edge; cells have a side of 58.6 deg / 2**depth.
        radius = self.radius + 1e-6
        depth = _depth(radius)
        cells, depths, _ = cdshealpix.nested.cone_search(
            Longitude(self.ra % 360.0 * units.deg), Latitude(self.dec * units.deg), radius * units.deg, depth
        )
        return _covering(cells, depths)

    def boxes(self) -> tuple[Box, ...]:
        """One; all around where a pole is inside."""
        radius = self.radius + 1e-6
        low, high = max(self.dec - radius, -90.0), min(self.dec + radius, 90.0)
        if low <= -90 or high >= 90:
            return (Box(0, 360, low, high),)
        half = np.degrees(np.arcsin(np.sin(np.radians(radius)) / np.cos(np.radians(self.dec)))) + 1e-6
        return (Box(self.ra - half, self.ra + half, low, high),)

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Angular distance by the haversine formula, which keeps its precision at small separations."""
        dec0, dec1 = np.radians(self.dec), np.radians(dec)
        half = np.sin((dec1 - dec0) / 2) ** 2
        half = half + np.cos(dec0) * np.cos(dec1) * np.sin(np.radians(ra - self.ra) / 2) ** 2
        near: npt.NDArray[np.bool_] = 2 * np.arcsin(np.sqrt(np.clip(half, 0, 1))) <= np.radians(self.radius) + 1e-15
        return near


@dataclass(frozen=True)
class Footprint:
    """The cells of a MOC, as sorted ranges of order 29: int64 (n, 2), the last cell excluded."""

    cells: Ranges

    def ranges(self) -> Ranges | None:
        """The MOC's own ranges, nearest neighbours joined where there are many."""
        return merged(self.cells, MOST_RANGES)

    def boxes(self) -> tuple[Box, ...]:
        """None: the cells say more."""
        return ()

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether the cell of order 29 that holds a position is in the MOC."""
        found = np.zeros(len(ra), bool)
        good = np.isfinite(ra) & np.isfinite(dec)
        if not len(self.cells) or not good.any():
            return found
        cell = cdshealpix.nested.lonlat_to_healpix(
            Longitude(ra[good] % 360.0 * units.deg), Latitude(dec[good] * units.deg), ORDER
        ).astype(np.int64)
        index = np.searchsorted(self.cells[:, 0], cell, side="right") - 1
        found[good] = (index >= 0) & (cell < self.cells[np.maximum(index, 0), 1])
        return found


@dataclass(frozen=True)
class Box:
    """Positions between two meridians, going east from the first, and two parallels, in degrees; edges are inside."""

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.ra_min, self.ra_max]).all():
            raise QueryError(f"box: ra {self.ra_min} to {self.ra_max} must be finite numbers of degrees.")
        if not -90 <= self.dec_min <= self.dec_max <= 90:
            raise QueryError(f"box: dec {self.dec_min} to {self.dec_max} must rise within -90 to 90 degrees.")

    @property
    def width(self) -> float:
        """Degrees of right ascension; 360 where the second meridian is a turn or more ahead of the first."""
        ahead = self.ra_max - self.ra_min
        return 360.0 if ahead >= 360 else ahead % 360.0

    def ranges(self) -> Ranges | None:
        """Cells that touch the box; None where that is most of the sky."""
        if self.width > 180:
            return None
        margin = 1e-6
        # A strip that is no wider than a cell would take as many cells as it is long: its length bounds their number.
        short, long = sorted((self.width, self.dec_max - self.dec_min))
        side = max(short, long / 1024, margin)
        low, high = max(self.dec_min - margin, -90.0), min(self.dec_max + margin, 90.0)
        # In strips, since `zone_search` passes over cells near the north pole where a zone is wide.
        strips = int(np.ceil((self.width + margin) / _STRIP))
        edges = self.ra_min + np.linspace(-margin, self.width + margin, 1 + strips)
        found = [
            cdshealpix.nested.zone_search(
                Longitude(west % 360.0 * units.deg),
                Latitude(low * units.deg),
                Longitude(east % 360.0 * units.deg),
                Latitude(high * units.deg),
                _depth(side),
            )
            for west, east in pairwise(edges)
        ]
        cells, depths = (np.concatenate([part[at] for part in found]) for at in (0, 1))
        return _covering(cells, depths)

    def boxes(self) -> tuple[Box, ...]:
        """Itself."""
        return (self,)

    def touches(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which boxes (n, 4), as ra_min, ra_max, dec_min, dec_max without a crossing of 0, have a part in this one."""
        ra_min, ra_max, dec_min, dec_max = boxes.T
        margin = 1e-9
        touches: npt.NDArray[np.bool_] = (dec_max >= self.dec_min - margin) & (dec_min <= self.dec_max + margin)
        if self.width < 360:
            with np.errstate(invalid="ignore"):
                ahead = np.mod(ra_min - self.ra_min, 360.0)
            wide = ~np.isfinite(ahead)
            touches &= wide | (ahead <= self.width + margin) | (ahead + (ra_max - ra_min) >= 360.0 - margin)
        return touches

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which positions lie between the meridians and the parallels."""
        ahead = np.mod(np.asarray(ra) - self.ra_min, 360.0)
        east = (ahead <= self.width) | (ahead == 0) | (self.width == 360)
        found: npt.NDArray[np.bool_] = east & (dec >= self.dec_min) & (dec <= self.dec_max) & np.isfinite(ra)
        return found


@dataclass(frozen=True)
class Polygon:
    """Positions inside a polygon whose sides are great circles, given by its corners (ra, dec) in degrees.

    It is the side that holds the middle of the corners, and must lie within a hemisphere around it, where a gnomonic
    projection makes its sides straight. Where sides cross, what an even number of them surrounds is outside.
    """

    corners: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.corners) < 3:
            raise QueryError(f"polygon: {len(self.corners)} corners; three or more are needed.")
        ra, dec = np.array(self.corners, np.float64).T
        if not np.isfinite(ra).all() or not (np.abs(dec) <= 90).all():
            raise QueryError("polygon: corners are pairs of a finite ra and a dec in -90 to 90 degrees.")
        apart = len(np.unique(np.round(_unit(ra, dec), 12), axis=0))
        if apart < 3:
            raise QueryError(f"polygon: {apart} different corners; three or more are needed.")
        _, _, depth = self._projected(ra, dec)
        if not (depth > 1e-3).all():
            raise QueryError("polygon: it must lie well within a hemisphere; give a MOC for a larger part of the sky.")

    def _projected(
        self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Gnomonic coordinates about the middle, and the cosine of the distance from it."""
        corners = _unit(*np.array(self.corners, np.float64).T)
        middle = corners.sum(axis=0)
        if np.linalg.norm(middle) < 1e-6:
            raise QueryError("polygon: its corners surround the whole sky; give a MOC instead.")
        middle /= np.linalg.norm(middle)
        aside = np.array([0.0, 0.0, 1.0]) if abs(middle[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        east = np.cross(aside, middle)
        east /= np.linalg.norm(east)
        position = _unit(ra, dec)
        depth = position @ middle
        with np.errstate(divide="ignore", invalid="ignore"):
            return position @ east / depth, position @ np.cross(middle, east) / depth, depth

    def ranges(self) -> Ranges | None:
        """Cells that touch the polygon."""
        ra, dec = np.array(self.corners, np.float64).T
        corners = _unit(ra, dec)
        spread = np.degrees(2 * np.arcsin(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).max() / 2))
        cells, depths, _ = cdshealpix.nested.polygon_search(
            Longitude(ra % 360.0 * units.deg), Latitude(dec * units.deg), _depth(max(spread / 2, 1e-6))
        )
        return _covering(cells, depths)

    def boxes(self) -> tuple[Box, ...]:
        """That of a circle about the middle of the corners, from which no position inside is farther than a corner."""
        corners = _unit(*np.array(self.corners, np.float64).T)
        x, y, z = middle = corners.sum(axis=0) / np.linalg.norm(corners.sum(axis=0))
        far = float(np.degrees(np.arccos(np.clip(corners @ middle, -1, 1)).max()))
        return Cone(float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arcsin(z))), min(far, 90.0)).boxes()

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether an odd number of sides lies on one side of a position, in projection."""
        x, y, depth = self._projected(np.asarray(ra, np.float64), np.asarray(dec, np.float64))
        u, v, _ = self._projected(*np.array(self.corners, np.float64).T)
        odd = np.zeros(len(x), bool)
        for start in range(len(u)):
            x0, y0, x1, y1 = u[start - 1], v[start - 1], u[start], v[start]
            if y0 == y1:
                continue
            spans = (y0 > y) != (y1 > y)
            odd ^= spans & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        return odd & (depth > 0)


@dataclass(frozen=True)
class Both:
    """Positions in both of two regions."""

    one: Region
    other: Region

    def ranges(self) -> Ranges | None:
        """Those of the region that has fewer cells."""
        found = [ranges for ranges in (self.one.ranges(), self.other.ranges()) if ranges is not None]
        return min(found, key=lambda ranges: int((ranges[:, 1] - ranges[:, 0]).sum()), default=None)

    def boxes(self) -> tuple[Box, ...]:
        """Those of both."""
        return (*self.one.boxes(), *self.other.boxes())

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which positions both hold."""
        return self.one.inside(ra, dec) & self.other.inside(ra, dec)


def region_of(
    cone: Sequence[float] | None = None,
    box: Sequence[float] | None = None,
    polygon: Sequence[Sequence[float]] | None = None,
    moc: str | Path | None = None,
) -> Region | None:
    """What all the regions given have in common; None if none is given.

    Raises
    ------
    QueryError
        If one of them is no part of the sky.
    """
    for name, given, parts in (
        ("cone", cone, ("ra", "dec", "radius")),
        ("box", box, ("ra_min", "ra_max", "dec_min", "dec_max")),
    ):
        if given is not None and len(given) != len(parts):
            raise QueryError(f"{name}: {len(given)} numbers; give {', '.join(parts)} in degrees.")
    regions: list[Region] = []
    if cone is not None:
        regions.append(Cone(*map(float, cone)))
    if box is not None:
        regions.append(Box(*map(float, box)))
    if polygon is not None:
        if any(len(corner) != 2 for corner in polygon):
            raise QueryError("polygon: each corner is a pair, ra and dec in degrees.")
        regions.append(Polygon(tuple((float(ra), float(dec)) for ra, dec in polygon)))
    if moc is not None:
        regions.append(read_footprint(Path(moc)))
    return reduce(Both, regions) if regions else None


def read_footprint(path: Path) -> Footprint:
    """Read a space MOC: FITS, JSON or ASCII, told apart by the suffix (.json, .txt or .ascii, else FITS).

    Raises
    ------
    QueryError
        If the file is missing or no MOC of the sky.
    """
    from mocpy import MOC

    form = {".json": "json", ".txt": "ascii", ".ascii": "ascii"}.get(path.suffix.lower(), "fits")
    if not path.is_file():
        raise QueryError(f"moc: {path} does not exist.")
    try:
        moc = MOC.load(str(path), format=form)
    except (OSError, ValueError) as error:
        raise QueryError(f"moc: {path} is not a {form} MOC of the sky ({error}).") from error
    cells = np.asarray(moc.to_depth29_ranges, dtype=np.uint64).reshape(-1, 2)
    return Footprint(cells.astype(np.int64))


def merged(ranges: Ranges, most: int) -> Ranges:
    """Sorted ranges with the smallest gaps closed until at most `most` are left."""
    if not len(ranges):
        return ranges.reshape(0, 2)
    ordered = ranges[np.argsort(ranges[:, 0], kind="stable")]
    gaps = ordered[1:, 0] - np.maximum.accumulate(ordered[:, 1])[:-1]
    keep = gaps > 0
    if keep.sum() > most - 1:
        keep &= gaps > np.sort(gaps)[len(gaps) - most]
    starts = np.concatenate([[True], keep])
    ends = np.concatenate([keep, [True]])
    return np.stack([ordered[starts, 0], np.maximum.accumulate(ordered[:, 1])[ends]], axis=1)


def _depth(size: float) -> int:
    """A HEALPix order whose cells are about a quarter of a size in degrees; a cell's side is 58.6 deg / 2**order."""
    return int(np.clip(np.ceil(np.log2(58.6 / size)) + 2, 0, 24))


def _covering(cells: npt.NDArray[np.uint64], depths: npt.NDArray[np.uint8]) -> Ranges:
    """Cells of several orders as a few ranges of order 29."""
    shift = 2 * (ORDER - depths.astype(np.int64))
    first = cells.astype(np.int64) << shift
    return merged(np.stack([first, first + (np.int64(1) << shift)], axis=1), MOST_RANGES)


def _unit(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Unit vectors (n, 3) of positions in degrees."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
