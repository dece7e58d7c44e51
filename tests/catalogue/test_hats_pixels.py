"""Pixels of a HATS catalogue and their margins, against counting by hand and against walking round every row."""

from __future__ import annotations

import itertools

import cdshealpix.nested
import numpy as np
import numpy.typing as npt
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude, SkyCoord

from pipeline.catalogue.hats_metadata import margin_order
from pipeline.catalogue.hats_pixels import COUNT_ORDER, Pixels, margin_pairs, partitions, with_rest_of_sky

Int64 = npt.NDArray[np.int64]

HARD = {
    "right ascension 0": (0.0, 0.0),
    "just below 360": (359.9999, -41.81),
    "north pole": (0.0, 90.0),
    "south pole": (0.0, -90.0),
    "near a pole": (180.0, 89.9),
    "three base pixels meet": (45.0, 41.8103149),
    "four base pixels meet": (45.0, 0.0),
    "inside a base pixel": (200.0, 30.0),
}


def cells_of(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], order: int) -> Int64:
    cells = cdshealpix.nested.lonlat_to_healpix(Longitude(ra * units.deg), Latitude(dec * units.deg), order)
    return cells.astype(np.int64)


def counted(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], most: int) -> Pixels:
    return partitions(*np.unique(cells_of(ra, dec, COUNT_ORDER), return_counts=True), most)


def listed(pixels: Pixels) -> list[tuple[int, int]]:
    return list(zip(pixels.order.tolist(), pixels.pixel.tolist(), strict=True))


def test_no_rows_give_no_pixels_and_the_rest_is_the_whole_sky() -> None:
    none = np.empty(0, np.int64)
    assert len(partitions(none, none, 10)) == 0
    assert listed(with_rest_of_sky(Pixels(none, none))) == [(0, pixel) for pixel in range(12)]


def test_rows_that_fit_stand_in_the_smallest_pixel_that_holds_them_all() -> None:
    cells = np.array([5 * 4**COUNT_ORDER + 1, 5 * 4**COUNT_ORDER + 2])
    assert listed(partitions(cells, np.array([3, 4]), 10)) == [(COUNT_ORDER - 1, 5 * 4 ** (COUNT_ORDER - 1))]
    assert listed(partitions(cells[:1], np.array([3]), 10)) == [(COUNT_ORDER, int(cells[0]))]


def test_a_pixel_with_too_many_rows_is_split_and_a_cell_is_not() -> None:
    cells = np.array([0, 1, 4, 4**COUNT_ORDER])
    assert listed(partitions(cells, np.array([5, 5, 1, 7]), 10)) == [
        (COUNT_ORDER - 1, 0),
        (COUNT_ORDER, 4),
        (COUNT_ORDER, 4**COUNT_ORDER),
    ]
    assert listed(partitions(cells[:2], np.array([500, 5]), 10)) == [(COUNT_ORDER, 0), (COUNT_ORDER, 1)]


def test_every_row_lies_in_one_pixel_that_holds_no_more_than_it_may() -> None:
    random = np.random.default_rng(3)
    ra, dec = random.random(5000) * 360, np.degrees(np.arcsin(random.random(5000) * 2 - 1))
    for most in (1, 30, 700, 10_000):
        pixels = counted(ra, dec, most)
        home = pixels.of(cells_of(ra, dec, 29))
        assert home.min() >= 0
        rows = np.bincount(home, minlength=len(pixels))
        assert rows.min() > 0
        assert np.all((rows <= most) | (pixels.order == COUNT_ORDER))
        for (order, pixel), (other, nested) in itertools.pairwise(listed(pixels)):
            assert (pixel + 1) * 4 ** (29 - order) <= nested * 4 ** (29 - other)


def test_the_rest_of_the_sky_covers_it_once() -> None:
    sky = with_rest_of_sky(counted(np.array([10.0, 200.0]), np.array([0.0, 80.0]), 1))
    first, behind = sky.ranges()
    assert (first[0], behind[-1]) == (0, 12 * 4**29)
    assert np.array_equal(first[1:], behind[:-1])


@pytest.mark.parametrize("arcsec", [1.0, 10.0, 240.0])
@pytest.mark.parametrize("place", HARD)
def test_whatever_is_within_the_margin_of_a_pixel_is_in_its_margin(place: str, arcsec: float) -> None:
    random = np.random.default_rng(11)
    centre = SkyCoord(*HARD[place], unit="deg")
    number = 400
    rows = centre.directional_offset_by(
        random.random(number) * 360 * units.deg, np.sqrt(random.random(number)) * 3 * arcsec * units.arcsec
    )
    order = margin_order(arcsec)
    sky = with_rest_of_sky(counted(rows.ra.deg, rows.dec.deg, 20))
    row, pixel = margin_pairs(cells_of(rows.ra.deg, rows.dec.deg, order), order, sky)
    given = set(zip(row.tolist(), pixel.tolist(), strict=True))
    assert len(given) == len(row)
    home = sky.of(cells_of(rows.ra.deg, rows.dec.deg, 29))
    assert all(home[each] != other for each, other in given)
    needed = set()
    for angle in np.arange(0, 360, 15):
        near = rows.directional_offset_by(angle * units.deg, 0.999 * arcsec * units.arcsec)
        other = sky.of(cells_of(near.ra.deg, near.dec.deg, 29))
        needed |= {(int(each), int(other[each])) for each in np.flatnonzero(other != home)}
    assert needed <= given
    # A rim is one cell wide: of rows up to three margins from a corner some are in no margin, but not near all.
    if place != "inside a base pixel":
        assert needed


def test_a_row_away_from_every_rim_is_in_no_margin() -> None:
    sky = with_rest_of_sky(counted(np.array([200.0]), np.array([30.0]), 1))
    middle = sky.pixel[sky.order == COUNT_ORDER]
    lon, lat = cdshealpix.nested.healpix_to_lonlat(middle.astype(np.uint64), COUNT_ORDER)
    row, _ = margin_pairs(cells_of(lon.deg, lat.deg, 13), 13, sky)
    assert not len(row)
