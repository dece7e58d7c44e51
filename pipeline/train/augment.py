"""Variations of a batch of stamps that leave its labels as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models.layers import ARTEFACT
from pipeline.train.augment_config import AugmentConfig
from pipeline.train.augment_gaps import edges, gaps, missing_bands
from pipeline.train.augment_parameters import moved_parameters
from pipeline.train.augment_picture import through_picture
from pipeline.train.augment_pixels import background, gains, noise, shuffle
from pipeline.train.augment_place import place, place_told
from pipeline.train.donors import Donors, paste


def augment_with_maps(
    image: Tensor,
    valid: Tensor,
    maps: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    *,
    size: int,
    pixel_scale: float,
    donors: Donors | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Vary a batch together with what is to be drawn of it.

    Parameters
    ----------
    image, valid, config, generator, size, pixel_scale
        As for `augment`.
    maps : float32 (n, 2, y, x), of 0 and 1
        Lens light and artefact. They move with the stamp, and are blurred with it.
    donors : Donors, optional
        Real artefacts, of which some stamps get one.

    Returns
    -------
    image, valid
        As of `augment`.
    maps : float32 (n, 2, size, size), of 0 and 1
        Where half of a pixel is what it was; what the variation took away from any band is artefact too.
    """
    bands = image.shape[1]
    joined, known = torch.cat([image, maps], dim=1), torch.cat([valid, torch.ones_like(maps, dtype=torch.bool)], dim=1)
    joined, known = place(joined, known, config, generator, size=size, pixel_scale=pixel_scale)
    image, valid = joined[:, :bands].contiguous(), known[:, :bands].contiguous()
    drawn = (joined[:, bands:] > 0.5).float()
    if donors is not None:
        paste(image, valid, drawn, donors, config, generator)
    image, valid = _vary(image, valid, config, generator, pixel_scale=pixel_scale)
    drawn[:, ARTEFACT] = torch.maximum(drawn[:, ARTEFACT], (~valid).any(1).float())
    return image, valid, drawn


def augment_with_parameters(
    image: Tensor,
    valid: Tensor,
    parameters: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    *,
    size: int,
    pixel_scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Vary a batch together with the parameters of its lenses.

    Parameters
    ----------
    image, valid, config, generator, size, pixel_scale
        As for `augment`.
    parameters : float32 (n, p)
        Of `pipeline.models.posterior.PARAMETERS`; NaN where there is no lens.

    Returns
    -------
    image, valid
        As of `augment`.
    parameters : float32 (n, p)
        Of the lenses as they now are: seeing, colours and noise change none.
    """
    image, valid, told = place_told(image, valid, config, generator, size=size, pixel_scale=pixel_scale)
    parts = torch.split(parameters, [number for number, _ in told])
    moved = [moved_parameters(part, move, pixel_scale) for part, (_, move) in zip(parts, told, strict=True)]
    image, valid = _vary(image, valid, config, generator, pixel_scale=pixel_scale)
    return image, valid, torch.cat(moved)


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
    return _vary(image, valid, config, generator, pixel_scale=pixel_scale)


def _vary(
    image: Tensor, valid: Tensor, config: AugmentConfig, generator: torch.Generator, *, pixel_scale: float
) -> tuple[Tensor, Tensor]:
    """What happens to a batch once it is on its grid; both are changed."""
    image, valid = shuffle(image, valid, config, generator)
    image = gains(image, config, generator)
    image = noise(image, config, generator)
    image = background(image, config, generator)
    image = through_picture(image, valid, config, generator)
    valid = gaps(valid, config, generator, pixel_scale)
    valid = edges(valid, config, generator, pixel_scale)
    valid = missing_bands(valid, config, generator)
    return image.mul_(valid), valid
