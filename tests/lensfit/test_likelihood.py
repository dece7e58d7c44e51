"""The likelihood: fluxes, masks, gradients, and what correlated noise does to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag
from pipeline.lensfit.config import load_fit
from pipeline.lensfit.likelihood import Likelihood, fluxes
from pipeline.lensfit.observation import correlation, observe
from pipeline.lensfit.optimise import derivatives
from pipeline.lensfit.parameters import SIZE
from tests.lensfit.lenses import SCALE, SEEING, observed, quick

VECTORS = 0.5 * torch.randn((2, SIZE), dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def test_fluxes_are_those_of_non_negative_least_squares() -> None:
    rng = np.random.default_rng(2)
    units = np.abs(rng.normal(size=(40, 2, 3, 30)))
    # Data of which some want a negative flux of one, some of the other, some of both.
    wanted = rng.normal(0.3, 1.0, (2, 3))
    data = rng.normal(0, 0.2, (3, 30)) + np.einsum("kb,kbp->bp", wanted, units[0])
    found = fluxes(torch.from_numpy(units), torch.from_numpy(data)).numpy()
    expected = np.array([[nnls(units[n, :, band].T, data[band])[0] for band in range(3)] for n in range(40)])
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1), atol=1e-9)
    assert (found == 0).any()
    assert (found > 0).all(1).any()


def test_gradient_is_that_of_finite_differences() -> None:
    likelihood = Likelihood(observed(), quick(), dtype=torch.float64)
    vectors = VECTORS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.potential(vectors).sum(), [vectors])
    slope, _ = derivatives(likelihood, VECTORS)
    step = 1e-5
    for element in range(SIZE):
        moved = torch.zeros(SIZE, dtype=torch.float64)
        moved[element] = step
        with torch.no_grad():
            difference = likelihood.potential(VECTORS + moved) - likelihood.potential(VECTORS - moved)
        expected = (difference / (2 * step)).numpy()
        np.testing.assert_allclose(gradient[:, element], expected, rtol=2e-4, atol=0.02)
        np.testing.assert_allclose(slope[:, element], expected, rtol=2e-4, atol=0.02)


def test_masked_pixels_have_no_influence() -> None:
    clean = observed()
    image, ivar, mask = clean.image.copy(), clean.weight.copy(), np.zeros(clean.image.shape, np.uint32)
    image[0, 3:6, 4:9], mask[0, 3:6, 4:9] = 1e6, PixelFlag.COSMIC_RAY
    image[0, 20, 20] = np.nan
    ivar[0, 22, 5:8], image[0, 22, 5:8] = 0, -1e5
    masked = observe(image, ivar, mask, bands=("r",), pixel_scale=SCALE, seeing=[SEEING])
    left_out = np.zeros(image.shape, bool)
    left_out[0, 3:6, 4:9] = left_out[0, 20, 20] = left_out[0, 22, 5:8] = True
    with torch.no_grad():
        one, other = (
            Likelihood(seen, quick(), dtype=torch.float64).chi2(VECTORS) for seen in (masked, clean.without(left_out))
        )
    np.testing.assert_array_equal(one, other)
    assert masked.pixels == clean.pixels - 19


def test_bands_have_fluxes_of_their_own_and_add_up() -> None:
    red, blue = observed(1), observed(2, arc_snr=150.0)
    both = replace(
        red,
        image=np.concatenate([red.image, blue.image]),
        weight=np.concatenate([red.weight, blue.weight]),
        bands=("r", "g"),
        seeing=np.array([SEEING, SEEING]),
    )
    with torch.no_grad():
        parts = [Likelihood(seen, quick(), dtype=torch.float64).chi2(VECTORS) for seen in (red, blue, both)]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2], rtol=1e-6)


def test_single_precision_tells_chi_squared_as_well() -> None:
    single, double = (Likelihood(observed(), quick(), dtype=kind) for kind in (torch.float32, torch.float64))
    with torch.no_grad():
        np.testing.assert_allclose(single.chi2(VECTORS.float()), double.chi2(VECTORS), rtol=2e-4)


def test_photons_of_an_object_make_its_own_pixels_noisier() -> None:
    image = np.zeros((1, 12, 12))
    image[0, 4:9, 4:9] = 300.0
    seen = observe(image, np.ones(image.shape), None, bands=("r",), pixel_scale=0.3, seeing=[0.8], sky_level=[100.0])
    # Within the square the light is three times the sky's, so the variance is four times the sky's.
    assert seen.weight[0, 6, 6] == pytest.approx(0.25)
    assert seen.weight[0, 0, 0] == 1.0


def test_correlation_of_noise_is_that_of_its_sums() -> None:
    rng = np.random.default_rng(3)
    white = rng.standard_normal((2, 200, 200))
    smooth = white[1] + 0.3 * (np.roll(white[1], 1, 0) + np.roll(white[1], -1, 0))
    noise = np.stack([white[0], smooth / np.sqrt(1 + 2 * 0.3**2)])
    # Of a sum of many pixels the variance is (1 + 2 x 0.3)^2 / (1 + 2 x 0.3^2) = 2.17 times that of white noise.
    assert correlation(noise, np.ones(noise.shape, bool), load_fit().noise) == pytest.approx([1.0, 2.17], rel=0.07)


def test_what_cannot_be_fitted_is_refused_by_name() -> None:
    image = np.ones((1, 12, 12))
    told = {"bands": ("r",), "pixel_scale": 0.3}
    with pytest.raises(ConfigError, match="is not known in any band"):
        observe(image, image, None, seeing=[np.nan], **told)
    with pytest.raises(ConfigError, match="0 usable pixels"):
        observe(image, 0 * image, None, seeing=[0.8], **told)
    with pytest.raises(ConfigError, match="square"):
        observe(image[:, :10], image[:, :10], None, seeing=[0.8], **told)
    with pytest.raises(ConfigError, match="don't match"):
        observe(image, image, None, seeing=[0.8], bands=("g", "r"), pixel_scale=0.3)
