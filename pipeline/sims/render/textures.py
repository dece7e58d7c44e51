"""Source light that is an image: sampled where the lens equation sends each pixel of the image plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.sims.render.light import Float32


@dataclass(frozen=True)
class PlacedGalaxy:
    """An image in the source plane.

    Attributes
    ----------
    texture : float32 (m, m), of sum 1
        Rows along y; its centre, (m - 1) / 2, stands at (x, y). 0 at the edge, and taken as 0 beyond.
    x, y : arcsec
    width : arcsec
        Side of the texture.
    angle : radians
        From x towards y.
    mirrored : bool
        About its y axis, before it is turned.
    flux : float
    """

    texture: Float32
    x: float
    y: float
    width: float
    angle: float
    mirrored: bool = False
    flux: float = 1.0


def image_brightness(galaxies: Sequence[PlacedGalaxy], x: Tensor, y: Tensor) -> Tensor:
    """Surface brightness of images at positions of the source plane, bilinear between their pixels.

    Parameters
    ----------
    galaxies : sequence of n
        Textures of one shape.
    x, y : float32 (n, height, width), arcsec

    Returns
    -------
    float32 (n, height, width), flux a square arcsecond
    """
    rows = [
        (g.x, g.y, np.cos(g.angle), np.sin(g.angle), 2 / g.width, -1.0 if g.mirrored else 1.0, g.flux) for g in galaxies
    ]
    columns = torch.from_numpy(np.array(rows, np.float32)).to(x.device)[:, :, None, None]
    x0, y0, cosine, sine, scale, mirror, flux = columns.unbind(1)
    dx, dy = x - x0, y - y0
    u = (dx * cosine + dy * sine) * scale * mirror
    v = (dy * cosine - dx * sine) * scale
    textures = torch.from_numpy(np.stack([g.texture for g in galaxies]))[:, None].to(x.device)
    # align_corners=False: -1 and 1 are the outer borders of the outermost pixels.
    light = torch.nn.functional.grid_sample(
        textures, torch.stack([u, v], dim=-1), mode="bilinear", padding_mode="zeros", align_corners=False
    )[:, 0]
    return light * flux * (scale * textures.shape[-1] / 2) ** 2
