from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import (
    FieldGeometry,
    Footprints,
    Overlaps,
    depth,
    primary,
    separation,
    to_pixel,
    to_sky,
    unit_vectors,
)


def geometry(
    field_id: str, ra: float, dec: float, size: int = 200, scale: float = 0.3, turn: float = 0.0
) -> FieldGeometry:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(size + 1) / 2, (size + 1) / 2]
    angle = np.radians(turn)
    step = scale / 3600
    wcs.wcs.cd = step * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return FieldGeometry(field_id, (size, size), wcs)


def test_first_pixel_centre_is_zero_zero() -> None:
    field = geometry("a", 10.0, 20.0, size=101)
    ra, dec = to_sky(field.wcs, 50, 50)
    assert (float(ra), float(dec)) == pytest.approx((10.0, 20.0), abs=1e-10)


def test_sky_and_back() -> None:
    field = geometry("a", 359.9999, -60.0)
    x, y = np.meshgrid(np.linspace(-5, 205, 11), np.linspace(-5, 205, 11))
    back = to_pixel(field.wcs, *to_sky(field.wcs, x, y))
    np.testing.assert_allclose(back, (x, y), atol=1e-6)


def test_the_far_side_of_the_sky_has_no_pixel() -> None:
    field = geometry("a", 10.0, 20.0)
    assert np.isnan(to_pixel(field.wcs, [190.0], [-20.0])).all()
    assert depth(field, [190.0], [-20.0])[0] == -np.inf


def test_separation_agrees_with_astropy() -> None:
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, (2, 50)), rng.uniform(-90, 90, (2, 50))
    expected = SkyCoord(ra[0], dec[0], unit="deg").separation(SkyCoord(ra[1], dec[1], unit="deg")).deg
    np.testing.assert_allclose(separation(ra[0], dec[0], ra[1], dec[1]), expected, atol=1e-9)


def test_depth_is_the_distance_to_the_nearest_edge() -> None:
    field = geometry("a", 10.0, 20.0, size=100, scale=0.5)
    ra, dec = to_sky(field.wcs, [49.5, 9.5, -0.5, -10.5], [49.5, 50.0, 50.0, 50.0])
    np.testing.assert_allclose(depth(field, ra, dec), [25.0, 5.0, 0.0, -5.0], atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    ra=st.sampled_from([0.001, 180.0, 359.999]),
    dec=st.sampled_from([0.0, -75.0, 89.99, -90.0]),
    turns=st.lists(st.floats(0, 360), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_every_position_covered_by_some_field_has_one_owner(
    ra: float, dec: float, turns: list[float], seed: int
) -> None:
    offset = 40 / 3600
    fields = [
        geometry("a", ra, dec, turn=turns[0]),
        geometry("b", ra, max(-90.0, min(90.0, dec + offset)), turn=turns[1]),
        geometry("c", ra, max(-90.0, min(90.0, dec - offset)), turn=turns[2]),
    ]
    rng = np.random.default_rng(seed)
    points = [to_sky(field.wcs, rng.uniform(0, 199, 30), rng.uniform(0, 199, 30)) for field in fields]
    ras, decs = np.concatenate([p[0] for p in points]), np.concatenate([p[1] for p in points])
    owners = np.zeros(len(ras), int)
    for field in fields:
        inside = depth(field, ras, decs) > 0
        owners += inside & primary(field, [other for other in fields if other is not field], ras, decs)
    assert (owners == 1).all()


def test_equal_depth_goes_to_the_lower_id() -> None:
    a, b = geometry("a", 10.0, 20.0), geometry("b", 10.0, 20.0)
    assert primary(a, [b], [10.0], [20.0]).all()
    assert not primary(b, [a], [10.0], [20.0]).any()


def footprints(fields: list[FieldGeometry]) -> Footprints:
    columns = Footprints([field.field_id for field in fields])
    for number, field in enumerate(fields):
        columns.put(number, field.footprint())
    return columns


def test_footprints_come_back_from_their_columns_as_they_went_in() -> None:
    fields = [geometry("a", 10.0, -70.0, turn=30.0), geometry("b", 359.9, 0.1)]
    columns = Footprints(["a", "between", "b"])
    columns.put(0, fields[0].footprint())
    columns.put(2, fields[1].footprint())
    assert [columns.get(number) for number in range(3)] == [fields[0].footprint(), None, fields[1].footprint()]


def test_overlaps_hold_every_true_overlap() -> None:
    fields = [geometry(f"{i:02d}", 10 + i * 50 / 3600, 0.0) for i in range(8)]
    overlaps = Overlaps(footprints(fields))
    for index in range(8):
        for other_index in range(8):
            if abs(index - other_index) == 1:
                assert other_index in overlaps.around(index)
    assert 7 not in overlaps.around(0)
    assert Overlaps(footprints(fields[:1])).around(0) == ()
    with pytest.raises(KeyError):
        Overlaps(Footprints(["00"])).around(0)


def test_a_footprint_holds_the_whole_field_and_knows_its_area() -> None:
    field = geometry("a", 10.0, -70.0, turn=30.0)
    footprint = field.footprint()
    corners = unit_vectors(*to_sky(field.wcs, [-0.5, 199.5, -0.5, 199.5], [-0.5, -0.5, 199.5, 199.5]))
    assert (np.arccos(np.clip(corners @ np.array(footprint.centre), -1, 1)) <= footprint.radius * (1 + 1e-6)).all()
    assert footprint.area == pytest.approx(200 * 200 * (field.pixel_scale / 60) ** 2)


def test_token_changes_with_shape_and_wcs_only() -> None:
    assert geometry("a", 10, 20).token() == geometry("b", 10, 20).token()
    assert geometry("a", 10, 20).token() != geometry("a", 10, 20, size=202).token()
    assert geometry("a", 10, 20).token() != geometry("a", 10, 20.0001).token()
