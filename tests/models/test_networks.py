"""What single networks do besides the contract that all keep."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.layers import Stem
from pipeline.models.transformer import Block, positions, tokens_of


def test_positions_are_sines_and_cosines_of_the_distance_from_the_centre():
    found = positions(2, 3, 8, torch.zeros(1))
    for row in range(2):
        for column in range(3):
            y, x = row - 0.5, column - 1.0
            expected = [math.sin(y), math.sin(y / 100), math.cos(y), math.cos(y / 100)]
            expected += [math.sin(x), math.sin(x / 100), math.cos(x), math.cos(x / 100)]
            assert torch.allclose(found[3 * row + column], torch.tensor(expected), atol=1e-6)


def test_positions_of_a_larger_grid_hold_those_of_a_smaller_one():
    small, large = positions(4, 4, 16, torch.zeros(1)), positions(8, 8, 16, torch.zeros(1))
    middle = large.reshape(8, 8, 16)[2:6, 2:6].reshape(16, 16)
    assert torch.allclose(small, middle, atol=1e-6)


def test_tokens_go_row_by_row():
    x = torch.arange(12.0).reshape(1, 4, 1, 3)
    expected = torch.tensor([[[0.0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]]) + positions(1, 3, 4, x) / 2
    assert torch.allclose(tokens_of(x), expected)


def test_attention_is_the_softmax_of_scaled_products_by_hand():
    torch.manual_seed(2)
    block = Block(8, 2, 16).eval()
    tokens = torch.randn(3, 5, 8)
    with torch.inference_mode():
        query, key, value = block.query_key_value(block.before_attention(tokens)).chunk(3, dim=-1)
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            weights = torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / 2.0, dim=-1)
            heads.append(weights @ value[..., part])
        between = tokens + block.merge(torch.cat(heads, dim=-1))
        expected = between + block.hidden(block.before_hidden(between))
        assert torch.allclose(block(tokens), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("vit", {"patch": 5}, "patch of 4, 8, 16 px, not 5"),
        ("vit", {"width": 100, "heads": 3}, "heads = 3, not 100"),
        ("attention", {"width": 66, "heads": 3}, "multiple of 4"),
        ("attention", {"patch": 8}, "patch"),
        ("cnn", {"wdth": 8}, "not take wdth = 8; it takes width = 24, dropout = "),
        ("cnn", {"width": 0}, "not take width = 0"),
        ("cnn", {"width": "8"}, "not take width = '8'"),
        ("cnn", {"width": 1.5}, "not take {'width': 1.5}"),
    ],
)
def test_arguments_that_cannot_be_are_config_errors(architecture: str, arguments: dict[str, int], message: str):
    with pytest.raises(ConfigError, match=message):
        build(architecture, 7, arguments)


def test_a_vit_refuses_stamps_that_patches_do_not_divide():
    network = build("vit", 7, {}).eval()
    with pytest.raises(ModelMismatch, match="60 x 60 px"):
        network(torch.zeros(1, 7, 60, 60))
    assert build("vit", 7, {"patch": 4}).eval()(torch.zeros(1, 7, 60, 60)).shape == (1,)


def test_an_odd_side_is_refused_by_networks_that_fold():
    with pytest.raises(ModelMismatch, match="33 x 33 px; give it even sides"):
        build("cnn", 7, {})(torch.zeros(2, 7, 33, 33))


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def test_a_resnet_of_two_blocks_has_eighteen_layers():
    network = build("resnet", 7, {})
    shortcuts = sum(not isinstance(block.shortcut, nn.Identity) for block in network.stages)  # type: ignore[operator, union-attr]
    assert count(network, nn.Conv2d) - shortcuts + 1 == 18


def test_multipliers_of_an_efficientnet_widen_and_deepen_it():
    plain, wide, deep = (build("efficientnet", 7, arguments) for arguments in ({}, {"width": 1.5}, {"depth": 2.0}))
    assert count(wide, nn.Conv2d) == count(plain, nn.Conv2d)
    assert len(deep.blocks) == 2 * len(plain.blocks) == 20  # type: ignore[arg-type]
    assert wide.blocks[-1].project[0].out_channels == 168  # type: ignore[index, union-attr]
    assert plain.blocks[-1].project[0].out_channels == 112  # type: ignore[index, union-attr]


def test_no_depthwise_convolution_of_an_efficientnet_has_a_stride_as_their_gradient_is_slow_in_bfloat16():
    layers = [layer for layer in build("efficientnet", 7, {}).modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.stride for layer in layers if layer.groups > 1} == {(1, 1)}
    assert sum(layer.stride == (2, 2) for layer in layers) == 3


def stems(masks: int) -> tuple[Stem, Stem]:
    """A stem that is renormalised by its last channel, and one without that channel and with the same weights."""
    torch.manual_seed(8)
    masked, plain = Stem(3 + masks, 8, masks).eval(), Stem(3, 8).eval()
    plain.load_state_dict(masked.state_dict())
    return masked, plain


def test_a_renormalised_stem_is_a_plain_one_where_everything_is_valid():
    masked, plain = stems(masks=1)
    image = torch.randn(2, 3, 16, 16)
    assert torch.allclose(masked(torch.cat([image, torch.ones(2, 1, 16, 16)], 1)), plain(image), atol=1e-6)


def test_a_renormalised_stem_scales_what_it_sees_up_to_a_whole_window_and_answers_nothing_from_nothing():
    masked, plain = stems(masks=1)
    image, told = torch.randn(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    image[..., 4:] = 0
    told[..., 4:] = 0
    with torch.no_grad():
        gathered = plain.convolve(torch.nn.functional.pixel_unshuffle(_with_radius(image) * told, 2))
        answer = masked(torch.cat([image, told], 1))
    # A window has three columns of 2 x 2 px: about the last valid one two of them are valid, about the next one is.
    expected = torch.relu(plain.norm(gathered * torch.tensor([1, 1.5, 3, 0, 0, 0, 0, 0])))
    assert torch.allclose(answer, expected, atol=1e-5)


def _with_radius(image: torch.Tensor) -> torch.Tensor:
    line = torch.linspace(-1, 1, image.shape[-1])
    return torch.cat([image, (line[:, None] ** 2 + line**2).sqrt().expand(len(image), 1, -1, -1)], 1)


@pytest.mark.parametrize("masks", [-1, 3])
def test_a_stem_of_masks_alone_is_refused(masks: int):
    with pytest.raises(ValueError, match="of 3 channels can't be masks"):
        Stem(3, 8, masks)
