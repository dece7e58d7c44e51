"""Learning what normal stamps look like: the evidence lower bound of a variational autoencoder, terms by config."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.models.vae import Seen, VaeHead
from pipeline.models.vae_choice import settle
from pipeline.train.held import Stamps
from pipeline.train.method_config import ElboConfig
from pipeline.train.methods import Batch, Context, Embed, Method
from pipeline.train.methods.elbo_terms import DeepFeatures, total_correlation
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.unlabelled import ramp

_CENTRE_RATE = 0.02
"""How fast the centre of an SVDD follows the batches' means."""


class Elbo(Method):
    """Minus the evidence lower bound (Kingma & Welling 2014, ICLR) in nats a pixel, and further terms.

    Anomalies are left out of a batch before the network sees it, so that neither weights nor running means of its
    normalisation learn from them; only with a labelled term (`labelled` above 0) are they learned from, each expected
    in the prior's components of its class, and none drawn to an SVDD's centre. Unlabelled stamps, where asked for,
    count as stamps of either class.

    After training, labels say in which dimensions the distance is measured (`pipeline.models.vae_choice`).
    """

    def __init__(self, config: ElboConfig, channels: int, size: int) -> None:
        self.config = config
        self.ratio, self.views = config.ratio, int(config.ratio > 0)
        self.deep = DeepFeatures(config.features_of) if config.features > 0 else None

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """`reconstruction` and `kl`, and those of the other terms whose weight isn't 0.

        Raises
        ------
        ConfigError
            For a network that is no `vae`, a labelled term without components of anomalies, or a batch in which there
            is nothing to learn from.
        """
        head, config = _head_of(network), self.config
        stamps, labels = self._learned_from(head, batch)
        seen: Seen = network.encode(stamps)  # type: ignore[operator]
        mean, log_variance = head.latent(seen)
        chance = torch.randn(mean.shape, generator=context.chance).to(mean.device)
        z = mean + (0.5 * log_variance).exp() * chance
        wanted, valid = head.target(seen)
        drawn = head.draw(z)
        pixels = drawn[0].numel()
        risen = ramp(context, config.ramp)
        divergence = head.prior.divergence(mean, log_variance, z, labels)
        losses = {
            "reconstruction": 0.5 * (((wanted - drawn) / head.noise).square() * valid).sum() / len(drawn) / pixels,
            "kl": risen * config.kl * divergence.mean() / pixels,
        }
        if config.total_correlation > 0:
            tied = total_correlation(z, mean, log_variance)
            losses["total_correlation"] = risen * config.total_correlation * tied / pixels
        if config.svdd > 0:
            drawn_in = mean[labels < 0.5]
            distance = (drawn_in - head.centre).square().sum() / max(1, len(drawn_in))
            losses["svdd"] = config.svdd * distance / pixels
            _follow(head.centre, drawn_in)
        if self.deep is not None:
            losses["features"] = config.features * self.deep.distance(wanted * valid, drawn * valid)
        if config.labelled > 0:
            known = labels >= 0
            logits = head.prior.surprise(mean[known], torch.ones_like(mean[0]))
            losses["labelled"] = config.labelled * label_loss(logits, labels[known], config).mean()
        return losses

    def settle(self, network: nn.Module, embed: Embed, stamps: Stamps) -> None:
        """Choose the dimensions in which anomalies stand apart, from training stamps as they are."""
        rows = [np.flatnonzero(stamps.lens == kind)[: self.config.choice.sample] for kind in (False, True)]
        chosen = np.concatenate(rows)
        choice = self.config.choice
        settle(
            _head_of(network),
            embed(chosen),
            stamps.lens[chosen],
            bins=choice.bins,
            share=choice.share,
            most=choice.most,
        )

    def _learned_from(self, head: VaeHead, batch: Batch) -> tuple[Tensor, Tensor]:
        """The stamps of a step that count, (m, channels, y, x), and their labels: 1, 0, or -1 where there is none."""
        channels, labels = batch.channels, batch.labels
        if self.config.labelled > 0 and not head.prior.anomalous:
            raise ConfigError("method.labelled needs a prior with anomalous = 1 or more in network.arguments.")
        if not self.config.labelled:
            channels, labels = channels[labels < 0.5], labels[labels < 0.5]
        if batch.views:
            channels = torch.cat([channels, batch.views[0]])
            labels = torch.cat([labels, labels.new_full((len(batch.views[0]),), -1.0)])
        if len(channels) < 2:
            raise ConfigError("a batch holds no two normal stamps to learn from; lower sampler.lens_share.")
        return channels, labels


def _follow(centre: Tensor, mean: Tensor) -> None:
    """Move a centre (d,) towards the mean of latent means (m, d), if there is any."""
    if not len(mean):
        return
    with torch.no_grad():
        centre.lerp_(mean.detach().mean(0).to(centre.dtype), _CENTRE_RATE)


def _head_of(network: nn.Module) -> VaeHead:
    head = network.head
    if not isinstance(head, VaeHead):
        raise ConfigError('method "elbo" trains network.architecture = "vae".')
    return head
