"""Lens parameters of cutouts: what samples are of, which stamps have none, and when not to trust them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import ModelMismatch
from pipeline.models import build
from pipeline.models.familiarity import Familiarity
from pipeline.models.fitter import Fitter
from pipeline.models.fitter_config import FitterConfig
from pipeline.models.package import ModelPackage
from pipeline.models.posterior import PARAMETERS, PosteriorHead
from pipeline.scan.parameters import fit_cutouts
from tests.cards import UNFITTED, card

BANDS = ("g", "r", "i")
P = len(PARAMETERS)
LIMITS = FitterConfig(package="brightness", beyond_share=0.16)


class Head(PosteriorHead):
    """Posteriors whose mean is the embedding's first number, and whose standard deviation is a tenth."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("support", torch.tensor([[-1e3], [1e3]]).repeat(1, P))

    def embed(self, x: Tensor) -> Tensor:
        return x

    def classify(self, embedding: Tensor) -> Tensor:
        return torch.full((len(embedding),), 3.0)

    def sample(self, embedding: Tensor, base: Tensor) -> Tensor:
        return embedding[:, :1, None] + 0.1 * base

    def log_prob(self, embedding: Tensor, parameters: Tensor) -> Tensor:
        raise NotImplementedError


class Brightness(nn.Module):
    """A network that embeds a stamp by the light in its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Head()

    def embed(self, x: Tensor) -> Tensor:
        return 10 * x[:, :1, 10:22, 10:22].mean((-2, -1)).repeat(1, 2)


@pytest.fixture
def fitter() -> Fitter:
    own = card(size_pix=32)
    package = ModelPackage(Path("brightness"), own, "0" * 64, UNFITTED, network=Brightness())  # type: ignore[arg-type]
    return Fitter(package, FitterConfig(package="brightness", samples=4000))


def stamps(n: int = 5) -> np.ndarray:
    """Noise with ever larger squares of light in the middle."""
    image = np.random.default_rng(2).normal(0, 1, (n, 3, 32, 32))
    for number in range(n):
        half = 1 + number % 5
        image[number, :, 16 - half : 16 + half, 16 - half : 16 + half] += 50
    return image.astype(np.float32)


def fit(fitter: Fitter, image: np.ndarray, mask: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    return fit_cutouts(image, None, mask, pixel_scale=0.3, bands=BANDS, fitter=fitter)


def test_samples_have_the_mean_and_spread_of_the_posterior_and_their_bytes_again(fitter: Fitter) -> None:
    found = fit(fitter, stamps())
    assert found.posterior.samples.shape == (5, 4000, P)
    assert len(set(found.posterior.mean[:, 0].tolist())) == 5
    np.testing.assert_allclose(found.posterior.std, 0.1, rtol=0.05)
    assert found.posterior.samples.tobytes() == fit(fitter, stamps()).posterior.samples.tobytes()


def test_a_stamp_gets_the_same_whatever_it_is_scored_with(fitter: Fitter) -> None:
    image = stamps(70)
    every = fit(fitter, image).posterior.samples
    np.testing.assert_allclose(fit(fitter, image[66:67]).posterior.samples[0], every[66], rtol=1e-5)


def test_a_stamp_without_pixels_or_with_an_infinite_sample_has_no_parameters(fitter: Fitter) -> None:
    image = stamps()
    image[1] = np.nan
    found = fit(fitter, image)
    assert np.isnan(found.posterior.samples[1]).all()
    assert np.isfinite(found.posterior.samples[[0, 2, 3, 4]]).all()
    assert found.trusted(0.99, LIMITS).tolist() == [True, False, True, True, True]
    fitter.head.sample = lambda embedding, base: (embedding[:, :1, None] + base) / 0.0  # type: ignore[method-assign]
    assert np.isnan(fit(fitter, stamps()).posterior.samples).all()


def test_a_posterior_beyond_what_the_training_held_is_not_trusted(fitter: Fitter) -> None:
    middle = fit(fitter, stamps()).posterior.mean[:, 4]
    edge = (middle[2] + middle[3]) / 2
    fitter.head.support[1, 4] = float(edge)
    found = fit(fitter, stamps())
    expected = (found.posterior.samples[:, :, 4] > edge).mean(1)
    np.testing.assert_allclose(found.beyond, expected, atol=1e-6)
    assert found.trusted(0.99, LIMITS).tolist() == (expected <= 0.16).tolist()
    assert 0 < found.trusted(0.99, LIMITS).sum() < 5


def test_a_stamp_unlike_the_training_is_not_trusted(fitter: Fitter) -> None:
    at = float(fit(fitter, stamps()).posterior.mean[0].mean())
    known = Familiarity(torch.full((1, 2), at), torch.eye(2), np.linspace(0, 0.05, 11, dtype=np.float32), "here")
    strict = replace(fitter, package=replace(fitter.package, familiarity=known))
    found = fit(strict, stamps())
    assert found.trusted(0.99, LIMITS).tolist() == [True, False, False, False, False]
    assert found.trusted(1.0, LIMITS).all()
    assert np.isnan(fit(fitter, stamps()).unfamiliar).all()


def test_a_missing_band_and_a_plain_classifier_are_refused(fitter: Fitter) -> None:
    with pytest.raises(ModelMismatch, match="g is missing"):
        fit_cutouts(stamps()[:, :2], None, None, pixel_scale=0.3, bands=("r", "i"), fitter=fitter)
    plain = replace(fitter.package, network=build("cnn", 7, {"width": 8}))
    with pytest.raises(ModelMismatch, match="gives no lens parameters"):
        Fitter(plain, fitter.config)


def test_no_cutouts_have_no_parameters(fitter: Fitter) -> None:
    found = fit(fitter, stamps(0))
    assert found.posterior.samples.shape == (0, 4000, P)
    assert found.trusted(0.99, LIMITS).shape == (0,)


def test_what_the_network_takes_for_no_lens_is_not_trusted(fitter: Fitter) -> None:
    found = fit(fitter, stamps())
    np.testing.assert_allclose(found.lens, 1 / (1 + np.exp(-3.0)), rtol=1e-5)
    assert found.trusted(0.99, LIMITS.model_copy(update={"least_lens": 0.95})).all()
    assert not found.trusted(0.99, LIMITS.model_copy(update={"least_lens": 0.96})).any()
