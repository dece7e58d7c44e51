"""Two looks at an unlabelled stamp must agree: Pi-model, mean teacher and VAT as three targets of one loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.train.method_config import ConsistencyConfig
from pipeline.train.methods import Batch, Context
from pipeline.train.methods.unlabelled import Unlabelled, in_one_pass, still_norms


class Consistency(Unlabelled[ConsistencyConfig]):
    """The loss of the labels, and the distance between a look at an unlabelled stamp and its target.

    What differs is the look and the target:

    * `pi-model`: one view; the network's answer to another view, with other dropout (Laine & Aila 2017, ICLR);
    * `mean-teacher`: one view; the answer of the averaged network to another (Tarvainen & Valpola 2017, NeurIPS);
    * `vat`: a view moved by a small step in the direction that changes the answer most; the answer before the
      step (Miyato et al. 2019, IEEE TPAMI 41, 1979).

    No gradient flows through a target. Both papers on views compare labelled stamps, too; here unlabelled ones alone,
    since a labelled stamp has a better target.
    """

    def __init__(self, config: ConsistencyConfig, channels: int, size: int) -> None:
        super().__init__(config, channels, size)
        self.views = 1 if config.target == "vat" else 2

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """The loss of the labels, and `consistency`."""
        config = self.config
        looked_at, target = self._look_and_target(network, batch, context)
        labelled, others = in_one_pass(network, batch, looked_at, config, context)
        return {
            config.loss: labelled,
            "consistency": self.weight(context) * distance(others, target, config.distance),
        }

    def _look_and_target(self, network: nn.Module, batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        """A view (m, channels, y, x), and the logits (m,) that the network should give for it."""
        config = self.config
        with torch.no_grad(), still_norms(network):
            match config.target:
                case "pi-model":
                    return batch.views[0], network(batch.views[1])
                case "mean-teacher":
                    return batch.views[0], context.average(batch.views[1])
                case "vat":
                    view, target = batch.views[0], network(batch.views[0])
                    step = worst_direction(
                        lambda moved: distance(network(moved), target, config.distance),
                        view,
                        probe=config.probe,
                        chance=context.chance,
                    )
                    return view + config.radius * step, target


def distance(logits: Tensor, target: Tensor, kind: str) -> Tensor:
    """Mean over stamps of the distance between two answers, a scalar; 0 for equal ones.

    Parameters
    ----------
    logits, target : float32 (m,)
    kind : str
        "mse", the squared difference of the probabilities, or "kl", the Kullback-Leibler divergence of the
        network's from the target's.
    """
    wanted = torch.sigmoid(target)
    if kind == "mse":
        return (torch.sigmoid(logits) - wanted).square().mean()
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    own = functional.binary_cross_entropy_with_logits(target, wanted, reduction="none")
    return (cross - own).mean()


def worst_direction(loss: Callable[[Tensor], Tensor], view: Tensor, *, probe: float, chance: torch.Generator) -> Tensor:
    """The direction in which a small step raises a loss most, of root mean square 1 for each stamp.

    One step of the power method on the loss's Hessian, whose gradient at the view itself vanishes (Miyato et al. 2019,
    equations 10 to 12): the gradient after a trial step of length `probe` in a random direction.

    Parameters
    ----------
    loss : callable
        A scalar of stamps like `view`.
    view : float32 (m, channels, y, x)
    probe : float
        Root mean square of the trial step.
    chance : torch.Generator
    """
    trial = _unit(torch.randn(view.shape, generator=chance).to(view.device))
    with torch.enable_grad():
        moved = (view + probe * trial).detach().requires_grad_(True)
        gradient = torch.autograd.grad(loss(moved), moved)[0]
    return _unit(gradient)


def _unit(steps: Tensor) -> Tensor:
    """Each stamp's step divided by its root mean square; 0 stays 0."""
    peak = steps.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30)
    scaled = steps / peak
    return scaled / scaled.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
