"""Episodes of few examples: stamps are told by the nearest mean of a kind's examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigError
from pipeline.models.layers import Network
from pipeline.models.support import SupportHead
from pipeline.models.support_fit import fit_support
from pipeline.train.held import Stamps
from pipeline.train.method_config import FewShotConfig
from pipeline.train.methods import Batch, Context, Embed, Method


class FewShot(Method):
    """Twin networks with shared weights embed examples and queries; each step is a task of few shots of its own.

    Prototypical networks (Snell, Swersky & Zemel 2017, NeurIPS 30, 4077, algorithm 1), which train a Siamese embedding
    by the means of examples instead of pairs. Some kinds of the batch are drawn, a few stamps of each are the
    examples, and the others of these kinds are to be told by their distances from the means. With `lenses = "apart"`
    no lens is in any episode, so that they are a new kind to the embedding.

    The network answers with a support set in its head (`network.arguments.support`): the means of the training
    stamps of every kind that is none, against the mean of a few lenses.

    An episode says little of each stamp. A linear layer that tells all kinds from the same embedding trains it sooner,
    and its means serve kinds that it never saw as well (Tian et al. 2020, ECCV, 266): `classes` adds one.
    """

    def __init__(self, config: FewShotConfig, channels: int, size: int) -> None:
        self.config = config
        self.companion = nn.LazyLinear(config.classes) if config.classes else None

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """Those that the embedding is made with: the last layer of the head inside has no say.

        Raises
        ------
        ConfigError
            For a network without a support set.
        """
        if not isinstance(network.head, SupportHead):
            raise ConfigError('method "few_shot" trains a network with a support set: network.arguments.support.')
        last = getattr(network.head.inner, "out", nn.Identity())
        silent = {id(parameter) for parameter in last.parameters()}
        groups = [{"params": [p for p in network.parameters() if p.requires_grad and id(p) not in silent]}]
        if self.companion is not None:
            self.companion(torch.zeros(1, len(network.head.centre), device=network.head.centre.device))
            groups.append({"params": list(self.companion.parameters())})
        return groups

    def losses(self, network: nn.Module, batch: Batch, context: Context) -> Mapping[str, Tensor]:
        """`episode`, the cross-entropy of the queries' kinds, and `kind`, that of all stamps' by the companion.

        Raises
        ------
        ConfigError
            For a batch without an episode in it, or of more kinds than there are classes.
        """
        config = self.config
        kinds = batch.labels.long() if batch.kinds is None else batch.kinds
        rows = torch.arange(len(kinds))
        if config.lenses == "apart" and batch.kinds is not None:
            rows = rows[batch.labels.cpu() == 0]
        chosen, ways = episode(kinds.cpu()[rows], config, context.chance)
        place, shown = batch.channels.device, chosen
        if self.companion is not None:  # all are embedded, and the episode taken out of them
            shown = torch.arange(len(rows))
            if int(kinds.max()) >= config.classes:
                raise ConfigError(f"a stamp is of kind {int(kinds.max()) + 1}; set method.classes to that or more.")
        embedding = cast(Network, network).embed(batch.channels[rows[shown].to(place)])
        told = embedding if self.companion is None else embedding[chosen.to(place)]
        examples = config.shots * ways
        losses = {"episode": prototype_loss(told[:examples], told[examples:], ways, config.temperature)}
        if self.companion is not None:
            guessed = self.companion(embedding)
            truth = kinds.cpu()[rows].to(place)
            losses["kind"] = config.class_weight * functional.cross_entropy(guessed, truth)
        return losses

    def settle(self, network: nn.Module, embed: Embed, stamps: Stamps) -> None:
        """Fill the support set: always the same stamps, `shots` lenses and `most` of every other kind."""
        order = np.random.default_rng(len(stamps)).permutation(len(stamps))
        lenses = order[stamps.lens[order]][: self.config.shots]
        others = [
            order[(stamps.kind[order] == kind) & ~stamps.lens[order]][: self.config.most]
            for kind in np.unique(stamps.kind[~stamps.lens])
        ]
        rows = np.sort(np.concatenate([lenses, *others]))
        head = cast(SupportHead, network.head)
        fit_support(head, embed(rows), stamps.kind[rows], stamps.lens[rows], metric=self.config.metric)


def episode(kinds: Tensor, config: FewShotConfig, chance: torch.Generator) -> tuple[Tensor, int]:
    """Rows of one episode, int64, and its number of kinds.

    Parameters
    ----------
    kinds : int64 (n,)
        Of the stamps that there are.
    config : FewShotConfig
        Its `ways` kinds are drawn among those that have an example more than `shots`; fewer, where there are fewer.
    chance : torch.Generator

    Returns
    -------
    rows : int64 (m,)
        First the examples, kind by kind, then the queries: as many of each kind, at most `queries`.
    ways : int

    Raises
    ------
    ConfigError
        If fewer than two kinds have enough stamps.
    """
    order = torch.randperm(len(kinds), generator=chance)
    names, counts = kinds.unique(return_counts=True)  # type: ignore[no-untyped-call]
    able = names[counts > config.shots]
    if len(able) < 2:
        raise ConfigError(
            f"fewer than two kinds have more than {config.shots} stamps in a batch; give method.shots fewer, "
            "optimiser.batch more, or even kinds out by data.mix."
        )
    able = able[torch.randperm(len(able), generator=chance)][: config.ways]
    members = [order[kinds[order] == kind] for kind in able]
    queries = min(config.queries, min(len(rows) for rows in members) - config.shots)
    examples = [rows[: config.shots] for rows in members]
    asked = [rows[config.shots : config.shots + queries] for rows in members]
    return torch.cat([*examples, *asked]), len(able)


def prototype_loss(examples: Tensor, queries: Tensor, ways: int, temperature: float) -> Tensor:
    """Cross-entropy of the queries' kinds by minus the squared distances from the means (Snell et al. 2017, eq. 2).

    Parameters
    ----------
    examples : float32 (ways shots, d)
        Kind by kind.
    queries : float32 (ways n, d)
        Kind by kind, in the same order.
    ways : int
        Kinds.
    temperature : float
        By which squared distances are divided.
    """
    means = examples.unflatten(0, (ways, -1)).mean(1)  # type: ignore[no-untyped-call]
    distances = (queries[:, None] - means).square().sum(2) / temperature
    truth = torch.arange(ways, device=queries.device).repeat_interleave(len(queries) // ways)
    return functional.cross_entropy(-distances, truth)
