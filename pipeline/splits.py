"""Which split (training, validation or test) a galaxy, a file or a piece of sky belongs to, for ever.

A split is a function of an id's text alone: it doesn't change with the machine, the order of rows or what else
is there, so that pools that are made apart, at different times, still share nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal

import astropy.units as u
import cdshealpix.nested
import numpy as np
import numpy.typing as npt
from astropy.coordinates import Latitude, Longitude
from pydantic import AfterValidator

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

USUAL_SHARES: Mapping[str, float] = {"train": 0.6, "validation": 0.15, "test": 0.25}
"""Shares where a config doesn't say; one for all that is split, so that splits of two configs stay apart."""

USUAL_CELL = "1.5 arcmin"
"""Side of a sky cell where a config doesn't say: small enough for a field of ten arcminutes to have some of each."""

_BASE_SIDE = float(np.degrees(np.sqrt(4 * np.pi / 12)))
"""Side in degrees of a square of the area of a HEALPix cell of order 0."""


def _whole(value: dict[str, float]) -> dict[str, float]:
    if set(value) != set(SPLITS) or min(value.values()) < 0 or abs(sum(value.values()) - 1) > 1e-6:
        raise ValueError(f"give shares of {', '.join(SPLITS)} that add up to 1")
    return value


Shares = Annotated[dict[str, float], AfterValidator(_whole)]
"""Share of each of `SPLITS`, as a config has them."""


def split_of(key: int | str, shares: Mapping[str, float]) -> Split:
    """The split of one thing, by a hash of its id alone.

    Parameters
    ----------
    key : int or str
        7 and "7" are the same.
    shares : mapping
        Share of each of `SPLITS`. With other shares only the ids between the old edges and the new ones move.
    """
    place = int.from_bytes(hashlib.blake2b(str(key).encode(), digest_size=8).digest(), "big") / 2**64
    edge = 0.0
    for name in SPLITS:
        edge += shares[name]
        if place < edge:
            return name
    return SPLITS[-1]


def in_split(keys: Sequence[int | str] | Int64, split: Split, shares: Mapping[str, float]) -> Bool:
    """Which of many things belong to a split, (n,).

    Raises
    ------
    TypeError
        For an array of floats: ids that have been through one have lost digits.
    """
    values = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    if any(isinstance(key, float) for key in values):
        raise TypeError("ids are integers or text; as floats they have lost digits")
    return np.array([split_of(key, shares) == split for key in values], np.bool_)


def cell_order(side: float) -> int:
    """The HEALPix order whose cells are nearest to `side` degrees on a side, 0 to 29."""
    return int(np.clip(round(np.log2(_BASE_SIDE / side)), 0, 29))


def sky_cells(ra: Float64, dec: Float64, order: int) -> Int64:
    """Nested HEALPix cells of ICRS degrees, int64, same shape."""
    if np.size(ra) == 0:
        return np.empty(np.shape(ra), np.int64)
    flat = cdshealpix.nested.lonlat_to_healpix(
        Longitude(np.ravel(ra) % 360.0, u.deg), Latitude(np.clip(np.ravel(dec), -90, 90), u.deg), order
    )
    # cdshealpix answers in uint64; the largest index is below 2**62.
    return np.asarray(flat).astype(np.int64).reshape(np.shape(ra))


def stamps_in_split(
    ra: Float64, dec: Float64, reach: float, split: Split, cell: float, shares: Mapping[str, float]
) -> Bool:
    """Which square stamps lie wholly in sky cells of a split, so that splits share no pixel.

    A cell belongs to one split as a whole; stamps that reach into a cell of another belong to none.

    Parameters
    ----------
    ra, dec : float64 (n,), degrees
        Of the stamps' centres.
    reach : degrees
        Half a stamp's side; asked at its centre, the corners and the middles of the sides. Cells have to be larger
        than half a stamp, which is the caller's to check.
    split : str
    cell : degrees
        Side of a cell; see `cell_order`.
    shares : mapping
        Share of each split among the cells.
    """
    steps = np.array([-1.0, 0.0, 1.0]) * reach
    dx, dy = (part.ravel() for part in np.meshgrid(steps, steps))
    stretched = dx[None, :] / np.maximum(np.cos(np.radians(dec)), 1e-6)[:, None]
    order = cell_order(cell)
    touched = sky_cells(ra[:, None] + stretched, np.broadcast_to(dec[:, None] + dy[None, :], stretched.shape), order)
    fixed = tuple(shares.items())
    unique, place = np.unique(touched, return_inverse=True)
    wanted = np.array([_split_of_cell(number, order, fixed) == split for number in unique.tolist()], np.bool_)
    whole: Bool = np.all(wanted[place.reshape(touched.shape)], axis=1)
    return whole


@lru_cache(maxsize=65536)
def _split_of_cell(number: int, order: int, shares: tuple[tuple[str, float], ...]) -> Split:
    return split_of(f"sky/{order}/{number}", dict(shares))
