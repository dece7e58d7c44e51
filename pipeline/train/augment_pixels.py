"""What happens to the values of pixels: order of the bands, gains, noise, background."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.train.augment_config import AugmentConfig


def chosen(n: int, share: float, generator: torch.Generator) -> Tensor:
    """Rows (int64) that something happens to; each with the same chance."""
    return (torch.rand(n, generator=generator) < share).nonzero()[:, 0]


def shuffle(image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Bands of some stamps in another order, in place."""
    n, bands = image.shape[:2]
    rows = chosen(n, config.shuffle_share, generator)
    if len(rows) and bands > 1:
        order = torch.rand((len(rows), bands), generator=generator).argsort(1)
        image[rows], valid[rows] = image[rows[:, None], order], valid[rows[:, None], order]
    return image, valid


def gains(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Factors on all bands and on each, log-normal, in place."""
    n, bands = image.shape[:2]
    common = torch.randn((n, 1, 1, 1), generator=generator) * config.gain
    each = torch.randn((n, bands, 1, 1), generator=generator) * config.band_gain
    return image.mul_(torch.exp(common + each).to(image.device))


def noise(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Normal noise in some stamps, in units of what is there, in place."""
    rows = chosen(len(image), config.noise_share, generator)
    if not len(rows) or config.noise == 0:
        return image
    amount = torch.rand((len(rows), image.shape[1], 1, 1), generator=generator) * config.noise
    grain = torch.randn((len(rows), *image.shape[1:]), generator=generator).to(image.device)
    part = image[rows]
    image[rows] = part.addcmul_(grain, amount.to(image.device) * sigma_of(part))
    return image


def background(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A tilted plane added to each band of some stamps, in units of the noise, in place."""
    rows = chosen(len(image), config.background_share, generator)
    if not len(rows) or config.background == 0:
        return image
    bands, height, width = image.shape[1:]
    offset, along_y, along_x = (2 * torch.rand((3, len(rows), bands, 1, 1), generator=generator) - 1).unbind()
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None, :]
    plane = (offset + along_y * y + along_x * x) * config.background
    part = image[rows]
    image[rows] = part.addcmul_(plane.to(image.device), sigma_of(part))
    return image


def sigma_of(image: Tensor) -> Tensor:
    """Noise of each band, (n, band, 1, 1), from differences between next-but-one pixels of every fourth row."""
    steps = (image[..., ::4, 2::4] - image[..., ::4, :-2:4]).abs_().flatten(2)
    return (steps.median(-1).values * (1.4826 / math.sqrt(2)))[..., None, None]
