"""What latent numbers are expected to be: one normal distribution, or a mixture whose means are learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError

_LOG_TWO_PI = math.log(2 * math.pi)


class Prior(nn.Module):
    """A standard normal distribution, or a mixture of normal ones with diagonal covariance.

    The mixture is that of Jiang et al. 2017 (IJCAI, 1965, equations 1 to 5): means, widths and shares are learned with
    the network. Where some components are of anomalies, a labelled stamp is expected in those of its class.

    Parameters
    ----------
    latent : int
        Dimensions d.
    components : int
        K; 1 for a standard normal distribution without parameters.
    anomalous : int
        How many components, the last ones, are of anomalies.

    Raises
    ------
    ConfigError
        If no component is left for normal stamps.
    """

    def __init__(self, latent: int, components: int = 1, anomalous: int = 0) -> None:
        super().__init__()
        if anomalous >= components:
            raise ConfigError(f"vae: {anomalous} of {components} components of anomalies leave none for normal stamps.")
        self.latent, self.components, self.anomalous = latent, components, anomalous
        if components > 1:
            self.means = nn.Parameter(torch.randn(components, latent))
            self.log_variances = nn.Parameter(torch.zeros(components, latent))
            self.log_shares = nn.Parameter(torch.zeros(components))

    def divergence(self, mean: Tensor, log_variance: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Kullback-Leibler divergence of each stamp's latent distribution from the prior, in nats, (n,).

        In closed form for the normal distribution; for a mixture the entropy is, and the prior's part is its value at
        one draw.

        Parameters
        ----------
        mean, log_variance : float32 (n, d)
        z : float32 (n, d)
            Drawn from them; not read where there is one component.
        labels : float32 (n,), optional
            1 for an anomaly, 0 for a normal stamp, and -1 where it isn't known.
        """
        if self.components == 1:
            return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)
        entropy = 0.5 * (1.0 + _LOG_TWO_PI + log_variance).sum(1)
        return -entropy - self._joined(self._each(z), labels)

    def surprise(self, mean: Tensor, counted: Tensor) -> Tensor:
        """Minus the log-density at latent means, (n,), or the log-odds of anomalies where there are components of them.

        Parameters
        ----------
        mean : float32 (n, d)
        counted : float32 (d,)
            1 for the dimensions that count; the others are marginalised.
        """
        each = self._each(mean, counted)
        if not self.anomalous:
            return -torch.logsumexp(each, 1)
        normal, unusual = each[:, : -self.anomalous], each[:, -self.anomalous :]
        return torch.logsumexp(unusual, 1) - torch.logsumexp(normal, 1)

    def _each(self, z: Tensor, counted: Tensor | None = None) -> Tensor:
        """Logarithm of share times density of each component, (n, K)."""
        weight = torch.ones_like(z[0]) if counted is None else counted
        if self.components == 1:
            return (-0.5 * (z.square() + _LOG_TWO_PI) * weight).sum(1, keepdim=True)
        away = (z[:, None] - self.means).square() / self.log_variances.exp()
        densities = (-0.5 * (away + self.log_variances + _LOG_TWO_PI) * weight).sum(2)
        return densities + torch.log_softmax(self.log_shares, 0)

    def _joined(self, each: Tensor, labels: Tensor | None) -> Tensor:
        """Log-density (n,) of all components, or of those of a stamp's class where that is known."""
        if labels is None or not self.anomalous:
            return torch.logsumexp(each, 1)
        of_anomalies = torch.arange(self.components, device=each.device) >= self.components - self.anomalous
        known = labels[:, None] >= 0
        other = known & (of_anomalies != (labels[:, None] > 0.5))
        return torch.logsumexp(each.masked_fill(other, -torch.inf), 1)
