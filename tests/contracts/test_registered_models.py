"""What every registered network, method, shipped package and shipped ensemble promises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from pipeline.config import config_root, shipped
from pipeline.models import ARCHITECTURES, build
from pipeline.models.card import WEIGHTS, find_package, shipped_packages
from pipeline.models.ensemble import load_ensemble
from pipeline.models.layers import MapHead, Network
from pipeline.models.onnx_session import onnx_run
from pipeline.models.package import channels_last, load_package
from pipeline.models.posterior import PARAMETERS, PosteriorHead
from pipeline.models.publish import save_package
from pipeline.models.saliency import saliency
from pipeline.models.transfer import encoder_and_head
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig
from pipeline.train.load import load_training
from pipeline.train.method_config import MethodConfig
from pipeline.train.methods import METHODS, Batch, Context, build_method
from pipeline.train.recipe import is_recipe
from tests.cards import UNFITTED, card

NETWORKS = sorted(ARCHITECTURES)
PACKAGES = shipped_packages()
ENSEMBLES = shipped("ensembles")
TRAININGS = [name for name in shipped("training") if not is_recipe(config_root() / "training" / f"{name}.toml")]


@dataclass(frozen=True)
class Shape:
    """What a network is given: channels, sides of stamps with the arguments that they need."""

    channels: int = 7
    sizes: tuple[tuple[int, dict[str, int]], ...] = ((64, {}), (48, {}), (96, {}))


SHAPES = dict.fromkeys(NETWORKS, Shape()) | {
    "lensnet": Shape(sizes=((48, {}), (64, {"size": 64}), (48, {"flow": 0}))),
    "ou_cnn": Shape(4, ((66, {"size": 66}), (200, {"size": 200}))),
}

TRAINED_BY = {
    "segmentation": ("unet", {}),
    "elbo": ("vae", {"size": 32}),
    "few_shot": ("cnn", {"support": 4}),
    "posterior": ("lensnet", {"size": 32}),
}
"""What a method trains that doesn't train any network."""


def fresh(name: str, size_index: int = 0) -> tuple[Network, int, int]:
    """A network that has seen one batch, in evaluation mode, its channels, and the side of its stamps."""
    torch.manual_seed(11)
    shape = SHAPES[name]
    size, arguments = shape.sizes[size_index]
    network = build(name, shape.channels, arguments).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(8, shape.channels, size, size))
    return network.eval(), shape.channels, size


