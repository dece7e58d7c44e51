"""Maps of cutouts and what is measured on them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.scan.maps import Maps, measures


def plane(n: int = 1, size: int = 20) -> np.ndarray:
    return np.zeros((n, size, size), np.float32)


def test_the_peak_is_the_centre_of_light_about_the_highest_pixel():
    light = plane()
    light[0, 5, 12], light[0, 5, 13] = 0.9, 0.9
    found = measures(Maps(light, plane()), plane() + 1, 0.3)
    assert (found.lens.x[0], found.lens.y[0]) == pytest.approx((12.5, 5.0))
    assert found.lens.peak[0] == pytest.approx(0.9)


def test_area_and_light_are_in_square_arcseconds():
    light = plane()
    light[0, 2:4, 2:5] = 0.8
    light[0, 10, 10] = 0.4
    found = measures(Maps(light, plane()), plane() + 1, 0.5)
    assert found.lens.area[0] == pytest.approx(6 * 0.25)
    assert found.lens.light[0] == pytest.approx((6 * 0.8 + 0.4) * 0.25)


def test_a_map_without_light_has_no_position_and_no_area():
    found = measures(Maps(plane() + 0.1, plane()), plane() + 1, 0.3)
    assert np.isnan([found.lens.x[0], found.lens.y[0]]).all()
    assert found.lens.area[0] == 0


@pytest.mark.parametrize(("covered", "share"), [("arc", 1.0), ("elsewhere", 0.0), ("half", 0.5)])
def test_the_overlap_is_the_share_of_what_the_score_rests_on_that_an_artefact_covers(covered: str, share: float):
    light, artefact, saliency = plane(), plane(), plane()
    light[0, 4:6, 4:10] = 1.0
    saliency[0, 4:6, 4:10] = 1.0
    rows, columns = {"arc": (4, 4), "elsewhere": (14, 4), "half": (4, 7)}[covered]
    artefact[0, rows : rows + 2, columns : columns + 6] = 1.0
    assert measures(Maps(light, artefact), saliency, 0.3).artefact_overlap[0] == pytest.approx(share, abs=0.01)


def test_a_score_that_rests_on_what_is_no_lens_light_is_covered_too():
    artefact, saliency = plane(), plane()
    artefact[0, 3:6, 3:6] = saliency[0, 3:6, 3:6] = 1.0
    assert measures(Maps(plane(), artefact), saliency, 0.3).artefact_overlap[0] == pytest.approx(1.0)


def test_nothing_is_measured_where_nothing_is_known():
    unknown = np.full((2, 20, 20), np.nan, np.float32)
    unknown[1] = 0.2
    found = measures(Maps(unknown, unknown), plane(2), 0.3)
    assert np.isnan(found.lens.peak[0])
    assert np.isnan(found.lens.area[0])
    assert found.lens.peak[1] == pytest.approx(0.2)
    # No member found anything that speaks for a lens.
    assert np.isnan(found.artefact_overlap).all()


def test_no_cutouts_have_no_measures():
    none = plane(0)
    assert len(measures(Maps(none, none), none, 0.3).lens.peak) == 0


def test_light_on_one_side_is_off_centre_and_light_around_is_not():
    light = plane(2, 21)
    light[0, 10, 14:18] = 1.0
    light[1, 4, 10] = light[1, 16, 10] = light[1, 10, 4] = light[1, 10, 16] = 1.0
    found = measures(Maps(light, plane(2, 21)), plane(2, 21) + 1, 0.5)
    assert found.lens.sides.tolist() == pytest.approx([1 / 12, 4 / 12])
    assert found.lens.off_centre.tolist() == pytest.approx([5.5 * 0.5, 0.0], abs=1e-6)
