"""The sky on a drawing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.catalogue.sky import WIDTH, chart_of, rectangles


def corners(ra, dec, side=1.0):
    n = len(ra)
    return rectangles(np.array(ra, float), np.array(dec, float), np.full(n, side), np.full(n, side), np.zeros(n))


def area(path: str) -> float:
    x, y = np.array([[float(v) for v in pair.split()] for pair in re.split("[ML]", path.rstrip("Z"))[1:]]).T
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def test_corners_lie_a_side_apart_also_near_a_pole() -> None:
    ra, dec = corners([10.0, 200.0], [0.0, 89.9], 0.5)
    for a, d in zip(np.radians(ra), np.radians(dec), strict=True):
        xyz = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)
        sides = np.degrees(np.linalg.norm(xyz - np.roll(xyz, -1, axis=0), axis=1))
        np.testing.assert_allclose(sides, 0.5, rtol=1e-3)


@pytest.mark.parametrize(
    ("ra", "dec", "whole"),
    [
        ([150.0, 150.2], [2.0, 2.2], False),
        ([359.9, 0.1], [-30.0, -30.0], False),
        ([0.0, 90.0, 180.0, 270.0], [89.0] * 4, False),
        ([0.0, 120.0, 240.0], [0.0, 40.0, -40.0], True),
        (list(range(0, 360, 10)), [-5.0] * 36, True),
    ],
)
def test_everything_is_on_the_drawing(ra, dec, whole: bool) -> None:
    corner_ra, corner_dec = corners(ra, dec)
    chart = chart_of(corner_ra.ravel(), corner_dec.ravel())
    assert chart.whole is whole
    for path in chart.polygons(corner_ra, corner_dec):
        numbers = np.array([float(number) for number in re.findall(r"-?[\d.]+", path)])
        assert (numbers[::2] >= -0.1).all()
        assert (numbers[::2] <= WIDTH + 0.1).all()
        assert (numbers[1::2] >= -0.1).all()
        assert (numbers[1::2] <= chart.height + 0.1).all()
    assert any(line.label for line in chart.grid())
    assert all(np.isfinite([line.x, line.y]).all() for line in chart.grid())


def test_equal_fields_have_equal_areas_wherever_they_are() -> None:
    ra, dec = corners([0.0, 100.0, 200.0, 300.0], [0.0, 50.0, -60.0, 20.0], 4.0)
    chart = chart_of(ra.ravel(), dec.ravel())
    areas = [area(path) for path in chart.polygons(ra, dec)]
    assert chart.whole
    # Edges are drawn straight and to a tenth of a unit.
    np.testing.assert_allclose(areas, areas[0], rtol=0.06)


def test_east_is_left_and_north_is_up() -> None:
    for chart in (
        chart_of(np.array([10.0, 12.0]), np.array([0.0, 2.0])),
        chart_of(np.arange(0.0, 360, 20), np.zeros(18)),
    ):
        x, y = chart.xy([chart.ra, chart.ra + 1, chart.ra], [0.0, 0.0, 1.0])
        assert x[1] < x[0]
        assert y[2] < y[0]


def test_a_field_on_the_cut_of_the_sky_is_not_drawn_across_it() -> None:
    ra, dec = corners(list(range(0, 360, 10)), [0.0] * 36, 3.0)
    chart = chart_of(ra.ravel(), dec.ravel())
    across, updown = corners([(chart.ra + 180) % 360], [0.0], 3.0)
    (path,) = chart.polygons(across, updown)
    x = np.array([float(number) for number in re.findall(r"-?[\d.]+", path)])[::2]
    assert np.ptp(x) < 10


def test_the_cut_goes_where_nothing_is() -> None:
    dec = np.where(np.arange(25) % 2, 60.0, -60.0)
    chart = chart_of(np.linspace(200, 340, 25) % 360, dec)
    assert chart.whole
    assert chart.ra == pytest.approx(270)


def test_a_turned_field_lies_along_its_turn() -> None:
    one = np.array([1.0])
    ra, dec = rectangles(np.array([50.0]), np.array([0.0]), 0.2 * one, 2 * one, 90 * one)
    # Its long side runs east and west.
    assert np.ptp(ra) == pytest.approx(2.0, rel=1e-3)
    assert np.ptp(dec) == pytest.approx(0.2, rel=1e-3)
    ra, dec = rectangles(np.array([50.0]), np.array([0.0]), 0.001 * one, 2 * one, 30 * one)
    top = dec[0].argmax()
    # 30 degrees from north through east: the upper end lies east by half of the length.
    assert (ra[0, top] - 50.0, dec[0, top]) == pytest.approx((0.5, 0.866), abs=2e-3)


def test_one_position_has_a_chart() -> None:
    chart = chart_of(np.array([5.0]), np.array([-20.0]))
    x, y = chart.xy(5.0, -20.0)
    assert 0 < x < WIDTH
    assert 0 < y < chart.height
