"""Lens parameters as numbers without bounds or units, of about one in size, which a flow can work on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models.posterior import NAMES

_MIDDLE = {"theta_E": 0.64}
"""Natural logarithm of 1.9 arcsec; the other parameters lie about 0."""

_SPREAD = {
    "theta_E": 0.45,
    "e1": 0.17,
    "e2": 0.17,
    "shear_1": 0.08,
    "shear_2": 0.08,
    "source_x": 0.3,
    "source_y": 0.3,
    "lens_x": 0.3,
    "lens_y": 0.3,
}
"""Standard deviations in a wide population. Only the beginning of a training depends on them, no posterior does."""

_SMALLEST = 1e-6
_ROUND, _FLAT = 1e-3, 1 - 1e-6
"""Ellipticities below which the series of atanh will do, and above which there are none."""


class ParameterScale(nn.Module):
    """Between `PARAMETERS` in their units and plain numbers.

    theta_E goes to its logarithm; the ellipticity vector e keeps its direction and gets the length atanh |e|, so that
    axis ratios lie between 0 and 1; source positions are taken in units of theta_E. All are then standardised by
    constants, which are buffers and travel with the weights.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.tensor([_MIDDLE.get(name, 0.0) for name in NAMES]))
        self.register_buffer("spread", torch.tensor([_SPREAD[name] for name in NAMES]))

    def plain(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Plain numbers (..., p) of parameters (..., p), and the logarithm of the change in volume (...)."""
        theta = parameters[..., :1].clamp_min(_SMALLEST)
        e, shear, source, lens = torch.split(parameters[..., 1:], [2, 2, 2, 2], -1)
        length = e.norm(dim=-1, keepdim=True).clamp_max(_FLAT)
        log_theta = theta.log()
        joined = torch.cat([log_theta, e * _stretch(length), shear, source / theta, lens], -1)
        # Of the logarithm 1 / theta, of the source 1 / theta^2; of e, along it 1 / (1 - |e|^2), across it the stretch.
        bent = _stretch(length).log() - torch.log1p(-length.square())
        volume = (bent - 3 * log_theta)[..., 0] - self.spread.log().sum()
        return (joined - self.middle) / self.spread, volume

    def physical(self, plain: Tensor) -> Tensor:
        """Parameters (..., p) in their units, of plain numbers (..., p)."""
        log_theta, bent, shear, source, lens = torch.split(plain * self.spread + self.middle, [1, 2, 2, 2, 2], -1)
        theta = log_theta.exp()
        length = bent.norm(dim=-1, keepdim=True)
        shrunk = torch.where(length < _ROUND, 1 - length.square() / 3, length.tanh() / length.clamp_min(_ROUND))
        return torch.cat([theta, bent * shrunk, shear, source * theta, lens], -1)


def _stretch(length: Tensor) -> Tensor:
    """atanh(x) / x, for 0 <= x < 1."""
    return torch.where(length < _ROUND, 1 + length.square() / 3, length.atanh() / length.clamp_min(_ROUND))
