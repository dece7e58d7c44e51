"""What the evidence lower bound asks of a batch, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.special import logsumexp
from scipy.stats import norm
from torch import nn

from pipeline.errors import ConfigError
from pipeline.evaluate.metrics import auroc
from pipeline.models import build
from pipeline.models.vae import Vae
from pipeline.train.config import TrainConfig
from pipeline.train.held import Stamps
from pipeline.train.loop import Progress, train
from pipeline.train.method_config import MethodConfig
from pipeline.train.methods import Batch, Context, Method, build_method
from pipeline.train.methods.elbo_terms import DeepFeatures, decompose


def network(**arguments: object) -> Vae:
    torch.manual_seed(3)
    made = build("vae", 9, {"width": 4, "latent": 12, "size": 16, "masks": 3, **arguments})
    assert isinstance(made, Vae)
    return made


def method(**values: object) -> Method:
    given = {"name": "elbo", "ramp": 0.0, **values}
    return build_method(TypeAdapter(MethodConfig).validate_python(given), channels=9, size=24)


def context(average: nn.Module) -> Context:
    return Context(50, 100, average, torch.Generator().manual_seed(5))


def batch(labels: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0), views: int = 0) -> Batch:
    torch.manual_seed(4)
    channels = torch.rand(len(labels), 9, 24, 24)
    channels[:, 6:] = (torch.rand(len(labels), 3, 24, 24) > 0.1).float()
    return Batch(channels, torch.tensor(labels), tuple(torch.rand(3, 9, 24, 24) for _ in range(views)))


def sources(n: int, seed: int) -> Stamps:
    """Round sources; a quarter have a second one beside them, the anomalies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24] - 11.5
    lens = np.arange(n) % 4 == 0
    image = rng.normal(0, 1, (n, 3, 24, 24)) + 60 * np.exp(-(x**2 + y**2) / 8)
    image[lens] += 40 * np.exp(-((x - 4) ** 2 + y**2) / 8)
    flagged, kind = np.zeros((n, 3, 24, 3), np.uint8), np.where(lens, "lens", "star")
    return Stamps(image.astype(np.float32), flagged, lens, kind, ("g", "r", "i"), 0.25, str(seed))


def test_reconstruction_and_divergence_of_the_normal_stamps_by_hand():
    vae, given = network().eval(), batch()
    losses = method(kl=0.5).losses(vae, given, context(vae))
    assert list(losses) == ["reconstruction", "kl"]
    noise = torch.randn((3, 12), generator=torch.Generator().manual_seed(5))
    reconstruction = divergence = 0.0
    with torch.inference_mode():
        for place, row in enumerate((0, 2, 3)):
            stamp = given.channels[row : row + 1]
            mean, log_variance = vae.latent(stamp)
            drawn = vae.head.draw(mean + torch.exp(log_variance / 2) * noise[place])[0]
            for band in range(3):
                known = stamp[0, 6 + band, 4:20, 4:20] == 1
                wrong = (stamp[0, band, 4:20, 4:20] - drawn[band]) / 0.1
                reconstruction += 0.5 * float((wrong[known] ** 2).sum())
            divergence += 0.5 * float((mean**2 + torch.exp(log_variance) - 1 - log_variance).sum())
    assert losses["reconstruction"].item() == pytest.approx(reconstruction / 3 / 768, rel=1e-4)
    assert losses["kl"].item() == pytest.approx(0.5 * divergence / 3 / 768, rel=1e-4)


