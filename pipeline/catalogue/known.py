"""Known lenses: a table of names and positions, and which of them is nearest to a position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from pipeline.catalogue.known_files import read_columns
from pipeline.catalogue.known_positions import declinations, degrees, right_ascensions
from pipeline.errors import QueryError
from pipeline.geometry import unit_vectors
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

ARCSEC = 180 * 3600 / np.pi
"""Seconds of arc in a radian."""

_RA = ("ra", "raj2000", "ra_j2000", "ra_icrs", "ra_deg", "radeg", "ra_lens", "lens_ra", "_ra")
_DEC = ("dec", "decj2000", "dej2000", "dec_j2000", "dec_icrs", "de_icrs", "dec_deg", "decdeg", "de", "lens_dec", "_dec")
_NAME = (
    "name",
    "lens_name",
    "lens",
    "object",
    "main_id",
    "system",
    "designation",
    "source_id",
    "id",
    "lens_id",
    "objid",
)
_GRADE = ("grading", "grade", "quality", "class", "rank")
_KIND = ("type", "kind", "lens_type")
_REFERENCE = ("ref", "refs", "reference", "references", "bibcode", "bibliography")


@dataclass(frozen=True)
class KnownLenses:
    """A table of known lenses, one entry a row as the file has them; an entry without a position is left out.

    Attributes
    ----------
    name : (n,) object array of str
        As the file writes it, unescaped; empty where it gives none.
    ra, dec : (n,) float64
        Degrees, ICRS (a table at equinox J2000 is taken as it is, 0.02 arcsec off at most); `ra` in 0 to 360.
    grade, kind, reference : (n,) object array of str
        Such as "confident", "galaxy" and a paper; empty where the file does not say.
    unplaced : int
        Rows of the file without a position.
    path : str
        Where the table came from.
    """

    name: Texts
    ra: Floats
    dec: Floats
    grade: Texts
    kind: Texts
    reference: Texts
    unplaced: int = 0
    path: str = ""

    def __len__(self) -> int:
        return len(self.ra)

    @cached_property
    def tree(self) -> KDTree:
        """The positions as unit vectors, so that distances hold at the poles and across ra 0."""
        return KDTree(unit_vectors(self.ra, self.dec))

    def select(self, wanted: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> KnownLenses:
        """The entries that a mask or an index array chooses, in its order."""
        return KnownLenses(
            self.name[wanted],
            self.ra[wanted],
            self.dec[wanted],
            self.grade[wanted],
            self.kind[wanted],
            self.reference[wanted],
            unplaced=self.unplaced,
            path=self.path,
        )


def read_known(path: str | Path | ObjectPath) -> KnownLenses:
    """Read known lenses from lenscat's CSV or any table with positions: CSV, TSV, ECSV, FITS, VOTable or Parquet.

    Columns are found by their UCD (`pos.eq.ra`, `pos.eq.dec`), else by the usual names (`ra`, `RAJ2000`,
    ``RA [deg]``, ...), case aside. Positions are degrees, unless the column has another unit or the text is
    sexagesimal: ``12:34:56.7`` and ``12h34m56.7s`` are hours for ra, degrees for dec.

    Parameters
    ----------
    path : str, Path or ObjectPath
        The format goes by the suffix.

    Raises
    ------
    QueryError
        If the file is missing or unreadable, has no column of positions (the message lists the columns that it
        has), or a position can't be read or can't be on the sky (the message names the row).
    """
    columns = read_columns(place(path))
    length = len(columns[0].values) if columns else 0
    ra, dec = columns.find("pos.eq.ra", _RA), columns.find("pos.eq.dec", _DEC)
    if ra is None or dec is None:
        absent = " and ".join(word for word, found in (("ra", ra), ("dec", dec)) if found is None)
        raise QueryError(
            f"{path}: no column of {absent} found by UCD or by the usual names; rename it to that. "
            f"Columns: {', '.join(columns.names) or 'none'}."
        )
    east = right_ascensions(degrees(ra, str(path), hours=True), ra.name, str(path))
    north = declinations(degrees(dec, str(path), hours=False), dec.name, str(path))
    placed = np.isfinite(east) & np.isfinite(north)

    def text(names: Sequence[str], ucd: str | None = None) -> Texts:
        column = columns.find(ucd, names)
        every = column.text() if column is not None else np.full(length, "", object)
        return every[placed]

    return KnownLenses(
        text(_NAME, "meta.id;meta.main"),
        east[placed],
        north[placed],
        text(_GRADE),
        text(_KIND),
        text(_REFERENCE),
        unplaced=int((~placed).sum()),
        path=str(path),
    )


def nearest(known: KnownLenses, ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], Floats]:
    """The nearest known lens to each position, however far.

    Parameters
    ----------
    known : KnownLenses
    ra, dec : (n,) degrees, ICRS

    Returns
    -------
    index : (n,) int64
        Entry of `known`; -1 where the position is not finite, or where `known` is empty.
    separation : (n,) float64
        Arc seconds on the great circle; NaN where the index is -1.
    """
    ra, dec = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
    index, separation = np.full(len(ra), -1, np.int64), np.full(len(ra), np.nan)
    good = np.isfinite(ra) & np.isfinite(dec)
    if len(known) and good.any():
        chord, index[good] = known.tree.query(unit_vectors(ra[good], dec[good]))
        separation[good] = chord_arcsec(chord)
    return index, separation


def chord_arcsec(chord: npt.ArrayLike) -> Floats:
    """The angle in arc seconds that a chord of the unit sphere spans."""
    return np.asarray(2 * np.arcsin(np.clip(np.asarray(chord, np.float64) / 2, 0, 1)) * ARCSEC)


def arcsec_chord(arcsec: float) -> float:
    """The chord of the unit sphere that spans an angle in arc seconds, of 0 to 180 degrees."""
    return float(2 * np.sin(min(arcsec / ARCSEC, np.pi) / 2))
