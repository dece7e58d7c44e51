from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scan.background import Mesh, cell_edges, cell_statistics, measure_cells, smooth_mesh


def test_clipped_statistics_ignore_a_tenth_of_bright_pixels():
    random = np.random.default_rng(3)
    pixels = random.normal(7.0, 2.0, 20_000).astype(np.float32)
    pixels[:2000] += 500.0
    background, noise = cell_statistics(random.permutation(pixels))
    assert background == pytest.approx(7.0, abs=0.1)
    assert noise == pytest.approx(2.0, rel=0.05)


def test_statistics_of_no_pixels_are_nan():
    assert np.isnan(cell_statistics(np.zeros(0, np.float32))).all()


def test_statistics_equal_a_plain_loop_of_clipping():
    pixels = np.random.default_rng(5).gamma(2.0, 3.0, 999).astype(np.float32)
    kept = pixels.astype(float)
    for _ in range(50):
        middle, spread = np.median(kept), kept.std()
        kept = pixels[np.abs(pixels - middle) <= 3 * spread].astype(float)
    mean, middle, spread = kept.mean(), np.median(kept), kept.std()
    expected = 2.5 * middle - 1.5 * mean if abs(mean - middle) < 0.3 * spread else middle
    background, noise = cell_statistics(pixels)
    assert background == pytest.approx(expected, rel=1e-6)
    assert noise == pytest.approx(spread, rel=1e-6)


@given(length=st.integers(1, 5000), box=st.floats(1, 500))
def test_cells_cover_an_axis_without_overlap(length, box):
    edges = cell_edges(length, min(box, length))
    assert edges[0] == 0
    assert edges[-1] == length
    sizes = np.diff(edges)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


def test_a_cell_with_too_few_pixels_is_nan_and_filled_from_its_neighbour():
    image = np.random.default_rng(1).normal(5.0, 1.0, (20, 40)).astype(np.float32)
    usable = np.ones(image.shape, bool)
    usable[:, 20:] = False
    level, sigma = measure_cells(image, usable, cell_edges(40, 20))
    assert np.isfinite(level[0])
    assert np.isnan(level[1])
    assert np.isnan(sigma[1])
    filled = smooth_mesh(level[None, :])
    assert filled[0, 1] == pytest.approx(level[0])


def test_a_plane_of_gradient_comes_back_between_the_outer_centres():
    shape = (100, 120)
    y_edges, x_edges = cell_edges(100, 20), cell_edges(120, 20)
    y = (y_edges[:-1] + y_edges[1:] - 1) / 2
    x = (x_edges[:-1] + x_edges[1:] - 1) / 2
    mesh = Mesh((2.0 * y[:, None] + 3.0 * x[None, :]).astype(np.float32)[None], shape)
    surface = mesh.rows(0, 100)[0]
    yy, xx = np.mgrid[10:90, 10:110]
    np.testing.assert_allclose(surface[10:90, 10:110], 2.0 * yy + 3.0 * xx, rtol=1e-5)
    np.testing.assert_array_equal(surface[0], surface[5])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), cells=st.tuples(st.integers(1, 6), st.integers(1, 6)), y0=st.integers(0, 49))
def test_rows_have_the_same_bits_in_every_block(seed, cells, y0):
    values = np.random.default_rng(seed).normal(size=(1, *cells)).astype(np.float32)
    mesh = Mesh(values, (50, 37))
    whole = mesh.rows(0, 50)
    np.testing.assert_array_equal(mesh.rows(y0, 50), whole[:, y0:])
