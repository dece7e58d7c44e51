"""Which split (training, validation or test) a galaxy, a file or a piece of sky belongs to, for ever.

A split is a function of an id's text alone: it doesn't change with the machine, the order of rows or what else
is there, so that pools that are made apart, at different times, still share nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import astropy.units as u
import cdshealpix.nested
import numpy as np
import numpy.typing as npt
from astropy.coordinates import Latitude, Longitude
from pydantic import AfterValidator

from pipeline.errors import ConfigError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_ORDERS = range(30)
"""Orders that HEALPix has."""


def _whole(value: dict[str, float]) -> dict[str, float]:
    if set(value) != set(SPLITS) or min(value.values()) < 0 or abs(sum(value.values()) - 1) > 1e-6:
        raise ValueError(f"give shares of {', '.join(SPLITS)} that add up to 1")
    return value


Shares = Annotated[dict[str, float], AfterValidator(_whole)]
"""Share of each of `SPLITS`, as a config has them."""


def split_of(key: int | str, shares: Mapping[str, float]) -> Split:
    """The split of one thing.

    Parameters
    ----------
    key : int or str
        Its id; 7 and "7" are the same.
    shares : mapping
        Share of each of `SPLITS`. With other shares only the ids between the old edges and the new ones move.
    """
    place = int.from_bytes(hashlib.blake2b(str(key).encode(), digest_size=8).digest(), "big") / 2**64
    edge = 0.0
    for name in SPLITS:
        edge += shares[name]
        if place < edge:
            return name
    return max(SPLITS, key=lambda name: shares[name])


def splits_of(keys: Sequence[int | str] | npt.NDArray[np.int64], shares: Mapping[str, float]) -> npt.NDArray[np.str_]:
    """The split of each of many things, (n,); equal keys have equal splits.

    Integers stay integers: an id that has been through a float is refused.

    Raises
    ------
    TypeError
        For an array of floats.
    """
    values = np.asarray(keys)
    if values.size == 0:
        return np.empty(0, "U10")
    if values.dtype.kind == "f":
        raise TypeError("ids are integers or text; as floats they have lost digits")
    unique, place = np.unique(values, return_inverse=True)
    names = np.array([split_of(key, shares) for key in unique.tolist()], "U10")
    answer: npt.NDArray[np.str_] = names[place]
    return answer


def cell_order(cell: float) -> int:
    """HEALPix order whose cells, taken as squares, have the side nearest to `cell` arcmin.

    A cell of order k has the side sqrt(4 pi / 12) / 2**k rad: 55 arcmin at order 6, 27 at 7, 14 at 8.

    Raises
    ------
    ConfigError
        If `cell` is not positive, or larger or smaller than any order's.
    """
    if not (math.isfinite(cell) and cell > 0):
        raise ConfigError(f"a sky cell of {cell!r} arcmin; give a positive angle, such as 30 arcmin.")
    order = round(math.log2(math.degrees(math.sqrt(math.pi / 3)) * 60 / cell))
    if order not in _ORDERS:
        raise ConfigError(f"sky cells of {cell:g} arcmin; HEALPix has them from 0.4 mas to 58 degrees.")
    return order


def sky_cells(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], cell: float) -> npt.NDArray[np.int64]:
    """Nested HEALPix index (n,) of ICRS degrees at the order that `cell` (arcmin) asks for.

    Raises
    ------
    ConfigError
        For an angle that is no cell's, or a position that is not finite.
    """
    order = cell_order(cell)
    ra_, dec_ = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    lost = np.flatnonzero(~(np.isfinite(ra_) & np.isfinite(dec_)))
    if lost.size:
        row = int(lost[0])
        raise ConfigError(f"row {row} is at ra {ra_[row]}, dec {dec_[row]}: no place on the sky; remove it.")
    if ra_.size == 0:
        return np.empty(0, np.int64)
    index = cdshealpix.nested.lonlat_to_healpix(Longitude(ra_, u.deg), Latitude(dec_, u.deg), order)
    # cdshealpix answers in uint64; the largest index is below 2**62.
    return np.asarray(index).astype(np.int64)


def sky_splits(
    ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], cell: float, shares: Mapping[str, float]
) -> npt.NDArray[np.str_]:
    """The split of positions (ICRS degrees) by the sky cell that they lie in, (n,).

    A cell belongs to one split as a whole. Objects closer than a stamp's width on both sides of a cell's border
    still see some of the same pixels: with cells of 27 arcmin and stamps of 20 arcsec that is one in twenty.

    Raises
    ------
    ConfigError
        As `sky_cells`.
    """
    order, cells = cell_order(cell), sky_cells(ra, dec, cell)
    unique, place = np.unique(cells, return_inverse=True)
    names = np.array([split_of(f"healpix/{order}/{index}", shares) for index in unique.tolist()], "U10")
    answer: npt.NDArray[np.str_] = names[place]
    return answer
