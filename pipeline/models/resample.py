"""Stamps of any size and pixel scale on the grid that a model was trained for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_SAME = 1e-4
"""Pixel scales that differ by less, as a share, are the same."""


def resample(
    image: Tensor, valid: Tensor, pixel_scale: float, size: int, target_scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Resample, crop or pad stamps about their centre.

    The kernel is a triangle one pixel wide, of the coarser of the two grids: bilinear interpolation towards
    finer pixels, an antialiased mean towards coarser ones, weighted by validity, so that an invalid pixel
    spreads nothing into its neighbours. The geometric centres (n - 1) / 2 of both grids coincide.

    Parameters
    ----------
    image : float32 (n, band, y, x), nJy a pixel
        Values at invalid pixels are not read.
    valid : bool (n, band, y, x)
    pixel_scale : float, arcsec
        Of the stamps.
    size : int
        Side of the answer in pixels.
    target_scale : float, arcsec
        Pixel scale of the answer.

    Returns
    -------
    image : float32 (n, band, size, size), nJy a pixel
        Surface brightness is kept, so flux a pixel scales by the ratio of areas. 0 where invalid.
    valid : bool (n, band, size, size)
        At least half of the kernel's weight lay on valid pixels.
    covered : bool (size, size)
        Which pixels lie inside the stamps at all: padding is False.
    """
    height, width = image.shape[-2:]
    known = torch.where(valid, image, 0.0)
    same_scale = abs(pixel_scale / target_scale - 1) < _SAME
    if same_scale and (height - size) % 2 == 0 and (width - size) % 2 == 0:
        covered = torch.ones(height, width, dtype=torch.bool, device=image.device)
        return _fit(known, size), _fit(valid, size), _fit(covered, size)
    rows = _kernel(height, size, pixel_scale, target_scale).to(image.device)
    columns = _kernel(width, size, pixel_scale, target_scale).to(image.device)
    light = rows @ (known @ columns.T)
    weight = rows @ (valid.float() @ columns.T)
    full = rows.sum(1)[:, None] * columns.sum(1)[None, :]
    covered = full > 0.5
    kept = covered & (weight > 0.5)
    area = (target_scale / pixel_scale) ** 2
    return torch.where(kept, light / weight.clamp_min(1e-6) * area, 0.0), kept, covered


def resample_values(values: Tensor, pixel_scale: float, size: int, target_scale: float) -> tuple[Tensor, Tensor]:
    """Resample maps of what is no light, such as probabilities, about their centre: `resample` without its flux.

    Parameters
    ----------
    values : float32 (n, plane, y, x)
    pixel_scale, size, target_scale
        As for `resample`.

    Returns
    -------
    values : float32 (n, plane, size, size)
        0 beyond the maps.
    kept : bool, the same shape
        Whether at least half of the kernel's weight lay inside them.
    """
    moved, kept, _ = resample(values, torch.ones_like(values, dtype=torch.bool), pixel_scale, size, target_scale)
    if abs(pixel_scale / target_scale - 1) >= _SAME:
        moved = moved * (pixel_scale / target_scale) ** 2
    return moved, kept


def _fit(values: Tensor, size: int) -> Tensor:
    """Crop or pad (with 0 or False) the last two axes about the centre; the difference is even."""
    pads = [(size - length) // 2 for length in values.shape[-2:]]
    return torch.nn.functional.pad(values, (pads[1], pads[1], pads[0], pads[0]))


@lru_cache(maxsize=32)
def _kernel(length: int, size: int, pixel_scale: float, target_scale: float) -> Tensor:
    """Weights (size, length) of input pixels in each output pixel along one axis.

    A row sums to 1 where its kernel lies inside the input, to less at the edges, to 0 beyond.
    """
    ratio = target_scale / pixel_scale
    centres = (np.arange(size) - (size - 1) / 2) * ratio + (length - 1) / 2
    reach = max(1.0, ratio)
    # The pixels beyond the edge take part in the norm, so that a row says how much of it lies inside.
    margin = int(np.ceil(reach)) + 1
    inputs = np.arange(-margin, length + margin)
    weights = np.clip(1 - np.abs(inputs[None, :] - centres[:, None]) / reach, 0, None)
    norm = weights.sum(1, keepdims=True)
    weights = np.divide(weights, norm, out=np.zeros_like(weights), where=norm > 0)
    inside = weights[:, margin : margin + length]
    return torch.from_numpy(np.ascontiguousarray(inside, dtype=np.float32))
