"""How well a network in training measures lenses, and how wide its posteriors have to be."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.evaluate.parameters.metrics import coverage, residuals
from pipeline.models.familiarity import Familiarity
from pipeline.models.familiarity_fit import fit_familiarity
from pipeline.models.posterior import NAMES, PosteriorHead
from pipeline.models.posterior_flow import FlowHead
from pipeline.train.config import TrainConfig
from pipeline.train.held import Stamps
from pipeline.train.unvaried import unvaried

_SAMPLES = 256
_AT_ONCE = 128
_FAMILIAR = 8_000
"""Lenses that a covariance is taken from."""
_LEVEL = 0.68
_NARROWEST, _WIDEST, _HALVINGS = 0.2, 5.0, 24


def parameter_figures(
    network: nn.Module, stamps: Stamps, config: TrainConfig, rows: npt.NDArray[np.int64] | None = None
) -> dict[str, float]:
    """Figures of the posteriors of the lenses among some stamps.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, with a `PosteriorHead`.
    stamps : Stamps
        Held with their lens parameters.
    config : TrainConfig
    rows : int64 (m,), optional
        Which stamps; all if None.

    Returns
    -------
    dict
        `log_posterior`, the mean over the lenses of that of the truth; `theta_E_bias` and `theta_E_scatter`, robust and
        relative; `theta_E_coverage_68`.
    """
    embedding, truth = _embedded(network, stamps, config, rows)
    head = cast("PosteriorHead", network.head)
    with torch.inference_mode():
        likely = [
            head.log_prob(*part)
            for part in zip(torch.split(embedding, _AT_ONCE), torch.split(truth, _AT_ONCE), strict=True)
        ]
    theta, true = _drawn(head, embedding, config.seed)[..., 0].numpy(), truth[:, 0].numpy()
    found = residuals(theta.mean(1), true, relative=True)
    return {
        "log_posterior": float(torch.cat(likely).mean()),
        "theta_E_bias": found.bias.value,
        "theta_E_scatter": found.scatter.value,
        "theta_E_coverage_68": coverage(theta, true, _LEVEL).value,
    }


def fit_width(network: nn.Module, stamps: Stamps, config: TrainConfig, rows: npt.NDArray[np.int64]) -> Tensor:
    """Set each parameter's width so that its 68 % intervals cover 68 % of the true values of some lenses.

    A network that was trained for long on few lenses is sure of itself, one that was trained shortly is not; one number
    a parameter, common to all stamps, mends either on average and moves no mean. Widths are found by bisection on the
    share of truths inside, which rises with the width.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, with a `FlowHead`, whose `width` is changed in place.
    stamps, config
        As for `parameter_figures`.
    rows : int64 (m,)
        Stamps that neither the training nor any figure sees.

    Returns
    -------
    float32 (p,)
    """
    head = cast("FlowHead", network.head)
    embedding, truth = _embedded(network, stamps, config, rows)
    narrow, wide = torch.full_like(head.width, _NARROWEST), torch.full_like(head.width, _WIDEST)
    with torch.inference_mode():
        plain = head.scale.plain(truth)[0]
        head.width.fill_(1.0)
        drawn = head.scale.plain(_drawn(head, embedding, config.seed))[0]
        middle = torch.cat([head.mean(part) for part in torch.split(embedding, _AT_ONCE)])
        quantiles = torch.tensor([0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
        low, high = torch.quantile(drawn - middle[:, None], quantiles, dim=1)
        for _ in range(_HALVINGS):
            tried = (narrow * wide).sqrt()
            inside = ((plain - middle >= tried * low) & (plain - middle <= tried * high)).float().mean(0)
            narrow, wide = torch.where(inside < _LEVEL, tried, narrow), torch.where(inside < _LEVEL, wide, tried)
        head.width.copy_((narrow * wide).sqrt())
    return head.width


def set_support(network: nn.Module, stamps: Stamps) -> None:
    """Tell a `FlowHead` between which values the lenses of its training lie, 0.1 % at either end aside."""
    if stamps.parameters is None:
        raise ValueError("these stamps were read without lens parameters")
    ends = np.nanquantile(stamps.parameters, [0.001, 0.999], axis=0).astype(np.float32)
    cast("FlowHead", network.head).support.copy_(torch.from_numpy(ends))


def familiar_lenses(network: nn.Module, stamps: Stamps, validation: Stamps, config: TrainConfig) -> Familiarity:
    """What a network that measures lenses finds familiar: lenses alone, since of anything else it measures nothing.

    Fitted on the lenses of its training, at most `_FAMILIAR` of them, with the distances of those of the validation.
    """
    lenses = np.flatnonzero(stamps.lens)[:_FAMILIAR]
    embedding, held_back = (
        _embedded(network, some, config, rows)[0].numpy() for some, rows in ((stamps, lenses), (validation, None))
    )
    what = f"{len(embedding):,} lenses of the training, and {len(held_back):,} of the validation held back"
    return fit_familiarity(embedding, np.zeros(len(embedding)), held_back, what)


def width_text(width: Tensor) -> str:
    """Widths by name, for a card."""
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(NAMES, width.tolist(), strict=True))


def _drawn(head: PosteriorHead, embedding: Tensor, seed: int) -> Tensor:
    """Samples (n, s, p), independent from stamp to stamp: common ones would be too wide or too narrow for all alike."""
    chance = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        return torch.cat(
            [
                head.sample(part, torch.randn((len(part), _SAMPLES, len(NAMES)), generator=chance))
                for part in torch.split(embedding, _AT_ONCE)
            ]
        )


def _embedded(
    network: nn.Module, stamps: Stamps, config: TrainConfig, rows: npt.NDArray[np.int64] | None
) -> tuple[Tensor, Tensor]:
    """Embeddings (m, d) and parameters (m, p) of the lenses among some stamps, on the CPU."""
    if stamps.parameters is None:
        raise ValueError("these stamps were read without lens parameters")
    chosen = np.arange(len(stamps)) if rows is None else rows
    lenses = chosen[np.isfinite(stamps.parameters[chosen]).all(1)]
    with torch.inference_mode():
        parts = [
            network.embed(channels).cpu()  # type: ignore[operator]
            for channels, _ in unvaried(network, stamps, config, lenses, told=True)
        ]
    return torch.cat(parts), stamps.take_parameters(lenses)
