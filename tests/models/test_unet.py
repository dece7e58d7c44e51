"""The network that draws two maps, and the classifier on its encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.models import build
from pipeline.models.layers import MapHead
from pipeline.models.publish import save_package
from pipeline.models.transfer import encoder_and_head, take_encoder
from pipeline.train.method_config import SegmentationConfig
from pipeline.train.methods import Batch, Context
from pipeline.train.methods.segmentation import Segmentation
from tests.cards import UNFITTED, card


def unet(**arguments: int) -> torch.nn.Module:
    torch.manual_seed(3)
    return build("unet", 7, {"width": 8, **arguments}).eval()


def package(folder: Path, network: torch.nn.Module) -> Path:
    save_package(folder, card(architecture="unet", size_pix=32), network, UNFITTED)
    return folder


@pytest.mark.parametrize("size", [32, 48, 64])
def test_two_maps_lie_on_the_pixels_of_the_stamp(size: int):
    network = unet()
    assert isinstance(network.head, MapHead)
    with torch.inference_mode():
        maps = network.head.draw_maps(network.encode(torch.randn(3, 7, size, size)))
    assert maps.shape == (3, 2, size, size)
    assert maps.dtype == torch.float32


def test_a_spot_that_moves_moves_in_the_maps():
    network = unet()
    blank = torch.zeros(1, 7, 64, 64)
    spot = blank.clone()
    spot[:, :6, 20:22, 40:42] = 3.0
    with torch.inference_mode():
        drawn = [network.head.draw_maps(network.encode(x)) for x in (blank, spot)]
    change = (drawn[1] - drawn[0]).abs().sum((0, 1))
    y, x = divmod(int(change.argmax()), 64)
    assert abs(y - 20.5) < 8
    assert abs(x - 40.5) < 8


def test_without_maps_the_decoder_is_cut_off_and_the_encoder_is_the_same():
    whole, cut = unet(), unet(maps=0)
    assert cut.head.planes == 0
    assert set(encoder_and_head(cut)[0]) == set(encoder_and_head(whole)[0])
    assert sum(p.numel() for p in cut.parameters()) < 0.8 * sum(p.numel() for p in whole.parameters())


def test_a_classifier_starts_from_the_encoder_of_a_drawer(tmp_path: Path):
    source, cut = unet(), unet(maps=0)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1)
    taken = take_encoder(cut, "unet", package(tmp_path / "drawer", source))
    assert taken.fresh == ()
    given = dict(source.named_parameters())
    assert all(torch.equal(value, given[name]) for name, value in encoder_and_head(cut)[0].items())


def test_segmentation_refuses_a_network_that_draws_nothing():
    method = Segmentation(SegmentationConfig(name="segmentation"), 7, 32)
    batch = Batch(torch.randn(2, 7, 32, 32), torch.tensor([0.0, 1.0]), maps=torch.zeros(2, 2, 32, 32))
    network = unet(maps=0)
    with pytest.raises(ConfigError, match="maps = 2"):
        method.losses(network, batch, Context(0, 1, network, torch.Generator()))


def test_the_losses_of_maps_fall_to_nothing_as_they_come_right():
    method = Segmentation(SegmentationConfig(name="segmentation", label_weight=0.0), 7, 32)
    truth = torch.zeros(2, 2, 32, 32)
    truth[0, 0, 10:14, 10:20] = 1.0

    class Drawn(torch.nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.head = unet().head
            self.head.draw_maps = lambda _: logits  # type: ignore[method-assign]
            self.encode = unet().encode

    losses = []
    for sure in (0.0, 2.0, 20.0):
        network = Drawn((2 * truth - 1) * sure)
        batch = Batch(torch.randn(2, 7, 32, 32), torch.tensor([0.0, 1.0]), maps=truth)
        found = method.losses(network, batch, Context(0, 1, network, torch.Generator()))
        losses.append(float(found["lens_light"].detach() + found["artefact"].detach()))
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 1e-3
