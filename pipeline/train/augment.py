"""Variations of a batch of stamps that leave its labels as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.train.augment_config import AugmentConfig
from pipeline.train.augment_gaps import edges, gaps, missing_bands
from pipeline.train.augment_picture import through_picture
from pipeline.train.augment_pixels import background, gains, noise, shuffle
from pipeline.train.augment_place import place


def augment(
    image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator, *, size: int, pixel_scale: float
) -> tuple[Tensor, Tensor]:
    """Vary a batch and bring it to the network's size.

    In the order in which light meets them: place on the grid and seeing, colours, noise and background, the
    picture that a survey may have made of it, and what is missing.

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
    image, valid = place(image, valid, config, generator, size=size, pixel_scale=pixel_scale)
    image, valid = shuffle(image, valid, config, generator)
    image = gains(image, config, generator)
    image = noise(image, config, generator)
    image = background(image, config, generator)
    image = through_picture(image, valid, config, generator)
    valid = gaps(valid, config, generator, pixel_scale)
    valid = edges(valid, config, generator, pixel_scale)
    valid = missing_bands(valid, config, generator)
    return image.mul_(valid), valid
