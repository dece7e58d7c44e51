"""Latent dimensions in which anomalies sit, and where stamps lie, against what was put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.evaluate.anomalies.config import LatentConfig
from pipeline.evaluate.anomalies.latent import Autoencoder, Latents, ask, choose_dimensions
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.models import build
from pipeline.models.package import ModelPackage
from pipeline.scan_config import ScoreConfig
from tests.cards import UNFITTED, card


def drawn(n: int, anomalies: int, d: int = 24, *, shifted: tuple[int, ...] = (3, 17)) -> tuple[Latents, np.ndarray]:
    """Standard normal means, but for anomalies in some dimensions, where they lie farther out on either side."""
    rng = np.random.default_rng(1)
    mean = rng.normal(0, 1, (n + anomalies, d))
    labels = np.arange(n + anomalies) >= n
    for place in shifted:
        mean[labels, place] *= 3.0
    return Latents(mean.astype(np.float32), np.full((n + anomalies, d), -1.0, np.float32)), labels


def test_the_divergence_is_that_of_two_normal_distributions():
    latents = Latents(np.array([[0.0, 2.0]], np.float32), np.array([[0.0, -1.0]], np.float32))
    exact = [
        float(
            torch.distributions.kl_divergence(
                torch.distributions.Normal(mean, float(np.exp(log_variance / 2))), torch.distributions.Normal(0.0, 1.0)
            )
        )
        for mean, log_variance in ((0.0, 0.0), (2.0, -1.0))
    ]
    assert latents.divergence[0] == pytest.approx(exact, abs=1e-6)
    assert latents.surprise(np.array([False, True]))[0] == pytest.approx(exact[1], abs=1e-6)


def test_the_dimensions_in_which_anomalies_lie_elsewhere_are_chosen_and_no_other():
    latents, labels = drawn(3000, 400)
    found = choose_dimensions(latents, labels, LatentConfig())
    assert np.flatnonzero(found.chosen).tolist() == [3, 17]
    others = np.delete(found.chi_squared, [3, 17])
    assert np.median(others) == pytest.approx(1.0, abs=0.3)
    assert (found.chi_squared[[3, 17]] > found.limit).all()


def test_where_anomalies_lie_as_normals_do_one_dimension_is_chosen_all_the_same_if_none_stands_out():
    latents, labels = drawn(2000, 300, d=2, shifted=())
    found = choose_dimensions(latents, labels, LatentConfig(sigmas=3.0))
    assert found.chosen.sum() == 1
    assert found.chosen[np.argmax(found.chi_squared)]


def test_stamps_without_a_score_have_no_say():
    latents, labels = drawn(1000, 200)
    mean = np.concatenate([latents.mean, np.full((50, 24), np.nan, np.float32)])
    more = Latents(mean, np.concatenate([latents.log_variance, np.zeros((50, 24), np.float32)]))
    once = choose_dimensions(latents, labels, LatentConfig())
    again = choose_dimensions(more, np.concatenate([labels, np.ones(50, bool)]), LatentConfig())
    np.testing.assert_array_equal(once.chi_squared, again.chi_squared)


def test_anomalies_none_of_which_can_be_scored_are_told_of():
    latents, labels = drawn(100, 20)
    mean = np.where(labels[:, None], np.nan, latents.mean).astype(np.float32)
    with pytest.raises(ConfigError, match="120, 100 normal ones and 0 anomalies"):
        choose_dimensions(Latents(mean, latents.log_variance), labels, LatentConfig())


class Sums(torch.nn.Module):
    """A latent space of one dimension: the mean of a stamp's channels."""

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((1, 2, 3))[:, None]
        return mean, torch.zeros_like(mean)

    def reconstruct(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return x.amax((1, 2, 3))


SAMPLE = Sample(
    name="s",
    column="simulations",
    bands=("g", "r", "i"),
    pixel_scale=0.3,
    lens=np.zeros(10, np.bool_),
    truth={},
    parts=lambda: iter([]),
    stamp=lambda row: None,  # type: ignore[arg-type,return-value]
)


def test_latents_are_of_the_stamps_in_their_order_and_nan_where_one_cannot_be_scored():
    image = np.random.default_rng(2).normal(0, 1, (10, 3, 64, 64)).astype(np.float32)
    image[4] = np.nan
    network = Sums()
    assert isinstance(network, Autoencoder)
    package = ModelPackage(Path(), card(), "0", UNFITTED, network=network)  # type: ignore[arg-type]
    part = Part(image, None, None)
    answers = ask(part, SAMPLE, [package], ScoreConfig(batch=4))
    found = answers.latents["untrained"].mean[:, 0]
    assert np.isnan(found).tolist() == [row == 4 for row in range(10)]
    assert np.isnan(answers.logits[:, 0]).tolist() == [row == 4 for row in range(10)]
    alone = []
    for row in range(10):
        one = ask(Part(image[[row]], None, None), SAMPLE, [package], ScoreConfig(batch=1))
        alone.append(one.latents["untrained"].mean[0, 0])
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
    assert len(np.unique(alone)) == 10


def test_a_classifier_has_no_latent_space_and_a_vae_has_one():
    assert not isinstance(build("cnn", 6, {"width": 8}), Autoencoder)
    assert isinstance(build("vae", 7, {"width": 4, "latent": 4}), Autoencoder)
