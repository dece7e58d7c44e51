"""What is left of each band after the central galaxy, seen in the reddest band, is taken away."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_difference(
    known: Tensor, valid: Tensor, sigma: Tensor, radius: int, largest: float
) -> tuple[Tensor, Tensor]:
    """Each band minus the last one scaled to the core's colour, and the noise of that.

    An old galaxy has one colour, so its light goes, whatever its shape, and what is bluer stays: RingFinder's
    g - alpha i (Gavazzi et al. 2014, ApJ 785, 144, equation 1), here with alpha from the flux ratio of the
    core, over pixels that are valid in both. It doesn't depend on the gains of the bands. Where seeing differs
    between bands a ring is left about a bright core.

    Parameters
    ----------
    known : float32 (n, band, y, x)
        Without background; 0 at invalid pixels.
    valid : bool (n, band, y, x)
    sigma : float32 (n, band, 1, 1)
        Noise of a pixel.
    radius : int
        Half the side in pixels of the square that is the core.
    largest : float
        Bound of the flux ratio, which lies between 0 and it; a core without light in the last band gets it.

    Returns
    -------
    left : float32 (n, band - 1, y, x)
        0 where either band is invalid.
    noise : float32 (n, band - 1, 1, 1)
    """
    y, x = known.shape[-2] // 2, known.shape[-1] // 2
    core = (..., slice(max(y - radius, 0), y + radius), slice(max(x - radius, 0), x + radius))
    both = valid[:, :-1] & valid[:, -1:]
    light, last = (
        torch.where(both[core], part[core], 0.0).sum((-2, -1), keepdim=True) for part in (known[:, :-1], known[:, -1:])
    )
    ratio = (light / last.clamp_min(1e-12)).clamp(0.0, largest)
    left = torch.where(both, known[:, :-1] - ratio * known[:, -1:], 0.0)
    return left, (sigma[:, :-1].square() + (ratio * sigma[:, -1:]).square()).sqrt()
