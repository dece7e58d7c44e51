"""Posteriors of lens parameters: by change of variables, by moments, and that chance is only the base's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.lensnet import Lensnet
from pipeline.models.posterior import NAMES, PARAMETERS, Posterior, base_samples
from pipeline.models.posterior_scale import ParameterScale

P = len(PARAMETERS)


def network(**arguments: int) -> Lensnet:
    torch.manual_seed(5)
    made = build("lensnet", 7, {"width": 8, "hidden": 32, **arguments}).eval()
    assert isinstance(made, Lensnet)
    return made


def embeddings(made: Lensnet, n: int = 4) -> torch.Tensor:
    with torch.no_grad():
        return made.embed(torch.randn(n, 7, 48, 48, generator=torch.Generator().manual_seed(3)))


def test_the_order_of_the_parameters_is_the_contract():
    assert NAMES == ("theta_E", "e1", "e2", "shear_1", "shear_2", "source_x", "source_y", "lens_x", "lens_y")


def test_plain_numbers_come_back_as_the_parameters_that_they_were_of():
    scale = ParameterScale().double()
    plain = torch.randn(500, P, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    parameters = scale.physical(plain)
    assert (parameters[:, 0] > 0).all()
    assert (parameters[:, 1:3].norm(dim=1) < 1).all()
    torch.testing.assert_close(scale.plain(parameters)[0], plain)


def test_a_round_lens_is_no_special_case():
    scale = ParameterScale()
    parameters = torch.tensor([[1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    plain, volume = scale.plain(parameters)
    torch.testing.assert_close(scale.physical(plain), parameters)
    assert torch.isfinite(volume).all()


@pytest.mark.parametrize("flow", [0, 3])
def test_the_density_at_a_sample_is_that_of_its_base_over_the_change_of_volume(flow: int):
    made = network(flow=flow).double()
    made.head.width.copy_(torch.linspace(0.7, 1.5, P))
    embedding, base = embeddings(network(flow=flow), 1).double(), base_samples(3, 9).double()
    for row in base:
        sample = made.head.sample(embedding, row[None])[0, 0]
        jacobian = torch.autograd.functional.jacobian(lambda z: made.head.sample(embedding, z[None])[0, 0], row)
        normal = -0.5 * (row.square() + math.log(2 * math.pi)).sum()
        expected = normal - torch.linalg.slogdet(jacobian).logabsdet
        assert made.head.log_prob(embedding, sample[None])[0].item() == pytest.approx(expected.item(), abs=1e-5)


def test_what_a_stamp_gets_depends_on_the_base_and_on_nothing_that_it_was_scored_with():
    made, base = network(), base_samples(16, 2)
    embedding = embeddings(made)
    with torch.no_grad():
        together = made.head.sample(embedding, base)
        assert together.shape == (4, 16, P)
        torch.testing.assert_close(made.head.sample(embedding[2:3], base)[0], together[2], atol=1e-5, rtol=1e-5)
        own = torch.stack([base_samples(16, seed) for seed in range(4)])
        of_own = made.head.sample(embedding, own)
        torch.testing.assert_close(of_own[3], made.head.sample(embedding[3:], own[3])[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(base, base_samples(16, 2))
    assert not torch.equal(base, base_samples(16, 3))


def test_a_width_widens_a_normal_posterior_about_its_middle():
    made, base = network(flow=0), base_samples(4000, 4)
    embedding, place = embeddings(made, 1), NAMES.index("shear_1")
    with torch.no_grad():
        before = made.head.sample(embedding, base)[0, :, place]
        made.head.width[place] = 2.5
        after = made.head.sample(embedding, base)[0, :, place]
    middle = made.head.mean(embedding)[0, place] * made.head.scale.spread[place]
    torch.testing.assert_close(after - middle, 2.5 * (before - middle), atol=1e-5, rtol=1e-4)


def test_means_and_spreads_are_those_of_the_samples():
    samples = torch.randn(3, 50, P, generator=torch.Generator().manual_seed(6)).numpy()
    posterior = Posterior(samples)
    assert np.allclose(posterior.mean, [[np.mean(samples[n, :, p]) for p in range(P)] for n in range(3)], atol=1e-6)
    assert np.allclose(posterior.std, [[np.std(samples[n, :, p]) for p in range(P)] for n in range(3)], atol=1e-6)
    assert np.allclose(posterior.quantiles([0.5])[0], np.median(samples, axis=1), atol=1e-6)
    made, base = network(), base_samples(50, 1)
    with torch.no_grad():
        mean, std = made.head.mean_and_std(embeddings(made), base)
        drawn = Posterior(made.head.sample(embeddings(made), base).numpy())
    assert np.allclose(mean.numpy(), drawn.mean, atol=1e-5)
    assert np.allclose(std.numpy(), drawn.std, atol=1e-5)


def test_a_lens_that_moves_across_the_stamp_moves_the_embedding():
    made = network()
    stamp = torch.zeros(3, 7, 48, 48)
    stamp[0, :, 12:16, 12:16] = stamp[1, :, 12:16, 32:36] = 5.0
    with torch.no_grad():
        embedding = made.embed(stamp)
    # The distance from the centre is alike for both: a pooled map could hardly tell them apart.
    left, right, blank = embedding
    assert (left - right).norm() > 0.3 * (left - blank).norm() > 0


def test_stamps_of_another_size_and_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(ModelMismatch, match="built for stamps of 48 x 48 px and can't read 64 x 64"):
        network()(torch.zeros(1, 7, 64, 64))
    with pytest.raises(ConfigError, match="multiple of 16"):
        build("lensnet", 7, {"size": 40})
