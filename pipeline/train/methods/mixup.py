"""Pairs of stamps, mixed with their labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mixup(channels: Tensor, labels: Tensor, alpha: float, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each stamp mixed with another of the batch, its own share the larger (Zhang et al. 2018, ICLR).

    The share is drawn from a beta distribution of both parameters `alpha`, and the larger of it and its
    complement is taken, as MixMatch does (Berthelot et al. 2019, equation 9), so that a stamp stays mostly itself.

    Parameters
    ----------
    channels : float32 (n, channels, y, x)
    labels : float32 (n,)
    alpha : float
        0 mixes nothing.
    chance : torch.Generator
    """
    if alpha == 0:
        return channels, labels
    n = len(labels)
    order = torch.randperm(n, generator=chance).to(labels.device)
    seed = int(torch.randint(2**62, (1,), generator=chance))
    drawn = np.random.default_rng(seed).beta(alpha, alpha, n)
    share = torch.from_numpy(np.maximum(drawn, 1 - drawn).astype(np.float32)).to(labels.device)
    mixed = torch.lerp(channels[order], channels, share[:, None, None, None])
    return mixed, torch.lerp(labels[order], labels, share)
