"""Through an 8-bit colour picture and back, as `lensscan stamps` reads pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.models.colour import fluxes
from pipeline.train.augment_config import AugmentConfig
from pipeline.train.augment_pixels import chosen, sigma_of

_SOFTENING = (0.02, 0.12)
"""Range of the softening of the pictures that survey servers make, in units of the white level."""

_WHITE = (0.15, 1.0)
"""Range of the white level, in units of the brightest pixel: cores are often saturated."""


def through_picture(image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Some stamps as a picture makes them: clipped, stretched, varied, rounded to 8 bits or JPEG, and undone.

    The stretch is asinh(x / softening) / asinh(1 / softening) of the light above a black level just below the
    background (Lupton et al. 2004, PASP 116, 133), of a drawn softening, the picture is taken to a drawn
    power (gamma) and times a drawn brightness, and `pipeline.models.colour.fluxes`, which knows of none of
    these, gives fluxes back. Three bands make one colour picture, last band red; any other number one grey
    picture a band.

    Parameters
    ----------
    image : float32 (n, band, y, x), nJy; 0 at invalid pixels; changed in place
    valid : bool, the same shape
    config, generator
    """
    rows = chosen(len(image), config.picture_share, generator)
    if not len(rows):
        return image
    n = len(rows)
    draws = torch.rand((5, n), generator=generator)
    power = torch.exp(torch.randn((n, 1, 1, 1), generator=generator) * config.picture_gamma)
    bright = torch.exp(torch.randn((n, 1, 1, 1), generator=generator) * config.picture_brightness)
    softening = _between(_SOFTENING, draws[0])
    part = image[rows]
    black = -(1 + 2 * draws[1])[:, None, None, None] * sigma_of(part)
    white = part.masked_fill(~valid[rows], 0.0).amax((1, 2, 3), keepdim=True) * _between(_WHITE, draws[4]) - black
    level = ((part - black) / white.clamp_min(1e-12)).clamp_(0, 1)
    steep = level / softening
    # torch.asinh is ten times as slow on a CPU.
    stretched = torch.log(steep + (steep.square() + 1).sqrt_()).div_(torch.asinh(1 / softening))
    picture = (stretched.pow_(power) * bright).clamp_(0, 1).mul_(255).round_().to(torch.uint8).cpu().numpy()
    qualities = (config.jpeg_quality[0] + draws[2] * (config.jpeg_quality[1] - config.jpeg_quality[0])).tolist()
    for row, (share, quality) in enumerate(zip(draws[3].tolist(), qualities, strict=True)):
        if share < config.jpeg_share:
            picture[row] = _jpeg(picture[row], round(quality))
    flat = np.moveaxis(picture, 1, -1)[..., ::-1] if picture.shape[1] == 3 else picture.reshape(-1, *picture.shape[2:])
    if picture.shape[1] == 3:
        back = fluxes(flat)[:, ::-1]
    else:
        back = fluxes(np.repeat(flat[..., None], 3, axis=-1))[:, 0].reshape(picture.shape)
    image[rows] = torch.from_numpy(np.ascontiguousarray(back)).to(image.device) * white
    return image


def _between(ends: tuple[float, float], share: Tensor) -> Tensor:
    """Log-uniform between two positive ends, (n, 1, 1, 1)."""
    answer: Tensor = (ends[0] * (ends[1] / ends[0]) ** share)[:, None, None, None]
    return answer


def _jpeg(picture: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """A JPEG round trip of (band, y, x)."""
    if len(picture) == 3:
        return np.moveaxis(_round_trip(np.moveaxis(picture, 0, -1)[..., ::-1], quality), -1, 0)[::-1]
    return np.stack([_round_trip(band, quality) for band in picture])


def _round_trip(pixels: npt.NDArray[Any], quality: int) -> npt.NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as opened:
        return np.asarray(opened, dtype=np.uint8)
