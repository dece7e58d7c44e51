"""Where a stamp's object stands on the grid: turns, shifts, zoom, and the seeing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from pipeline.models.resample import resample
from pipeline.train.augment_config import AugmentConfig

_SLICES = 8
"""Slices of a batch that share one turn, zoom, shift and blur; stamps are drawn in random order anyway."""


@dataclass(frozen=True)
class Move:
    """What was done to stamps, in this order.

    Attributes
    ----------
    zoom : float
        Everything, distances from the centre included, is so many times as large.
    right, up : float, pixels
        How far it was moved along x and y.
    quarters : int
        Turns of `torch.rot90` in (y, x): each takes (x, y) about the centre to (y, -x).
    mirrored : bool
        x changed its sign.
    """

    zoom: float
    right: float
    up: float
    quarters: int
    mirrored: bool


def place(
    image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator, *, size: int, pixel_scale: float
) -> tuple[Tensor, Tensor]:
    """Blur, zoom, shift and turn; new tensors (n, band, size, size), 0 at invalid pixels.

    Parameters
    ----------
    image, valid, config, generator, size, pixel_scale
        As for `pipeline.train.augment.augment`.
    """
    return place_told(image, valid, config, generator, size=size, pixel_scale=pixel_scale)[:2]


def place_told(
    image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator, *, size: int, pixel_scale: float
) -> tuple[Tensor, Tensor, list[tuple[int, Move]]]:
    """As `place`, and what was done to how many stamps after one another."""
    parts = [
        _place(some, known, config, draws, size=size, pixel_scale=pixel_scale)
        for some, known, draws in zip(
            image.chunk(_SLICES),
            valid.chunk(_SLICES),
            torch.rand((_SLICES, 7), generator=generator, dtype=torch.float64).tolist(),
            strict=False,
        )
    ]
    told = [(len(part[0]), part[2]) for part in parts]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]), told


def blurred(
    image: Tensor, valid: Tensor, fwhm: float, profile: str = "gaussian", beta: float = 3.0
) -> tuple[Tensor, Tensor]:
    """Convolve with a round kernel, weighted by validity, so that invalid pixels and edges spread nothing.

    Parameters
    ----------
    image : float32 (n, band, y, x)
        0 at invalid pixels.
    valid : bool (n, band, y, x), or (1, 1, y, x) for all
    fwhm : float, pixels
        Of the kernel; seeing and kernel add in quadrature where both are Gaussian.
    profile : "gaussian" or "moffat"
    beta : float
        Exponent of a Moffat profile (Moffat 1969, A&A 3, 455).
    """
    kernel = _kernel(fwhm, profile, beta).to(image.device)
    reach = kernel.shape[-1] // 2
    height, width = image.shape[-2:]
    shape = (next_fast_len(height + 2 * reach, real=True), next_fast_len(width + 2 * reach, real=True))
    transfer = torch.fft.rfft2(kernel, s=shape)

    def convolved(planes: Tensor) -> Tensor:
        full: Tensor = torch.fft.irfft2(torch.fft.rfft2(planes, s=shape) * transfer, s=shape)
        return full[..., reach : reach + height, reach : reach + width]

    light = convolved(image).div_(convolved(valid.float()).clamp_min_(0.2))
    return light.masked_fill_(~valid, 0.0), valid


def _place(
    image: Tensor, valid: Tensor, config: AugmentConfig, draws: list[float], *, size: int, pixel_scale: float
) -> tuple[Tensor, Tensor, Move]:
    """One slice, by seven uniform numbers."""
    blur, fwhm, zoom, factor, y_share, x_share, turn = draws
    reach = math.floor(config.shift / pixel_scale)
    width = fwhm * config.blur / pixel_scale if blur < config.blur_share else 0.0
    ratio = config.zoom ** (2 * factor - 1) if zoom < config.zoom_share else 1.0
    # Nothing is computed of pixels that no later step reads.
    image, valid = _inner(image, valid, (size + 2 * reach) / ratio + 2 + 2 * _reach(width))
    image = torch.where(valid, image, 0.0)
    if width > 0:
        image, valid = _sparing(
            image, valid, lambda light, known: blurred(light, known, width, config.blur_profile, config.blur_beta)
        )
    if ratio != 1:
        image, valid = _sparing(
            image,
            valid,
            lambda light, known: resample(light, known, ratio * pixel_scale, size + 2 * reach, pixel_scale)[:2],
        )
    aside = (0.0, 0.0)
    if image.shape[-1] != size + 2 * reach or image.shape[-2] != size + 2 * reach:
        # An odd difference is cut or filled unevenly.
        aside = (-((size + image.shape[-2]) % 2) / 2, -((size + image.shape[-1]) % 2) / 2)
        image, valid = _centre(image, size + 2 * reach), _centre(valid, size + 2 * reach)
    y, x = (min(2 * reach, int(share * (2 * reach + 1))) for share in (y_share, x_share))
    image, valid = image[..., y : y + size, x : x + size], valid[..., y : y + size, x : x + size]
    turns = int(turn * 8) if config.flips else 0
    if turns:
        image, valid = (torch.rot90(plane, turns % 4, (-2, -1)) for plane in (image, valid))
        if turns >= 4:
            image, valid = image.flip(-1), valid.flip(-1)
    return image, valid, Move(ratio, reach - x + aside[1], reach - y + aside[0], turns % 4, turns >= 4)


def _inner(image: Tensor, valid: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """The middle of stamps, with at least `side` pixels an axis and the same centre; all where they have fewer."""
    cuts = [max(0, math.floor((length - side) / 2)) for length in image.shape[-2:]]
    y, x = (slice(cut, length - cut) for cut, length in zip(cuts, image.shape[-2:], strict=True))
    return image[..., y, x], valid[..., y, x]


def _reach(fwhm: float) -> int:
    """Pixels from the centre of a kernel to its edge; 0 for no kernel."""
    return math.ceil(1.5 * fwhm)


def _sparing(
    image: Tensor, valid: Tensor, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """What `change` makes of a slice, with one plane of validity for all stamps that miss nothing."""
    broken = (~valid.flatten(1).all(1)).nonzero()[:, 0]
    if 2 * len(broken) > len(image):
        return change(image, valid)
    light, known = change(image, torch.ones_like(valid[:1, :1]))
    known = known.expand(light.shape)
    if len(broken):
        known = known.clone()
        light[broken], known[broken] = change(image[broken], valid[broken])
    return light, known


def _centre(values: Tensor, size: int) -> Tensor:
    """Crop or pad (0 or False) about the centre; where the difference is odd, the first side gets less."""
    pads = []
    for length in (values.shape[-1], values.shape[-2]):
        first = (size - length) // 2
        pads += [first, size - length - first]
    return torch.nn.functional.pad(values, pads)


def _kernel(fwhm: float, profile: str, beta: float) -> Tensor:
    """A normalised kernel (k, k), k odd, sampled at pixel centres: pixels are in the image already."""
    reach = max(1, _reach(fwhm))
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    squared = line[:, None].square() + line[None, :].square()
    half = max(fwhm, 1e-3) / 2
    if profile == "moffat":
        values = (1 + squared / half**2 * (2 ** (1 / beta) - 1)) ** -beta
    else:
        values = torch.exp2(-squared / half**2)
    return values / values.sum()