@pytest.mark.parametrize(("name", "index"), [(n, index) for n in NETWORKS for index in range(len(SHAPES[n].sizes))])
def test_a_network_maps_channels_of_any_size_to_one_logit_each(name: str, index: int):
    network, channels, size = fresh(name, index)
    x = torch.randn(3, channels, size, size)
    with torch.inference_mode():
        together = network(x)
        assert together.shape == (3,)
        assert together.dtype == torch.float32
        assert torch.allclose(together[1:2], network(x[1:2]), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_the_same_twice_and_whatever_the_layout_or_the_number_of_stamps(name: str):
    network, channels, size = fresh(name)
    x = torch.randn(5, channels, size, size)
    laid_out = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        once = network(x)
        assert torch.equal(once, network(x))
        one_by_one = torch.cat([network(x[row : row + 1]) for row in range(5)])
        assert torch.allclose(one_by_one, once, atol=1e-5)
        assert torch.allclose(channels_last(network)(laid_out), once, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logit_is_the_last_layer_on_the_embedding(name: str):
    network, channels, size = fresh(name)
    x = torch.randn(4, channels, size, size)
    with torch.inference_mode():
        embedding = network.embed(x)
        assert embedding.shape[0] == 4
        assert 16 <= embedding.shape[1] <= 512
        assert embedding.dtype == torch.float32
        assert torch.equal(network.head.classify(embedding), network(x))
        assert not torch.allclose(embedding[0], embedding[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_in_bfloat16_with_float32_answers_near_its_own(name: str):
    network, channels, size = fresh(name)
    x = torch.randn(4, channels, size, size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        full = network.embed(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, logits = network.embed(x), network(x)
    assert half.dtype == logits.dtype == torch.float32
    assert (half - full).abs().max() < 0.05 * full.abs().max()


@pytest.mark.parametrize(("name", "index"), [(n, index) for n in NETWORKS for index in range(len(SHAPES[n].sizes))])
def test_a_network_says_where_it_looks_and_is_not_changed_by_that(name: str, index: int):
    network, channels, size = fresh(name, index)
    network.head.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(5, channels, size, size)
    maps = saliency(network, x)
    assert (maps.shape, maps.dtype, maps.requires_grad) == ((5, size, size), torch.float32, False)
    assert maps.min() == 0
    assert torch.equal(maps.amax((1, 2)), torch.ones(5))
    assert torch.equal(maps, saliency(network, x))
    assert torch.allclose(maps[1:2], saliency(network, x[1:2]), atol=1e-3)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for key, parameter in network.named_parameters() if not key.startswith("head."))
    assert not any(part._forward_hooks for part in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_small_and_trains_every_parameter(name: str):
    network, channels, size = fresh(name)
    assert 50_000 < sum(parameter.numel() for parameter in network.parameters()) < 1_500_000
    x = torch.randn(4, channels, size, size)
    network.train()(x).sum().backward()
    if isinstance(network.head, MapHead):
        network.head.draw_maps(network.encode(x)).square().sum().backward()
    if isinstance(network.head, PosteriorHead):
        network.head.log_prob(network.embed(x), torch.full((4, len(PARAMETERS)), 0.3)).sum().backward()
    without = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []
    encoder, head = encoder_and_head(network)
    assert encoder
    assert head


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_travels_through_a_package(name: str, tmp_path: Path):
    network, channels, size = fresh(name)
    own = card(
        architecture=name,
        arguments=SHAPES[name].sizes[0][1],
        bands=[f"b{index}" for index in range(channels)],
        size_pix=size,
        normalisation={"kind": "min_max"},
    )
    save_package(tmp_path / "contract", own, network, UNFITTED)
    package = load_package(tmp_path / "contract")
    assert package.card == own
    x = torch.randn(2, channels, size, size)
    with torch.inference_mode():
        assert torch.allclose(package.network(x), network(x), atol=1e-5)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_gives_losses_that_train_its_parameters(name: str):
    needed = {"consistency": {"target": "pi-model"}, "few_shot": {"shots": 1}}
    given = {"name": name, **needed.get(name, {})}
    method = build_method(TypeAdapter(MethodConfig).validate_python(given), channels=7, size=32)
    architecture, arguments = TRAINED_BY.get(name, ("cnn", {}))
    network = build(architecture, 7, {"width": 8, **arguments})
    views = tuple(torch.randn(4, 7, 32, 32) for _ in range(method.views))
    assert (method.ratio > 0) == bool(views)
    context = Context(0, 10, network, torch.Generator().manual_seed(1))
    batch = Batch(
        torch.randn(4, 7, 32, 32),
        torch.tensor([0.0, 1.0, 0.0, 1.0]),
        views,
        torch.rand(4, 2, 32, 32).round(),
        torch.full((4, len(PARAMETERS)), 0.3),
    )
    total = sum(method.losses(network, batch, context).values())
    assert math.isfinite(total.item())
    total.backward()
    for group in method.parameters(network):
        assert all(parameter.grad is not None for parameter in group["params"])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_onnxruntime_as_it_answers_torch(name: str):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: ./install.sh onnx")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: ./install.sh onnx")
    network, channels, size = fresh(name)
    stamps = torch.randn(4, channels, size, size)
    embedding, logits = onnx_run(network, tuple(stamps.shape), 1)(stamps)
    with torch.no_grad():
        torch.testing.assert_close(embedding, network.embed(stamps), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, network(stamps), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_shipped_package_loads_and_its_card_is_honest(name: str):
    package = load_package(find_package(name))
    assert package.name == name
    assert package.card.metrics
    with_interval = [metric for metric in package.card.metrics if metric.low is not None]
    assert len(with_interval) >= 3
    assert all(metric.low <= metric.value <= metric.high for metric in with_interval)
    assert any("simulat" in note for note in package.card.notes)


def test_all_shipped_weights_together_are_small():
    assert sum((find_package(name) / WEIGHTS).stat().st_size for name in PACKAGES) < 20_000_000


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_shipped_ensemble_scores_noise_low_and_reproducibly(name: str):
    ensemble = load_ensemble(name)
    bands = ensemble.bands()
    noise = np.random.default_rng(0).normal(0, 10, (8, len(bands), 78, 78)).astype(np.float32)
    config = ScoreConfig(batch=8, device="cpu")
    keys = {"pixel_scale": 0.262, "bands": bands, "ensemble": ensemble, "config": config}
    logits = score_cutouts(noise, None, None, **keys)
    assert logits.tobytes() == score_cutouts(noise, None, None, **keys).tobytes()
    assert (ensemble.score(logits, 1e-4).score < 0.01).all()


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_config_loads_and_its_head_says_command_and_figure(name: str):
    path = config_root() / "training" / f"{name}.toml"
    config = load_training(path)
    assert config.network.architecture in ARCHITECTURES
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert "lensscan train" in head
    assert "Figure" in head
