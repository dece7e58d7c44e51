"""Parts of the sky that a query may ask for: a cone, or a MOC; exact for each row, with ranges to skip most rows by."""

from __future__ import annotations

from dataclasses import dataclass
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

Ranges = npt.NDArray[np.int64]


class Region(Protocol):
    """A part of the sky."""

    def ranges(self) -> Ranges | None:
        """Ranges of `_healpix_29` that cover the region, int64 (n, 2), the last cell excluded, sorted.

        At most `MOST_RANGES`; None where there is nothing to gain.
        """

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
        depth = int(np.clip(np.ceil(np.log2(58.6 / radius)) + 2, 0, 24))
        cells, depths, _ = cdshealpix.nested.cone_search(
            Longitude(self.ra % 360.0 * units.deg), Latitude(self.dec * units.deg), radius * units.deg, depth
        )
        shift = (2 * (ORDER - depths.astype(np.int64))).astype(np.int64)
        first = cells.astype(np.int64) << shift
        return merged(np.stack([first, first + (np.int64(1) << shift)], axis=1), MOST_RANGES)

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
class Both:
    """Positions in both of two regions."""

    one: Region
    other: Region

    def ranges(self) -> Ranges | None:
        """Those of the region that has fewer cells."""
        found = [ranges for ranges in (self.one.ranges(), self.other.ranges()) if ranges is not None]
        return min(found, key=lambda ranges: int((ranges[:, 1] - ranges[:, 0]).sum()), default=None)

    def inside(self, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which positions both hold."""
        return self.one.inside(ra, dec) & self.other.inside(ra, dec)


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
