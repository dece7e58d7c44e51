"""Rings and sectors against what numpy and Fourier transforms say of them."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from pipeline.scan.masks_sectors import SECTORS, middle_of, sector_medians
from pipeline.scan.masks_votes import _rings, _votes, voted


def test_votes_are_the_convolution_of_gradients_with_rings_also_around_a_hole() -> None:
    random = np.random.default_rng(1)
    radii, reach = np.array([5.0, 7.0]), 8
    down, right = random.normal(size=(2, 60, 70)).astype(np.float32)
    whole = np.ones((60, 70), np.float32)
    whole[:, [0, -1]] = whole[[0, -1]] = whole[30:36, 40:44] = 0.0
    down, right = down * whole * 3, right * whole * 3
    planes = [np.pad(plane, 2 * reach) for plane in (down, right, whole)]
    y, x, index, votes = _votes(*planes, *_rings(radii, reach), reach, 0.4)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.maximum(np.hypot(dy, dx), 1e-6)
    expected = []
    for radius in radii:
        ring = np.clip(1.5 - np.abs(distance - radius), 0.0, 1.0)
        total = fftconvolve(down, ring * dy / distance) + fftconvolve(right, ring * dx / distance)
        length = fftconvolve(whole, ring)
        expected.append(np.where(length >= 0.4 * ring.sum(), total / np.maximum(length, 1e-3), -np.inf))
    best = np.max(expected, axis=0)
    assert len(votes) > 5
    np.testing.assert_allclose(votes, best[y + reach, x + reach], rtol=1e-4)
    np.testing.assert_array_equal(index, np.argmax(expected, axis=0)[y + reach, x + reach])
    for row, column in zip(y + reach, x + reach, strict=True):
        assert best[row, column] == best[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3].max()


def test_a_disc_is_voted_for_first_and_an_empty_picture_for_nothing() -> None:
    yy, xx = np.mgrid[:80, :90]
    picture = np.random.default_rng(2).normal(0, 0.1, (80, 90)).astype(np.float32)
    picture[np.hypot(yy - 40, xx - 50) < 7.5] += 2.0
    x, y, radius = voted(picture, np.array([5.0, 6.0, 7.0, 8.0]), 0.4)[0]
    assert abs(x - 50) <= 1
    assert abs(y - 40) <= 1
    assert radius in (7.0, 8.0)
    assert voted(np.full((40, 40), np.nan, np.float32), np.array([5.0]), 0.4).shape == (0, 3)


def test_sectors_have_the_median_of_their_nearest_bins_and_none_where_half_is_missing() -> None:
    picture = np.random.default_rng(3).normal(size=(50, 60)).astype(np.float32)
    picture[20:30, 5:15] = np.nan
    circles = np.array([[25.0, 24.0, 12.0], [2.0, 3.0, 9.5]])
    inner, outer = np.array([-2.0, 0.5]), np.array([1.0, 3.5])
    found = sector_medians(picture, circles, inner, outer)
    angles = (np.arange(4 * SECTORS) + 0.5) * 2 * np.pi / (4 * SECTORS)
    for (x, y, radius), low, high, medians in zip(circles, inner, outer, found, strict=True):
        for sector in range(SECTORS):
            values = []
            for share in (1 / 6, 1 / 2, 5 / 6):
                for angle in angles[4 * sector : 4 * sector + 4]:
                    at = radius + low + share * (high - low)
                    row, column = round(y + at * np.sin(angle)), round(x + at * np.cos(angle))
                    inside = 0 <= row < 50 and 0 <= column < 60
                    values.append(picture[row, column] if inside else np.nan)
            known = np.isfinite(values).sum()
            expected = np.nanmedian(values) if 2 * known >= len(values) else np.nan
            np.testing.assert_allclose(medians[sector], expected, rtol=1e-6)


def test_the_middle_of_nothing_is_unknown() -> None:
    assert middle_of(np.array([3.0, np.nan, 1.0])) == 2.0
    assert np.isnan(middle_of(np.array([np.nan])))