def test_what_an_anomaly_looks_like_changes_neither_losses_nor_weights_nor_running_means():
    first, other = batch(), batch()
    other.channels[1] = 7.0
    vaes = [network().train(), network().train()]
    for vae, given in zip(vaes, (first, other), strict=True):
        elbo = method(svdd=1.0, total_correlation=2.0)
        sum(elbo.losses(vae, given, context(vae)).values()).backward()
    for one, two in zip(vaes[0].state_dict().values(), vaes[1].state_dict().values(), strict=True):
        assert torch.equal(one, two)
    for one, two in zip(vaes[0].parameters(), vaes[1].parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


def test_the_parts_of_the_divergence_by_loops_and_their_sum():
    rng = np.random.default_rng(1)
    n, d = 7, 3
    z, mean, log_variance = rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.normal(size=(n, d))
    parts = np.zeros(3)
    for i in range(n):
        each = np.array(
            [[norm(mean[j, k], math.exp(log_variance[j, k] / 2)).logpdf(z[i, k]) for k in range(d)] for j in range(n)]
        )
        own, joint = each[i].sum(), logsumexp(each.sum(axis=1)) - math.log(n)
        apart = sum(logsumexp(each[:, k]) - math.log(n) for k in range(d))
        parts += [own - joint, joint - apart, apart - norm.logpdf(z[i]).sum()]
    found = decompose(*(torch.tensor(part) for part in (z, mean, log_variance)))
    np.testing.assert_allclose([part.item() for part in found], parts / n, rtol=1e-6)
    # The constants cancel: the sum is the mean of log q(z|x) - log p(z).
    direct = np.mean([norm.logpdf(z[i], mean[i], np.exp(log_variance[i] / 2)).sum() for i in range(n)])
    assert sum(part.item() for part in found) == pytest.approx(direct - norm.logpdf(z).sum() / n)


def test_total_correlation_tells_tied_dimensions_from_independent_ones():
    torch.manual_seed(2)
    one, other = torch.randn(400, 1), torch.randn(400, 1)
    narrow = torch.full((400, 2), -3.0)
    tied, apart = (
        decompose(z, z, narrow).total_correlation for z in (torch.cat([one, one], 1), torch.cat([one, other], 1))
    )
    assert apart.abs() < 0.3
    assert tied > 1.0


def test_the_centre_of_an_svdd_follows_the_normal_stamps():
    vae, given = network().train(), batch()
    loss = method(svdd=2.0).losses(vae, given, context(vae))["svdd"]
    with torch.inference_mode():
        mean = vae.latent(given.channels[[0, 2, 3]])[0]
    assert loss.item() == pytest.approx(2 * (mean**2).sum().item() / 3 / 768, rel=1e-3)
    np.testing.assert_allclose(vae.head.centre.numpy(), 0.02 * mean.mean(0).numpy(), rtol=1e-3, atol=1e-6)


def test_anomalies_that_are_learned_from_are_not_drawn_to_the_centre_of_an_svdd():
    vae, given = network(components=3, anomalous=1).train(), batch()
    losses = method(svdd=2.0, labelled=1.0).losses(vae, given, context(vae))
    with torch.inference_mode():
        mean = vae.latent(given.channels)[0][[0, 2, 3]]
    assert losses["svdd"].item() == pytest.approx(2 * (mean**2).sum().item() / 3 / 768, rel=1e-3)
    np.testing.assert_allclose(vae.head.centre.numpy(), 0.02 * mean.mean(0).numpy(), rtol=1e-3, atol=1e-6)
    before = vae.head.centre.clone()
    alone = method(svdd=2.0, labelled=1.0).losses(vae, batch((1.0, 1.0)), context(vae))
    assert alone["svdd"].item() == 0
    assert torch.equal(vae.head.centre, before)


def test_labels_pull_anomalies_to_their_components_and_unlabelled_stamps_have_none():
    vae = network(components=3, anomalous=1, distance="mixture").eval()
    given = batch(views=1)
    losses = method(labelled=1.0, smoothing=0.0, ratio=0.75).losses(vae, given, context(vae))
    with torch.inference_mode():
        logits = vae.head.prior.surprise(vae.latent(given.channels)[0], torch.ones(12)).tolist()
    expected = [math.log1p(math.exp(x if label == 0 else -x)) for x, label in zip(logits, [0, 1, 0, 0], strict=True)]
    assert losses["labelled"].item() == pytest.approx(np.mean(expected), rel=1e-4)
    with pytest.raises(ConfigError, match="anomalous = 1 or more"):
        method(labelled=1.0).losses(network(), given, context(vae))


def test_deep_features_of_equal_pictures_have_no_distance_and_their_network_stays():
    torch.manual_seed(1)
    deep, picture = DeepFeatures("ground_preact_resnet"), torch.rand(2, 3, 32, 32)
    assert deep.distance(picture, picture).item() == 0
    other = torch.rand(2, 3, 32, 32, requires_grad=True)
    before = [value.clone() for part in deep.parts for value in part.state_dict().values()]
    loss = deep.distance(picture, other)
    loss.backward()
    assert loss.item() > 0.01
    assert other.grad.abs().max() > 0
    after = [value for part in deep.parts for value in part.state_dict().values()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    with pytest.raises(ConfigError, match="has no stem and stages"):
        DeepFeatures("ground_unet").distance(picture, other)


def test_other_networks_and_batches_of_anomalies_alone_are_refused():
    cnn = build("cnn", 9, {"width": 8})
    with pytest.raises(ConfigError, match=r'trains network\.architecture = "vae"'):
        method().losses(cnn, batch(), context(cnn))
    vae = network()
    with pytest.raises(ConfigError, match=r"lower sampler\.lens_share"):
        method().losses(vae, batch((1.0, 1.0, 0.0)), context(vae))


def test_settling_measures_where_labels_of_training_stamps_say():
    stamps = sources(60, 1)
    vae = network()
    rng = np.random.default_rng(1)
    width = len(vae.head.names)

    def embed(rows: np.ndarray) -> np.ndarray:
        found = rng.normal(size=(len(rows), width)).astype(np.float32)
        found[stamps.lens[rows], 5] += 6
        return found

    method(choice={"bins": 5, "most": 2}).settle(vae, embed, stamps)
    assert vae.head.chosen[5] == 1
    assert vae.head.chi_squared.argmax() == 5


class Stop(Exception):
    pass


def stop(progress: Progress) -> None:
    if progress.step == 8:
        raise Stop


def test_a_stopped_run_resumes_to_the_same_network_and_finds_doubles_it_never_learned(tmp_path: Path):
    config = TrainConfig.model_validate(
        {
            "name": "test",
            "seed": 3,
            "network": {
                "architecture": "vae",
                "arguments": {"width": 4, "latent": 12, "size": 16, "masks": 3},
            },
            "package": {"bands": ["g", "r", "i"], "pixel_scale": "0.25 arcsec", "size_pix": 24, "reference": "none"},
            "normalisation": {"validity": "bands", "frame": "1 arcsec"},
            "data": {"train": ["x"], "validation": ["y"]},
            "optimiser": {"batch": 24, "steps": 26, "average": 0.9, "learning_rate": 5e-3},
            "method": {"name": "elbo", "svdd": 0.1},
            "run": {
                "dtype": "float32",
                "checkpoint_steps": 3,
                "report_steps": 4,
                "validation_steps": 100,
                "device": "cpu",
            },
        }
    )
    stamps, validation = sources(200, 1), sources(80, 2)
    whole = train(config, stamps, validation, tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, stamps, validation, tmp_path / "stopped", report=stop)
    resumed = train(config, stamps, validation, tmp_path / "stopped", resume=True)
    assert np.array_equal(whole.logits, resumed.logits)
    assert auroc(whole.logits, validation.lens).value > 0.9
