"""What moves with a stamp: parameters of its lens, by the moments of pictures."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.models.posterior import NAMES, PARAMETERS
from pipeline.train.augment import augment, augment_with_parameters
from pipeline.train.augment_config import AugmentConfig

SCALE, SIDE, WIDTH = 0.3, 60, 0.9
CONFIG = AugmentConfig(
    zoom=1.3,
    zoom_share=0.6,
    shift="0.9 arcsec",
    blur_share=0,
    gain=0,
    band_gain=0,
    noise_share=0,
    background_share=0,
    gap_share=0,
)


def axis(side: int) -> torch.Tensor:
    return (torch.arange(side) - (side - 1) / 2) * SCALE


def blob(x: torch.Tensor, y: torch.Tensor, e1: torch.Tensor, e2: torch.Tensor) -> torch.Tensor:
    """Normal blobs (n, y, x) of second moments WIDTH^2 times (1 + e1, e2; e2, 1 - e1)."""
    dx, dy = axis(SIDE)[None, None, :] - x[:, None, None], axis(SIDE)[None, :, None] - y[:, None, None]
    first, second, both = (WIDTH**2 * part[:, None, None] for part in (1 + e1, 1 - e1, e2))
    squared = (second * dx * dx - 2 * both * dx * dy + first * dy * dy) / (first * second - both * both)
    return torch.exp(-squared / 2)


def moments(image: torch.Tensor) -> dict[str, torch.Tensor]:
    line = axis(image.shape[-1])
    total = image.sum((1, 2))
    x, y = (image * line).sum((1, 2)) / total, (image * line[:, None]).sum((1, 2)) / total
    dx, dy = line[None, None, :] - x[:, None, None], line[None, :, None] - y[:, None, None]
    xx, yy, xy = ((image * part).sum((1, 2)) / total for part in (dx * dx, dy * dy, dx * dy))
    size = ((xx + yy) / 2).sqrt()
    return {"x": x, "y": y, "e1": (xx - yy) / (xx + yy), "e2": 2 * xy / (xx + yy), "size": size}


def pictures(n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Two planes, one whose blob is the lens and one whose blob is the source, and the parameters that they show."""
    chance = torch.Generator().manual_seed(3)
    length, angle = 0.1 + 0.3 * torch.rand(n, generator=chance), math.pi * torch.rand(n, generator=chance)
    parameters = torch.zeros(n, len(PARAMETERS))
    parameters[:, 0] = 1.5
    parameters[:, 1], parameters[:, 2] = length * torch.cos(2 * angle), length * torch.sin(2 * angle)
    parameters[:, 3:5] = parameters[:, 1:3] / 2
    parameters[:, 5:7] = 2 * torch.rand(n, 2, generator=chance) - 1
    parameters[:, 7:9] = 3 * torch.rand(n, 2, generator=chance) - 1.5
    _, e1, e2, _, _, source_x, source_y, x, y = parameters.unbind(1)
    round_one = torch.zeros(n)
    return torch.stack([blob(x, y, e1, e2), blob(x + source_x, y + source_y, round_one, round_one)], 1), parameters


@pytest.mark.parametrize("side", [48, 49])
def test_parameters_stay_those_of_the_picture_through_turns_shifts_and_zooms(side: int):
    image, parameters = pictures()
    valid, chance = torch.ones_like(image, dtype=torch.bool), torch.Generator().manual_seed(4)
    seen, _, moved = augment_with_parameters(image, valid, parameters, CONFIG, chance, size=side, pixel_scale=SCALE)
    told = dict(zip(NAMES, moved.unbind(1), strict=True))
    lens, source = moments(seen[:, 0]), moments(seen[:, 1])
    assert not torch.allclose(moved, parameters, atol=0.1)
    for name, shown in (
        ("lens_x", lens["x"]),
        ("lens_y", lens["y"]),
        ("e1", lens["e1"]),
        ("e2", lens["e2"]),
        ("source_x", source["x"] - lens["x"]),
        ("source_y", source["y"] - lens["y"]),
        ("theta_E", 1.5 * lens["size"] / WIDTH),
    ):
        assert (told[name] - shown).abs().max() < 0.02, name
    torch.testing.assert_close(moved[:, 3:5], moved[:, 1:3] / 2)


def test_what_is_seen_is_what_is_seen_without_parameters():
    image, parameters = pictures(16)
    valid = torch.ones_like(image, dtype=torch.bool)
    first = augment(image, valid.clone(), CONFIG, torch.Generator().manual_seed(5), size=48, pixel_scale=SCALE)
    again = augment_with_parameters(
        image, valid.clone(), parameters, CONFIG, torch.Generator().manual_seed(5), size=48, pixel_scale=SCALE
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_stamps_without_a_lens_stay_without_parameters():
    image, parameters = pictures(16)
    parameters[::2] = torch.nan
    valid = torch.ones_like(image, dtype=torch.bool)
    chance = torch.Generator().manual_seed(6)
    moved = augment_with_parameters(image, valid, parameters, CONFIG, chance, size=48, pixel_scale=SCALE)[2]
    assert moved.isnan().all(1).tolist() == [True, False] * 8
