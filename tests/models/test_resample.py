"""Stamps of other sizes and pixel scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.models.resample import resample


def gaussian(size: int, scale: float, sigma: float = 1.2, dx: float = 0.4) -> np.ndarray:
    """Surface brightness times pixel area, arcsec units."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * scale
    return (np.exp(-((x - dx) ** 2 + y**2) / (2 * sigma**2)) * scale**2).astype(np.float32)


def as_batch(image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    tensor = torch.from_numpy(image)[None, None]
    return tensor, torch.isfinite(tensor)


@pytest.mark.parametrize("scale", [0.168, 0.262, 0.3, 0.339, 0.5])
@pytest.mark.parametrize("odd", [0, 1])
def test_a_smooth_source_keeps_flux_place_and_brightness(scale: float, odd: int):
    size = 2 * int(10.5 / scale) + odd
    image, kept, covered = resample(*as_batch(gaussian(size, scale)), scale, 64, 0.3)
    expected = gaussian(64, 0.3)
    assert kept.all()
    assert covered.all()
    np.testing.assert_allclose(image[0, 0].numpy(), expected, atol=0.06 * expected.max())
    assert image.sum().item() == pytest.approx(expected.sum(), rel=0.01)


def test_the_same_grid_is_cropped_exactly():
    image = gaussian(80, 0.3)
    cut, kept, _ = resample(*as_batch(image), 0.3, 64, 0.3)
    assert np.array_equal(cut[0, 0].numpy(), image[8:-8, 8:-8])
    assert kept.all()


@pytest.mark.parametrize(("size", "scale"), [(40, 0.3), (41, 0.3), (46, 0.262)])
def test_padding_is_invalid_and_not_covered(size: int, scale: float):
    image, kept, covered = resample(*as_batch(gaussian(size, scale)), scale, 64, 0.3)
    assert torch.equal(kept[0, 0], covered)
    assert not covered[0].any()
    assert covered[32, 32]
    assert (image[~kept] == 0).all()
    assert covered.sum().item() == pytest.approx((size * scale / 0.3) ** 2, rel=0.06)


def test_an_invalid_pixel_spreads_nothing_into_its_neighbours():
    image = np.full((78, 78), 4.0, dtype=np.float32)
    image[30:34, 49:52] = np.nan
    answer, kept, _ = resample(*as_batch(image), 0.262, 64, 0.3)
    area = (0.3 / 0.262) ** 2
    np.testing.assert_allclose(answer[kept].numpy(), 4 * area, rtol=1e-5)
    assert 6 <= (~kept).sum().item() <= 16


def test_a_linear_gradient_is_reproduced_inside():
    image = np.broadcast_to(np.arange(90, dtype=np.float32), (90, 90)).copy()
    answer, _, _ = resample(*as_batch(image), 0.262, 64, 0.3)
    expected = ((np.arange(64) - 31.5) * 0.3 / 0.262 + 44.5) * (0.3 / 0.262) ** 2
    # The triangle is sampled on the input's pixels: exact for means, within a few hundredths of a pixel for slopes.
    np.testing.assert_allclose(answer[0, 0, 32].numpy(), expected, atol=0.15)
