"""Lenses made by a generator, as more examples: WGAN-GP beside the classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.models.gan import Gan
from pipeline.train.method_config import AdversarialConfig
from pipeline.train.methods import Batch, Context, Method
from pipeline.train.methods.label_loss import label_loss
from pipeline.train.methods.mixup import mixup


class Adversarial(Method):
    """Three networks in one loop: critic, generator, and the classifier, which later sees generated lenses, too.

    Generator and critic (`pipeline.models.gan`) work on the channels that the classifier sees, and learn from the
    lenses of each batch (Gulrajani et al. 2017, NeurIPS, algorithm 1, with Adam's parameters from there). Each of
    their losses reaches only its own network: the critic sees generated stamps without their history, the generator
    sees a critic whose weights are constants. From a share of the steps on, generated lenses are added to the batch
    with a weight of their own; without gradient to the generator, which is to make real-looking lenses and not easy
    ones.
    """

    companion: Gan

    def __init__(self, config: AdversarialConfig, channels: int, size: int) -> None:
        self.config = config
        self.companion = Gan(channels, size, config.latent, config.width)

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """The network's, and the companion's with an optimisation of their own."""
        rate = {"lr": self.config.learning_rate, "betas": (0.0, 0.9), "weight_decay": 0.0}
        return [*super().parameters(network), {"params": list(self.companion.parameters()), **rate}]

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """The loss of the labels, `critic`, and in their steps `generator` and `generated`."""
        config = self.config
        channels, labels = mixup(batch.channels, batch.labels, config.mixup, context.chance)
        made = max(1, round(config.share * len(labels))) if context.step >= config.start * context.steps else 0
        with torch.autocast(channels.device.type, enabled=False):
            played = self._play(batch.channels[batch.labels == 1], context)
            more = self._generate(made, channels.device, context).detach() if made else channels[:0]
        logits = network(torch.cat([channels, more]))
        n = len(labels)
        losses = {config.loss: label_loss(logits[:n], labels, config).mean(), **played}
        if made:
            losses["generated"] = config.weight * label_loss(logits[n:], torch.ones_like(logits[n:]), config).mean()
        return losses

    def _play(self, lenses: Tensor, context: Context) -> dict[str, Tensor]:
        """The losses of critic and generator; none for a batch without lenses."""
        if not len(lenses):
            return {}
        critic = self.companion.critic
        made = self._generate(len(lenses), lenses.device, context)
        losses = {"critic": critic_loss(critic, lenses, made.detach(), self.config.penalty, context.chance)}
        if context.step % self.config.critic_steps == 0:
            constants = {name: value.detach() for name, value in critic.named_parameters()}
            losses["generator"] = -functional_call(critic, constants, (made,)).mean()
        return losses

    def _generate(self, n: int, device: torch.device, context: Context) -> Tensor:
        latent = torch.randn((n, self.companion.latent), generator=context.chance).to(device)
        stamps: Tensor = self.companion.generator(latent)
        return stamps


def critic_loss(
    critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, penalty: float, chance: torch.Generator
) -> Tensor:
    """How much better the critic thinks of generated stamps than of real ones, and the penalty on its slope.

    Parameters
    ----------
    critic : callable
        (n, ...) to (n,).
    real, made : float32 (n, channels, y, x)
    penalty : float
        Weight of `slope_penalty`, taken between each real stamp and a generated one.
    chance : torch.Generator
    """
    share = torch.rand((len(real), 1, 1, 1), generator=chance).to(real.device)
    between = torch.lerp(real, made, share)
    return critic(made).mean() - critic(real).mean() + penalty * slope_penalty(critic, between)


def slope_penalty(critic: Callable[[Tensor], Tensor], stamps: Tensor) -> Tensor:
    """Mean of (norm of the critic's gradient at each stamp - 1)^2 (Gulrajani et al. 2017, equation 3)."""
    at = stamps.detach().requires_grad_(True)
    gradient = torch.autograd.grad(critic(at).sum(), at, create_graph=True)[0]
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
