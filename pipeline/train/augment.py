"""Variations of a batch of stamps that leave its labels as they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.models.resample import resample
from pipeline.train.config import AugmentConfig

_SLICES = 8
"""Slices of a batch that share one turn, zoom, shift and blur; stamps are drawn in random order anyway."""


def augment(
    image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator, *, size: int, pixel_scale: float
) -> tuple[Tensor, Tensor]:
    """Vary a batch and bring it to the network's size.

    Parameters
    ----------
    image : float32 (n, band, y, x), nJy
        At least `size` wide for shifts to reach beyond it; smaller stamps are padded with invalid pixels.
    valid : bool (n, band, y, x)
    config : AugmentConfig
    generator : torch.Generator
        Of the CPU; the only source of chance.
    size : int
        Side of the answer.
    pixel_scale : float, arcsec

    Returns
    -------
    image : float32 (n, band, size, size), nJy; 0 at invalid pixels
    valid : bool, the same shape
    """
    parts = [
        _place(some, known, config, generator, size=size, pixel_scale=pixel_scale)
        for some, known in zip(image.chunk(_SLICES), valid.chunk(_SLICES), strict=True)
    ]
    image, valid = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    image = _gains(image, config, generator)
    image = _noise(image, valid, config, generator)
    valid = valid & ~_gaps(valid, config, generator, pixel_scale)
    return torch.where(valid, image, 0.0), valid


def _place(
    image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator, *, size: int, pixel_scale: float
) -> tuple[Tensor, Tensor]:
    """Blur, zoom, shift and turn one slice."""
    image = torch.where(valid, image, 0.0)
    if _chance(generator) < config.blur_share:
        image, valid = _blurred(image, valid)
    reach = math.floor(config.shift / pixel_scale)
    if _chance(generator) < config.zoom_share and config.zoom > 1:
        apparent = pixel_scale * config.zoom ** (2 * _chance(generator) - 1)
        image, valid, _ = resample(image, valid, apparent, size + 2 * reach, pixel_scale)
    elif image.shape[-1] != size + 2 * reach:
        image, valid = _centre(image, size + 2 * reach), _centre(valid, size + 2 * reach)
    y, x = (int(value) for value in torch.randint(0, 2 * reach + 1, (2,), generator=generator))
    image, valid = image[..., y : y + size, x : x + size], valid[..., y : y + size, x : x + size]
    if config.flips:
        turns = int(torch.randint(0, 8, (1,), generator=generator))
        image, valid = (torch.rot90(plane, turns % 4, (-2, -1)) for plane in (image, valid))
        if turns >= 4:
            image, valid = image.flip(-1), valid.flip(-1)
    return image, valid


def _centre(values: Tensor, size: int) -> Tensor:
    """Crop or pad (0 or False) about the centre; where the difference is odd, the first side gets less."""
    pads = []
    for length in (values.shape[-1], values.shape[-2]):
        first = (size - length) // 2
        pads += [first, size - length - first]
    return torch.nn.functional.pad(values, pads)


def _blurred(image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve with the binomial 1-2-1 kernel in both axes, weighted by validity."""
    line = torch.tensor([0.25, 0.5, 0.25], device=image.device)
    kernel = (line[:, None] * line[None, :]).expand(image.shape[1], 1, 3, 3)
    bands = image.shape[1]
    light = torch.nn.functional.conv2d(image, kernel, padding=1, groups=bands)
    weight = torch.nn.functional.conv2d(valid.float(), kernel, padding=1, groups=bands)
    return torch.where(valid, light / weight.clamp_min(0.2), 0.0), valid


def _gains(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    n, bands = image.shape[:2]
    common = torch.randn((n, 1, 1, 1), generator=generator) * config.gain
    each = torch.randn((n, bands, 1, 1), generator=generator) * config.band_gain
    return image * torch.exp(common + each).to(image.device)


def _noise(image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Add normal noise in units of what differences between next-but-one pixels say is there."""
    n, bands = image.shape[:2]
    steps = (image[..., 2:] - image[..., :-2]).abs()
    sigma = steps[..., ::2, ::3].flatten(2).median(-1).values * (1.4826 / math.sqrt(2))
    amount = torch.rand((n, bands), generator=generator) * config.noise
    chosen = torch.rand((n, 1), generator=generator) < config.noise_share
    amount = torch.where(chosen, amount, 0.0).to(image.device) * sigma
    if not bool(chosen.any()):
        return image
    rows = chosen[:, 0].to(image.device)
    noisy = image.clone()
    grain = torch.randn((int(rows.sum()), *image.shape[1:]), generator=generator).to(image.device)
    noisy[rows] += grain * amount[rows][..., None, None]
    return torch.where(valid, noisy, 0.0)


def _gaps(valid: Tensor, config: AugmentConfig, generator: torch.Generator, pixel_scale: float) -> Tensor:
    """Where synthetic gaps make pixels invalid; bool (n, band, y, x).

    The centre may be hit too, but a gap that covers the whole centre is as rare as it is in surveys.
    """
    n, bands, height, width = valid.shape
    angle = _uniform(generator, n) * math.pi
    straight = _uniform(generator, n) < 0.5
    angle = torch.where(straight, (angle / (math.pi / 2)).floor() * (math.pi / 2), angle)
    place = (2 * _uniform(generator, n) - 1) * width / 2
    half = _uniform(generator, n) * config.gap / pixel_scale / 2
    beyond = _uniform(generator, n) < 0.2
    chosen = _uniform(generator, n) < config.gap_share
    only = torch.randint(-bands, bands, (n,), generator=generator)
    in_band = (only[:, None] < 0) | (only[:, None] == torch.arange(bands)[None])
    y = torch.arange(height, dtype=torch.float32)[None, :, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float32)[None, None, :] - (width - 1) / 2
    along = x * torch.cos(angle)[:, None, None] + y * torch.sin(angle)[:, None, None] - place[:, None, None]
    # Beyond an edge of the image everything is missing, not only a strip.
    edge = along.sign() * place.sign()[:, None, None] > 0
    far = (place.abs() > width / 6)[:, None, None]
    strip = (along.abs() < half[:, None, None]) | (edge & far & beyond[:, None, None])
    return (strip[:, None] & (chosen[:, None] & in_band)[:, :, None, None]).to(valid.device)


def _uniform(generator: torch.Generator, n: int) -> Tensor:
    return torch.rand(n, generator=generator)


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand(1, generator=generator))
