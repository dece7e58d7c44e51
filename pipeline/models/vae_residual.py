"""Figures of what a reconstruction leaves of a stamp; they stand beside the latent means in the embedding."""

from __future__ import annotations

import torch
from torch import Tensor

RINGS = 3
"""Rings about the centre, each an eighth of the square's side wide; the first one is a disc."""

FIGURES = (*(f"log_chi_squared_{ring}" for ring in range(RINGS)), "log_peak", "log_surprise")
"""Names of the figures, in order."""


def figures(residual: Tensor, valid: Tensor, surprise: Tensor) -> Tensor:
    """A few numbers that say how a stamp differs from its reconstruction, float32 (n, 5).

    1. to 3., `log_chi_squared_0` and on: logarithm of the mean squared residual of the valid pixels of all channels in
       each ring;
    4. `log_peak`: log(1 + p) of the largest mean p over 3 x 3 px of the residual, channels together, within the rings:
       a second image that was not drawn;
    5. `log_surprise`: log(1 + s) of the divergence s of the latent distribution from the prior, at least 0.

    Parameters
    ----------
    residual : float32 (n, channel, size, size)
        In units of the noise; 0 at invalid pixels.
    valid : float32 (n, channel, size, size)
        1 and 0. A ring without a valid pixel has a chi-squared of 1, as noise has.
    surprise : float32 (n,), nats
    """
    rings = _rings(residual.shape[-1]).to(residual.device)
    squares, counts = (
        torch.stack([(part * ring).sum((1, 2, 3)) for ring in rings], dim=1) for part in (residual.square(), valid)
    )
    chi_squared = torch.where(counts > 0, squares / counts.clamp_min(1.0), 1.0)
    gathered = torch.nn.functional.avg_pool2d(residual.sum(1), 3, 1, 1)
    weight = torch.nn.functional.avg_pool2d(valid.sum(1), 3, 1, 1).clamp_min(0.1)
    peak = (gathered / weight * rings.amax(0)).amax((1, 2))
    return torch.cat(
        [
            chi_squared.clamp_min(1e-3).log(),
            peak.clamp_min(0.0).log1p()[:, None],
            surprise.clamp_min(0.0).log1p()[:, None],
        ],
        dim=1,
    )


def valid_of(square: Tensor, drawn: int, masks: int) -> Tensor:
    """Where the drawn channels are known, float32 (n, drawn, y, x) of 1 and 0, from the last channels of a stamp.

    One mask is the share of bands that are valid: a pixel then counts where all are.
    """
    if masks == 0:
        return torch.ones_like(square[:, :drawn])
    told = square[:, square.shape[1] - masks :]
    return (told > 1 - 1e-3).float().expand(-1, drawn, -1, -1)


def _rings(size: int) -> Tensor:
    """1 in each ring and 0 elsewhere, float32 (RINGS, size, size).

    Made anew each time: one kept from inference mode could not be used under autograd, as saliency is.
    """
    axis = torch.arange(size) - (size - 1) / 2
    radius = (axis[:, None].square() + axis.square()).sqrt()
    number = (radius * 8 / size).floor()
    return torch.stack([(number == ring).float() for ring in range(RINGS)])
