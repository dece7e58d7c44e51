"""Lensing and PSFs against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.sims.render.image import Psf, convolved, moffat, single_thread, transfer
from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Grid, Light, Point, Sersic, draw
from pipeline.sims.render.mass import Deflector
from pipeline.sims.render.visibility import arc_snr, scale_arc, visible_share

ONE = np.array([1.0])


def radii(grid: Grid) -> np.ndarray:
    axis = grid.axis()
    return np.hypot(axis[None, :], axis[:, None])


def test_moffat_is_half_its_peak_at_half_its_width() -> None:
    grid = Grid(size=64, scale=0.05, oversampling=1, margin=0)
    kernel = moffat(Psf(np.array([0.8]), 3.0), grid)[0]
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    # 0.4 arcsec are eight pixels of 0.05.
    assert kernel[0, 8] / kernel[0, 0] == pytest.approx(0.5, abs=1e-5)
    assert kernel[8, 0] / kernel[0, 0] == pytest.approx(0.5, abs=1e-5)


def test_convolved_star_keeps_its_flux_and_place() -> None:
    grid = Grid(size=64, scale=0.3)
    fine = draw(Light((), (), (Point(0.15, 0.15, np.array([500.0, 300.0])),)), grid, 2, 0.0)[None]
    image = convolved(fine, transfer([Psf(np.array([0.7, 1.0]), 3.5)], [grid]), grid)[0]
    assert image.sum(axis=(1, 2)) == pytest.approx([500, 300], rel=0.01)
    # (0.15, 0.15) arcsec from the middle of 64 pixels is the centre of pixel (32, 32).
    assert np.unravel_index(image[0].argmax(), (64, 64)) == (32, 32)


def test_source_behind_the_centre_of_a_round_lens_is_a_ring_at_theta_e() -> None:
    grid = Grid(size=80, scale=0.1, oversampling=2, margin=0)
    source = LensedSource(Deflector(0, 0, 2.0, 0.9999, 0, 0, 0), (Sersic(0, 0, 0.05, 1.0, 1.0, 0, ONE),))
    image = lensed([source], [grid])[0]
    assert (image * radii(grid)).sum() / image.sum() == pytest.approx(2.0, abs=0.02)
    assert image[radii(grid) < 1.5].sum() < 0.01 * image.sum()


@pytest.mark.parametrize("offset", [0.5, 1.0])
def test_magnification_is_that_of_a_singular_isothermal_sphere(offset: float) -> None:
    # Both images together: mu = 2 theta_E / beta for beta < theta_E (Narayan & Bartelmann 1996, eq. 62).
    grid = Grid(size=120, scale=0.08, oversampling=3, margin=0)
    source = LensedSource(Deflector(0, 0, 2.0, 0.9999, 0, 0, 0), (Sersic(offset, 0, 0.05, 1.0, 1.0, 0, ONE),))
    assert lensed([source], [grid])[0].sum() == pytest.approx(2 * 2.0 / offset, rel=0.03)


def test_shear_moves_light_as_the_lens_equation_says() -> None:
    # Without mass beta = (1 - g1) x along x: a source at 1 is seen at 1 / (1 - g1).
    grid = Grid(size=80, scale=0.1, oversampling=2, margin=0)
    source = LensedSource(Deflector(0, 0, 1e-6, 0.9, 0, 0.2, 0), (Sersic(1.0, 0, 0.1, 1.0, 1.0, 0, ONE),))
    image = lensed([source], [grid])[0]
    axis = grid.axis()
    assert (image.sum(axis=0) * axis).sum() / image.sum() == pytest.approx(1.25, abs=0.01)


def test_a_batch_of_sources_gives_what_each_gives_alone() -> None:
    grids = [Grid(32, scale) for scale in (0.2, 0.3)]
    bodies = (Sersic(0.2, 0.1, 0.3, 1.0, 0.7, 0.5, ONE), Sersic(-0.1, 0, 0.1, 2.0, 0.9, 0.5, ONE))
    sources = [
        LensedSource(Deflector(0.1, 0.0, 1.5, 0.7, 0.3, 0.02, 0.01), bodies),
        LensedSource(Deflector(0.0, 0.2, 1.0, 0.8, 1.3, 0.0, 0.04), bodies[:1]),
    ]
    together = lensed(sources, grids)
    for index in range(2):
        np.testing.assert_allclose(together[index], lensed([sources[index]], [grids[index]])[0], rtol=1e-5, atol=1e-9)


def test_no_sources_give_no_images() -> None:
    assert lensed([], []).shape == (0, 0, 0)


def test_arc_snr_is_the_root_of_the_squares_over_the_noise() -> None:
    arc = np.zeros((2, 4, 4), np.float32)
    arc[0, 1, 1], arc[0, 2, 1], arc[1, 0, 0] = 3.0, 4.0, 6.0
    np.testing.assert_allclose(arc_snr(arc, np.array([1.0, 2.0])), [5.0, 3.0])


def test_visible_share_counts_what_is_above_noise_and_other_light() -> None:
    arc = np.array([[4.0, 3.0], [2.0, 1.0]], np.float32)
    other = np.array([[1.0, 10.0], [1.0, 0.0]], np.float32)
    # 4 is above both; 3 is under 0.8 x 10; 2 is above both; 1 is under 1.5 sigma.
    assert visible_share(arc, other, 1.0, 1.5, 0.8) == pytest.approx(0.6)
    assert visible_share(np.zeros((2, 2)), other, 1.0, 1.5, 0.8) == 0.0


def test_scaled_arc_has_the_snr_that_was_asked_for_in_its_best_band() -> None:
    unit = np.zeros((2, 4, 4), np.float32)
    unit[:, 1, 1:3] = 1.0
    scaled = scale_arc(unit, np.zeros_like(unit), np.array([2.0, 1.0]), np.array([10.0, 20.0]), 30.0, 1.5, 0.8)
    snr = arc_snr(scaled.arc, np.array([10.0, 20.0]))
    assert snr[0] == pytest.approx(30.0, rel=1e-5)
    assert snr[1] == pytest.approx(7.5, rel=1e-5)
    assert scaled.share == 1.0
    # sqrt(2) x 2 flux / 10 = 30, so the source has 106.07 nJy in r.
    assert scaled.source_mag == pytest.approx(31.4 - 2.5 * np.log10(106.066), abs=1e-4)


def test_rendering_keeps_torch_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("size", "oversampling", "margin"), [(20, 2, 3), (15, 2, 2), (11, 3, 2), (12, 1, 3)])
def test_convolution_is_that_of_all_fine_pixels_summed_afterwards(size: int, oversampling: int, margin: int) -> None:
    grid = Grid(size, 0.3, oversampling, margin)
    fine = np.random.default_rng(1).random((2, 3, grid.fine, grid.fine), np.float32)
    psfs = [Psf(np.array([0.7, 0.9, 1.1]), 3.0, 0.05, -0.02), Psf(np.array([0.8, 0.8, 0.8]), 4.0)]
    kernels = np.stack([moffat(psf, grid) for psf in psfs]).astype(np.float64)
    blurred = np.fft.ifft2(np.fft.fft2(fine.astype(np.float64)) * np.fft.fft2(kernels)).real
    inside = slice(margin * oversampling, (margin + size) * oversampling)
    own = blurred[..., inside, inside].reshape(2, 3, size, oversampling, size, oversampling)
    expected = own.sum(axis=(3, 5)).astype(np.float32)
    np.testing.assert_allclose(convolved(fine, transfer(psfs, [grid, grid]), grid), expected, rtol=2e-5)
