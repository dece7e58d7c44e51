"""What every registered network, method, shipped package and shipped ensemble promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.config import config_root, load, shipped
from pipeline.models import ARCHITECTURES, build
from pipeline.models.ensemble import load_ensemble
from pipeline.models.package import WEIGHTS, find_package, load_package, shipped_packages
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig
from pipeline.train.config import MethodConfig, TrainConfig
from pipeline.train.methods import METHODS, Batch, build_method

NETWORKS = sorted(ARCHITECTURES)
PACKAGES = shipped_packages()
ENSEMBLES = shipped("ensembles")
TRAININGS = shipped("training")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [48, 64])
def test_a_network_maps_channels_to_one_logit_each(name: str, size: int):
    network = build(name, 7, {}).eval()
    x = torch.randn(3, 7, size, size)
    with torch.inference_mode():
        together = network(x)
        assert together.shape == (3,)
        assert together.dtype == torch.float32
        assert torch.allclose(together[1:2], network(x[1:2]), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_small_and_trains_every_parameter(name: str):
    network = build(name, 7, {}).train()
    assert 50_000 < sum(parameter.numel() for parameter in network.parameters()) < 400_000
    network(torch.randn(4, 7, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_gives_losses_that_train_its_parameters(name: str):
    method = build_method(MethodConfig(name=name))
    network = build("cnn", 7, {"width": 8})
    losses = method.losses(network, Batch(torch.randn(4, 7, 32, 32), torch.tensor([0.0, 1.0, 0.0, 1.0])))
    total = sum(losses.values())
    assert math.isfinite(total.item())
    total.backward()
    assert any(parameter.grad is not None for parameter in method.parameters(network))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_shipped_package_loads_and_its_card_is_honest(name: str):
    package = load_package(find_package(name))
    assert package.name == name
    assert (package.path / WEIGHTS).stat().st_size < 2_000_000
    assert package.card.metrics
    with_interval = [metric for metric in package.card.metrics if metric.low is not None]
    assert len(with_interval) >= 3
    assert all(metric.low <= metric.value <= metric.high for metric in with_interval)
    assert any("simulat" in note for note in package.card.notes)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_shipped_ensemble_scores_noise_low_and_reproducibly(name: str):
    ensemble = load_ensemble(name)
    bands = ensemble.bands()
    noise = np.random.default_rng(0).normal(0, 10, (8, len(bands), 78, 78)).astype(np.float32)
    config = ScoreConfig(batch=8, device="cpu")
    keys = {"pixel_scale": 0.262, "bands": bands, "ensemble": ensemble, "config": config}
    logits = score_cutouts(noise, None, None, **keys)
    assert logits.tobytes() == score_cutouts(noise, None, None, **keys).tobytes()
    score, _ = ensemble.combine(ensemble.calibrated(logits, 1e-4))
    assert (score < 0.01).all()


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_config_loads_and_its_head_says_command_and_figure(name: str):
    path = config_root() / "training" / f"{name}.toml"
    config = load(TrainConfig, path)
    assert config.network.architecture in ARCHITECTURES
    head = path.read_text(encoding="utf-8").split("\nname =")[0]
    assert "lensscan train" in head
    assert "Figure" in head
