"""A posterior as a normal distribution with all its covariances, which coupling layers may bend."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import LazyComposedTransform
from zuko.transforms import MonotonicRQSTransform

from pipeline.models.layers import convolution
from pipeline.models.posterior import PARAMETERS, PosteriorHead
from pipeline.models.posterior_scale import ParameterScale
from pipeline.models.unet import Scales

_P = len(PARAMETERS)
_BINS = 6
_HIDDEN = 64
_LARGEST_LOG = 5.0
"""Logarithms of a normal distribution's axes stay inside plus and minus this."""


class FlowHead(PosteriorHead):
    """One embedding for a logit and for a posterior over the lens parameters.

    In the plain numbers of `ParameterScale` the posterior is u = m + w L r, with the mean m and the triangular L of a
    normal distribution of full covariance, both linear in the embedding, w a width for each parameter that a
    recalibration sets (1 before), and r what the coupling layers of a neural spline flow (Durkan et al. 2019, NeurIPS
    32) make of standard normal numbers, given a projection of the embedding. Without layers r is standard normal. The
    flow has to learn no more than how the posterior differs from a normal one.

    Parameters
    ----------
    widths : list of int
        Features of the encoder's scales, from fine to coarse.
    side : int
        Cells along a side of the third of them, on which they are joined.
    kept : int
        Features that each cell is narrowed to before all are flattened.
    hidden : int
        Length of the embedding.
    context : int
        Length of the projection that the flow sees.
    flow : int
        Coupling layers; 0 for the normal distribution.
    dropout : float
        Share of the embedding that is dropped in training, for the logit alone.

    Attributes
    ----------
    width : float32 (p,), a buffer
    """

    width: Tensor

    def __init__(
        self, widths: list[int], side: int, kept: int, hidden: int, context: int, flow: int, dropout: float
    ) -> None:
        super().__init__()
        wide = widths[-1]
        self.narrow = nn.Sequential(
            *_layer(4 * widths[-3] + widths[-2] + wide, wide, 1), *_layer(wide, wide, 3), *_layer(wide, kept, 1)
        )
        self.hidden = nn.Linear(kept * side**2, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)
        self.normal = nn.Linear(hidden, 2 * _P + _P * (_P - 1) // 2)
        self.scale = ParameterScale()
        self.register_buffer("width", torch.ones(_P))
        self.register_buffer("support", torch.tensor([[-1e30], [1e30]]).repeat(1, _P))
        self.project = nn.Linear(hidden, context) if flow else None
        self.layers = LazyComposedTransform(*(_coupling(layer, context) for layer in range(flow))) if flow else None

    def embed(self, x: Scales) -> Tensor:
        """Map the encoder's scales, joined on the grid of the last but one and flattened, to float32 (n, hidden)."""
        finer = nn.functional.pixel_unshuffle(x[-3], 2)
        coarser = nn.functional.interpolate(x[-1], scale_factor=2.0, mode="nearest")
        cells = self.narrow(torch.cat([finer, x[-2], coarser], dim=1))
        return nn.functional.elu(self.hidden(cells.flatten(1))).float()

    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, hidden) to float32 logits (n,)."""
        logits: Tensor = self.out(self.dropout(embedding))
        return logits[:, 0].float()

    def sample(self, embedding: Tensor, base: Tensor) -> Tensor:
        """Draw from the posteriors; see `PosteriorHead.sample`."""
        with torch.autocast(embedding.device.type, enabled=False):
            mean, lower, _ = self._normal(embedding)
            residual = base.to(embedding).expand(len(embedding), -1, -1)
            if self.layers is not None and self.project is not None:
                residual = self.layers(self.project(embedding)[:, None]).inv(residual)
            plain = mean[:, None] + self.width * torch.einsum("nij,nsj->nsi", lower, residual)
            return self.scale.physical(plain)

    def mean(self, embedding: Tensor) -> Tensor:
        """Where the widths widen from: the normal distributions' means (n, p), in the plain numbers of `scale`."""
        with torch.autocast(embedding.device.type, enabled=False):
            return self._normal(embedding)[0]

    def log_prob(self, embedding: Tensor, parameters: Tensor) -> Tensor:
        """Density of the posteriors; see `PosteriorHead.log_prob`."""
        with torch.autocast(embedding.device.type, enabled=False):
            mean, lower, log_axes = self._normal(embedding)
            plain, volume = self.scale.plain(parameters.to(embedding))
            away = ((plain - mean) / self.width)[..., None]
            residual = torch.linalg.solve_triangular(lower, away, upper=False)[..., 0]
            volume = volume - log_axes.sum(-1) - self.width.log().sum()
            if self.layers is not None and self.project is not None:
                residual, bent = self.layers(self.project(embedding)).call_and_ladj(residual)
                volume = volume + bent
            density: Tensor = volume - 0.5 * (residual.square() + math.log(2 * math.pi)).sum(-1)
            return density

    def _normal(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means (n, p), lower triangles (n, p, p), and logarithms (n, p) of their diagonals, in plain numbers."""
        mean, log_axes, below = torch.split(self.normal(embedding), [_P, _P, _P * (_P - 1) // 2], -1)
        log_axes = _LARGEST_LOG * torch.tanh((log_axes - 1) / _LARGEST_LOG)
        lower = torch.diag_embed(log_axes.exp())
        rows, columns = torch.tril_indices(_P, _P, -1, device=embedding.device).unbind()
        # In units of each row's axis, so that covariances keep pace with a posterior that becomes narrow.
        lower[:, rows, columns] = below * log_axes.exp()[:, rows]
        return mean, lower, log_axes


def _layer(inputs: int, outputs: int, size: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution(inputs, outputs, size), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def _coupling(layer: int, context: int) -> GeneralCouplingTransform:
    """A layer that bends every second parameter, the others in the next one, by monotonic splines."""
    return GeneralCouplingTransform(
        _P,
        context,
        mask=torch.arange(_P) % 2 == layer % 2,
        univariate=MonotonicRQSTransform,
        shapes=[(_BINS,), (_BINS,), (_BINS - 1,)],
        hidden_features=(_HIDDEN, _HIDDEN),
        activation=nn.ELU,
    )
