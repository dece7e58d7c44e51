"""Lensed light: sources ray-traced through their deflectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.sims.render.light import Float32, Grid, Sersic, sersic_b, sersic_peak
from pipeline.sims.render.mass import Deflector, deflection
from pipeline.sims.render.textures import PlacedGalaxy, image_brightness


@dataclass(frozen=True)
class LensedSource:
    """Source-plane light of one colour behind a deflector; positions in arcsec from the stamp's centre.

    The components' `flux` has one element, their share of the source's light; so is that of `images`.
    """

    deflector: Deflector
    components: tuple[Sersic, ...] = ()
    images: tuple[PlacedGalaxy, ...] = ()


def lensed(sources: Sequence[LensedSource], grids: Sequence[Grid]) -> Float32:
    """Ray-trace sources through their deflectors, all stamps at once.

    Surface brightness is conserved: the value at an image-plane pixel is the source's at the deflected position.

    Parameters
    ----------
    sources, grids : sequences of n
        Grids of one number of fine pixels; their scales may differ.

    Returns
    -------
    float32 (n, fine, fine), flux a fine pixel, before the PSF
    """
    fine = grids[0].fine if grids else 0
    image = torch.zeros((len(sources), fine, fine))
    if not sources:
        return image.numpy()
    axis = torch.from_numpy(np.stack([grid.axis() for grid in grids]))
    x, y = axis[:, None, :], axis[:, :, None]
    ax, ay = deflection([source.deflector for source in sources], x, y)
    beta_x, beta_y = x - ax, y - ay
    for rank in range(max(len(source.components) for source in sources)):
        chosen = [index for index, source in enumerate(sources) if len(source.components) > rank]
        components = [sources[index].components[rank] for index in chosen]
        flux = [c.flux[0] * grids[index].step ** 2 for c, index in zip(components, chosen, strict=True)]
        scale = torch.tensor(flux, dtype=torch.float32)[:, None, None]
        if len(chosen) == len(sources):
            image += scale * _source_brightness(components, beta_x, beta_y)
        else:
            image[chosen] += scale * _source_brightness(components, beta_x[chosen], beta_y[chosen])
    for rank in range(max(len(source.images) for source in sources)):
        chosen = [index for index, source in enumerate(sources) if len(source.images) > rank]
        placed = [sources[index].images[rank] for index in chosen]
        areas = torch.tensor([grids[index].step ** 2 for index in chosen])[:, None, None]
        image[chosen] += areas * image_brightness(placed, beta_x[chosen], beta_y[chosen])
    return image.numpy()


def _source_brightness(components: Sequence[Sersic], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    rows = [
        (c.x, c.y, c.radius, 1 / c.n, c.q, np.cos(c.angle), np.sin(c.angle), sersic_b(c.n), sersic_peak(c.n, c.radius))
        for c in components
    ]
    columns = torch.from_numpy(np.array(rows, np.float32))[:, :, None, None]
    x0, y0, radius, power, q, cosine, sine, b, peak = columns.unbind(1)
    dx, dy = x - x0, y - y0
    u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
    squared = (q * u * u + v * v / q) / radius**2
    return peak * torch.exp(-b * torch.exp(torch.log(squared.clamp_min(1e-12)) * (0.5 * power)))
