"""A fresh network that starts from the encoder of a package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import ModelMismatch
from pipeline.models import build
from pipeline.models.normalisation import NormalisationConfig
from pipeline.models.publish import save_package
from pipeline.models.transfer import encoder_and_head, take_encoder
from tests.cards import UNFITTED, card

CONFIG = NormalisationConfig()


def package(folder: Path, architecture: str, bands: tuple[str, ...] = ("g", "r", "i"), **arguments: int) -> Path:
    torch.manual_seed(7)
    network = build(architecture, CONFIG.channels(len(bands)), arguments)
    for name, value in network.state_dict().items():
        if "running" in name:
            value.add_(0.1)
    own = card(name="before", architecture=architecture, arguments=arguments, bands=bands)
    save_package(folder, own, network, UNFITTED)
    return folder


def states(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("architecture", ["cnn", "vit"])
def test_the_whole_encoder_is_taken_and_the_head_left(architecture: str, tmp_path: Path) -> None:
    source = package(tmp_path / "p", architecture)
    network = build(architecture, 7, {})
    before = states(network)
    taken = take_encoder(network, architecture, source)
    torch.manual_seed(7)
    original = build(architecture, 7, {}).state_dict()
    for name, value in network.state_dict().items():
        if name.startswith("head."):
            assert torch.equal(value, before[name])
        elif "running" not in name:
            assert torch.equal(value, original[name])
        else:
            assert torch.equal(value, original[name] + 0.1)
    encoder, head = encoder_and_head(network)
    assert taken.fresh == ()
    assert not taken.adapted
    assert taken.n_taken == taken.n_parameters == sum(value.numel() for value in encoder.values())
    assert set(encoder) | set(head) == {name for name, _ in network.named_parameters()}
    assert all(name.startswith("head.") for name in head)
    assert "of before" in str(taken)


def test_other_arguments_take_what_fits(tmp_path: Path) -> None:
    source = package(tmp_path / "p", "resnet", width=8, blocks=1)
    network = build("resnet", 7, {"width": 8, "blocks": 2})
    taken = take_encoder(network, "resnet", source)
    assert "stem.convolve.weight" in taken.taken
    assert "stages.0.first.0.weight" in taken.taken
    assert "stages.7.first.0.weight" in taken.fresh
    assert 0 < taken.n_taken < taken.n_parameters


def test_another_architecture_or_nothing_in_common_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    source = package(tmp_path / "p", "cnn", width=8)
    other = build("multiscale", 7, {})
    with pytest.raises(ModelMismatch, match="encoder of a cnn can't start a multiscale"):
        take_encoder(other, "multiscale", source)
    wider = build("cnn", 7, {"width": 16})
    before = states(wider)
    wider_names = {name for name, value in before.items() if name.startswith("blocks")}
    assert wider_names
    with pytest.raises(ModelMismatch, match="nothing in the encoder"):
        take_encoder(wider, "cnn", source)
    assert all(torch.equal(value, before[name]) for name, value in wider.state_dict().items())


def test_other_channels_are_refused_unless_asked_for(tmp_path: Path) -> None:
    source = package(tmp_path / "p", "cnn", width=8)
    network = build("cnn", CONFIG.channels(1), {"width": 8})
    with pytest.raises(ModelMismatch, match="reads g, r, i"):
        take_encoder(network, "cnn", source)
    with pytest.raises(ModelMismatch, match="groups are of 5 channels, the network has 3"):
        take_encoder(network, "cnn", source, groups=CONFIG.groups(2))


@pytest.mark.parametrize("bands", [1, 5])
def test_adapted_weights_answer_alike_where_every_band_shows_the_same(bands: int, tmp_path: Path) -> None:
    source = package(tmp_path / "p", "cnn", width=8)
    torch.manual_seed(7)
    original = build("cnn", 7, {"width": 8})
    network = build("cnn", CONFIG.channels(bands), {"width": 8})
    assert take_encoder(network, "cnn", source, groups=CONFIG.groups(bands)).adapted
    faint, bright, valid = torch.randn(3, 2, 1, 16, 16)
    three = torch.cat([faint.expand(-1, 3, -1, -1), bright.expand(-1, 3, -1, -1), valid], dim=1)
    some = torch.cat([faint.expand(-1, bands, -1, -1), bright.expand(-1, bands, -1, -1), valid], dim=1)
    found = network.stem.train()(some)  # type: ignore[operator, union-attr]
    assert torch.allclose(found, original.stem.train()(three), atol=1e-5)  # type: ignore[operator, union-attr]
