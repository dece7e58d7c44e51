"""What is missing from a stamp: synthetic gaps, what lies beyond an edge of the image, and whole bands."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.train.augment_config import AugmentConfig
from pipeline.train.augment_pixels import chosen

_CORNER_SHARE = 1 / 3
"""Of the stamps at an edge, those that a second one cuts."""


def gaps(valid: Tensor, config: AugmentConfig, generator: torch.Generator, pixel_scale: float) -> Tensor:
    """Invalid strips through some stamps, in place; bool (n, band, y, x).

    The centre may be hit too, but a gap that covers the whole centre is as rare as it is in surveys. One in
    five is an edge of the image: everything beyond is missing.
    """
    rows = chosen(len(valid), config.gap_share, generator)
    n = len(rows)
    if n == 0:
        return valid
    bands, height, width = valid.shape[1:]
    angle, straight, place, half, beyond = torch.rand((5, n, 1, 1), generator=generator).unbind()
    angle = torch.where(straight < 0.5, (2 * angle).floor() * (math.pi / 2), angle * math.pi)
    place = (2 * place - 1) * width / 2
    half = half * config.gap / pixel_scale / 2
    only = torch.randint(-bands, bands, (n,), generator=generator)
    in_band = (only[:, None] < 0) | (only[:, None] == torch.arange(bands)[None])
    y = torch.arange(height, dtype=torch.float32)[None, :, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float32)[None, None, :] - (width - 1) / 2
    along = x * torch.cos(angle) + y * torch.sin(angle) - place
    outside = (along.sign() * place.sign() > 0) & (place.abs() > width / 6) & (beyond < 0.2)
    strip = (along.abs() < half) | outside
    hidden = strip[:, None] & in_band[:, :, None, None]
    valid[rows] = valid[rows] & ~hidden.to(valid.device)
    return valid


def edges(valid: Tensor, config: AugmentConfig, generator: torch.Generator, pixel_scale: float) -> Tensor:
    """Some stamps lose what lies beyond an edge of the image, in all bands, in place; bool (n, band, y, x).

    A gap takes a strip that the object may be seen on both sides of; here the object is at the rim of what was
    observed, as at a field's edge and in cutouts that were made too small. One in three is near a corner.
    """
    if config.edge_share == 0:  # draws nothing, so that older configs go on with the chance that they had
        return valid
    rows = chosen(len(valid), config.edge_share, generator)
    n = len(rows)
    if n == 0:
        return valid
    nearest, farthest = config.edge / pixel_scale, min(valid.shape[2:]) / 2
    far = nearest + torch.rand((2, n), generator=generator) * max(0.0, farthest - nearest)
    upright = torch.rand(n, generator=generator) < 0.5
    corner = torch.rand(n, generator=generator) < _CORNER_SHARE
    cut = torch.stack([upright | corner, ~upright | corner])
    turn = torch.randint(0, 2, (2, n), generator=generator) * 2.0 - 1
    missing = [
        (turn[axis, :, None] * (torch.arange(length) - (length - 1) / 2) > far[axis, :, None]) & cut[axis, :, None]
        for axis, length in enumerate(valid.shape[2:])
    ]
    beyond = missing[0][:, :, None] | missing[1][:, None, :]
    valid[rows] = valid[rows] & ~beyond[:, None].to(valid.device)
    return valid


def missing_bands(valid: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """One band of some stamps invalid everywhere, in place; nothing happens to stamps of one band."""
    rows = chosen(len(valid), config.dropout_share, generator)
    bands = valid.shape[1]
    if len(rows) and bands > 1:
        valid[rows, torch.randint(0, bands, (len(rows),), generator=generator)] = False
    return valid
