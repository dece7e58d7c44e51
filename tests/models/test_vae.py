"""What the variational autoencoder makes of a stamp, and in which dimensions it measures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.vae import Vae
from pipeline.models.vae_choice import choose, histogram_chi_squared, settle
from pipeline.models.vae_prior import Prior
from pipeline.models.vae_residual import FIGURES, RINGS, figures, valid_of


def small(**arguments: object) -> Vae:
    torch.manual_seed(3)
    network = build("vae", 9, {"width": 4, "latent": 12, "size": 16, "masks": 3, **arguments})
    assert isinstance(network, Vae)
    return network.eval()


def stamps(n: int = 3, side: int = 24) -> torch.Tensor:
    """Three faint and three bright stretches, and validity: all of it."""
    torch.manual_seed(4)
    x = torch.rand(n, 9, side, side)
    x[:, 6:] = 1
    return x


def test_divergence_from_a_standard_normal_prior_by_numerical_integration():
    mean, log_variance = torch.tensor([[0.7, -1.2]]), torch.tensor([[-0.8, 0.4]])
    grid = np.linspace(-12, 12, 20001)
    expected = 0.0
    for centre, log_width in zip([0.7, -1.2], [-0.8, 0.4], strict=True):
        width = math.exp(log_width / 2)
        density = np.exp(-0.5 * ((grid - centre) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        ratio = -0.5 * ((grid - centre) / width) ** 2 - math.log(width) + 0.5 * grid**2
        expected += float(np.sum(density * ratio) * (grid[1] - grid[0]))
    found = Prior(2).divergence(mean, log_variance, mean)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def mixture() -> Prior:
    torch.manual_seed(8)
    prior = Prior(3, components=4, anomalous=1)
    with torch.no_grad():
        prior.log_variances.copy_(torch.randn(4, 3))
        prior.log_shares.copy_(torch.randn(4))
    return prior


def each_by_scipy(prior: Prior, z: np.ndarray, counted: list[int]) -> np.ndarray:
    """Log of share times density (n, K) in the dimensions that count."""
    shares = prior.log_shares.detach().numpy().astype(np.float64)
    columns = []
    for number in range(prior.components):
        mean = prior.means.detach().numpy()[number, counted]
        variance = np.exp(prior.log_variances.detach().numpy()[number, counted])
        density = multivariate_normal(mean, np.diag(variance)).logpdf(z[:, counted])
        columns.append(shares[number] - logsumexp(shares) + density)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("counted", [[0, 1, 2], [0, 2]])
def test_log_odds_of_the_anomalies_components_are_those_of_scipy(counted: list[int]):
    prior, z = mixture(), torch.randn(5, 3)
    each = each_by_scipy(prior, z.numpy(), counted)
    expected = each[:, 3] - logsumexp(each[:, :3], axis=1)
    weight = torch.zeros(3)
    weight[counted] = 1
    np.testing.assert_allclose(prior.surprise(z, weight).detach().numpy(), expected, rtol=1e-4)


def test_divergence_from_a_mixture_is_entropy_and_the_density_of_the_stamps_class():
    prior, z, mean, log_variance = mixture(), torch.randn(3, 3), torch.randn(3, 3), torch.randn(3, 3)
    each = each_by_scipy(prior, z.numpy(), [0, 1, 2])
    log_prior = [each[0, 3], logsumexp(each[1, :3]), logsumexp(each[2])]
    entropy = [multivariate_normal(np.zeros(3), np.diag(np.exp(row))).entropy() for row in log_variance.numpy()]
    found = prior.divergence(mean, log_variance, z, torch.tensor([1.0, 0.0, -1.0]))
    np.testing.assert_allclose(found.detach().numpy(), -np.array(entropy) - np.array(log_prior), rtol=1e-4)


def test_without_components_of_anomalies_the_logit_is_minus_the_density():
    prior = Prior(2)
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert prior.surprise(z, torch.ones(2)).tolist() == pytest.approx(
        [math.log(2 * math.pi), math.log(2 * math.pi) + 12.5]
    )


def test_masked_pixels_neither_count_in_the_residual_nor_in_its_figures():
    network = small()
    whole = stamps()
    torn = whole.clone()
    torn[:, 7, 4:12, 4:20] = 0
    other = torn.clone()
    other[:, 1, 4:12, 4:20] = 50.0
    with torch.inference_mode():
        latent = torch.zeros(3, 12)
        one, two = (network.head.residual((torch.empty(0), x), latent) for x in (torn, other))
        assert torch.equal(one, two)
        assert (one[:, 1, :8] == 0).all()
        assert (one[:, 0, :8] != 0).any()


def test_one_mask_is_a_share_and_a_pixel_counts_where_it_is_whole():
    square = torch.zeros(1, 7, 2, 2)
    square[0, 6] = torch.tensor([[1.0, 2 / 3], [0.0, 1.0]])
    assert valid_of(square, 3, 1)[0, 2].tolist() == [[1, 0], [0, 1]]
    assert valid_of(square, 3, 0).min() == 1


def test_figures_by_hand():
    residual, valid = torch.zeros(1, 2, 16, 16), torch.ones(1, 2, 16, 16)
    residual[0, :, 7:10, 10:13] = 3.0
    valid[0, 1, :, :8] = 0
    found = figures(residual, valid, torch.tensor([5.0]))[0]
    squares, counts = [0.0] * RINGS, [0] * RINGS
    for band in range(2):
        for y in range(16):
            for x in range(16):
                ring = int(math.hypot(y - 7.5, x - 7.5) // 2)
                if ring < RINGS and valid[0, band, y, x]:
                    squares[ring] += residual[0, band, y, x].item() ** 2
                    counts[ring] += 1
    expected = [math.log(max(square / count, 1e-3)) for square, count in zip(squares, counts, strict=True)]
    assert found.tolist() == pytest.approx([*expected, math.log(4), math.log(6)], rel=1e-5)
    assert len(found) == len(FIGURES)


def test_a_network_that_has_scored_stamps_can_be_asked_where_it_looks():
    network, seen = small(size=8), stamps()
    with torch.inference_mode():
        network(seen)
    asked = seen.clone().requires_grad_(True)
    network(asked).sum().backward()
    assert asked.grad is not None
    assert asked.grad.abs().max() > 0


def test_a_picture_stands_in_the_middle_of_its_stamp_and_a_smaller_stamp_is_refused():
    network = small()
    with torch.inference_mode():
        picture = network.reconstruct(stamps(side=24))
        assert picture.shape == (3, 3, 24, 24)
        assert torch.equal(picture[..., 4:20, 4:20], network.head.draw(network.latent(stamps(side=24))[0]))
        assert picture[..., :4, :].abs().max() == picture[..., 20:].abs().max() == 0
    with pytest.raises(ModelMismatch, match="draws 16 x 16 px, the stamp has 12 x 12"):
        network(stamps(side=12))


def test_one_band_is_enough():
    network = build("vae", 3, {"width": 4, "latent": 12, "size": 16, "drawn": 1, "masks": 1}).eval()
    assert isinstance(network, Vae)
    with torch.inference_mode():
        assert network.reconstruct(stamps()[:, [0, 3, 6]]).shape == (3, 1, 24, 24)


def test_each_distance_by_hand_in_the_chosen_dimensions():
    rng = np.random.default_rng(2)
    e = rng.normal(size=(6, 12 + len(FIGURES))).astype(np.float32)
    normal = np.where(np.arange(e.shape[1]) == 1, 0.3, 0.0)
    whitening = np.diag(np.where(np.isin(np.arange(e.shape[1]), [1, 12]), [2.0], 0.0))
    whitening[1, 12] = 0.5
    chosen = np.isin(np.arange(e.shape[1]), [1, 12, 14])
    expected = {
        "mahalanobis": np.log((2 * (e[:, 1] - 0.3)) ** 2 + (0.5 * (e[:, 1] - 0.3) + 2 * e[:, 12]) ** 2),
        "contrast": 0.5
        * (
            (2 * (e[:, 1] - 0.3)) ** 2
            + (0.5 * (e[:, 1] - 0.3) + 2 * e[:, 12]) ** 2
            - ((e[:, 1] - 1.3) ** 2 + (e[:, 12] - 1) ** 2 + (e[:, 14] - 1) ** 2) / 4
        ),
        "svdd": np.log((e[:, 1] - 0.25) ** 2),
        "reconstruction": (e[:, 12] + e[:, 14]) / 2,
        "mixture": 0.5 * e[:, 1] ** 2 + 0.5 * math.log(2 * math.pi),
    }
    for distance, wanted in expected.items():
        head = small(distance=distance).head
        head.centre.fill_(0.25)
        known = chosen & head.may_choose().numpy()
        kept = {"chosen": known, "mean": normal, "whitening": whitening}
        kept |= {"anomaly_mean": normal + known, "anomaly_whitening": np.diag(known / 2)}
        head.keep(**{name: torch.tensor(value) for name, value in kept.items()})
        np.testing.assert_allclose(head.classify(torch.tensor(e)).detach().numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_chi_squared_of_histograms_by_counting():
    rng = np.random.default_rng(5)
    normal, unusual = rng.normal(size=(400, 2)), rng.normal((0.0, 1.5), size=(100, 2))
    for place, found in enumerate(histogram_chi_squared(normal, unusual, 4)):
        edges = np.quantile(normal[:, place], [0.25, 0.5, 0.75])
        total = 0.0
        for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True):
            first, second = (
                int(((part[:, place] > low) & (part[:, place] <= high)).sum()) for part in (normal, unusual)
            )
            total += (math.sqrt(100 / 400) * first - math.sqrt(400 / 100) * second) ** 2 / (first + second)
        assert found == pytest.approx(total / 3)


def test_the_choice_finds_the_dimension_of_the_anomalies_and_whitens_normal_stamps_there():
    rng = np.random.default_rng(6)
    anomaly = np.arange(2400) % 12 == 0
    embedding = rng.normal(size=(2400, 6)) * [1, 1, 1, 3, 1, 1]
    embedding[:, 4] += 0.8 * embedding[:, 1]
    embedding[anomaly, 1] += 2.5
    embedding[anomaly, 4] -= 2.5
    embedding[anomaly, 5] += 9.0
    embedding[3] = np.nan
    allowed = np.arange(6) < 5
    choice = choose(embedding, anomaly, allowed, share=0.2)
    assert np.flatnonzero(choice.chosen).tolist() == [1, 4]
    known = np.isfinite(embedding).all(axis=1) & ~anomaly
    whitened = (embedding[known] - choice.mean)[:, choice.chosen] @ choice.whitening[np.ix_([1, 4], [1, 4])]
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(2), atol=0.02)
    assert np.flatnonzero(choose(embedding, anomaly, allowed, share=0.0, most=1).chosen).size == 1


def test_a_choice_of_too_few_anomalies_is_refused():
    with pytest.raises(ConfigError, match="10 normal stamps and as many anomalies; the training stamps hold 36 and 4"):
        choose(np.zeros((40, 3)), np.arange(40) < 4, np.ones(3, bool))


def test_a_settled_head_ranks_anomalies_above_normal_stamps():
    head = small().head
    rng = np.random.default_rng(7)
    anomaly = np.arange(1000) % 10 == 0
    embedding = rng.normal(size=(1000, 12 + len(FIGURES)))
    embedding[anomaly, 2] += 4.0
    settle(head, embedding, anomaly)
    assert head.chosen[2] == 1
    logits = head.classify(torch.tensor(embedding, dtype=torch.float32)).numpy()
    assert np.median(logits[anomaly]) > np.quantile(logits[~anomaly], 0.98)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "vgg"}, "encoder is 'vgg'; there are plain, resnet18"),
        ({"distance": "euclid"}, "distance is 'euclid'; there are mahalanobis"),
        ({"size": 20}, "multiple of 8 px, not size = 20"),
        ({"masks": 2}, "can't draw 3 and take 2"),
        ({"components": 2, "anomalous": 2}, "leave none for normal stamps"),
        ({"encoder": 2}, "does not take encoder = 2"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        small(**arguments)
