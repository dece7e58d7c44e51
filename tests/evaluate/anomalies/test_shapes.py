"""Widths and elongations of objects whose shapes are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.anomalies.shapes import gaussian_fwhm, shapes

SCALE = 0.25


def gaussian(x: float = 0, y: float = 0, sigma_x: float = 0.5, sigma_y: float = 0.5, flux: float = 1e4) -> np.ndarray:
    rows, columns = (np.mgrid[:48, :48] - 23.5) * SCALE
    peak = flux * SCALE**2 / (2 * np.pi * sigma_x * sigma_y)
    return peak * np.exp(-0.5 * (((columns - x) / sigma_x) ** 2 + ((rows - y) / sigma_y) ** 2))


def noise(seed: int, level: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(7, level, (48, 48))


@pytest.mark.parametrize("fwhm", [0.8, 1.1, 1.6])
def test_the_width_of_a_gaussian_is_found_wherever_its_peak_is(fwhm: float):
    sigma = fwhm / 2.3548
    image = np.stack([gaussian(x, y, sigma, sigma) for x, y in ((0, 0), (0.12, -0.1), (0.4, 0.3))])
    assert gaussian_fwhm(image + 3.0, SCALE) == pytest.approx([fwhm] * 3, rel=0.01)


def test_a_faint_object_has_about_its_width_and_a_missing_part_of_the_sky_changes_little():
    image = np.stack([gaussian(flux=2000) + noise(seed, 3.0) for seed in range(30)])
    whole = gaussian_fwhm(image, SCALE)
    assert np.median(whole) == pytest.approx(0.5 * 2.3548, rel=0.05)
    image[:, 40:] = np.nan
    np.testing.assert_allclose(gaussian_fwhm(image, SCALE), whole, rtol=0.05)


def test_nothing_and_a_neighbour_have_no_width():
    found = gaussian_fwhm(np.stack([np.zeros((48, 48)), np.full((48, 48), np.nan), gaussian(x=2.5)]), SCALE)
    assert np.isnan(found).all()


def test_moments_of_a_wide_gaussian_are_its_own():
    found = shapes((gaussian(0.3, 0.4, 0.9, 0.6, 1e7) + noise(1))[None], SCALE, 5.0)[0]
    # (0.81 - 0.36) / (0.81 + 0.36), sqrt((0.81 + 0.36) / 2), and 3-4-5.
    assert found == pytest.approx([0.3846, 0.7649, 0.5], abs=0.01)


def test_two_images_are_longer_than_one_at_any_angle():
    ellipticities = []
    for angle in np.linspace(0, np.pi, 7):
        x, y = 0.8 * np.cos(angle), 0.8 * np.sin(angle)
        pair = gaussian(x, y) + gaussian(-x, -y) + noise(2)
        ellipticities.append(shapes(pair[None], SCALE, 4.0)[0, 0])
    # Along the pair 0.25 + 0.64, across it 0.25.
    assert ellipticities == pytest.approx([0.64 / 1.14] * 7, abs=0.02)


def test_blank_sky_has_no_shape_that_is_finite_by_chance():
    assert np.isnan(shapes(np.zeros((1, 48, 48)), SCALE, 3.0)).all()
