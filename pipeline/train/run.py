"""The state of a training run: networks, optimiser, and how far it has come."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.models import build
from pipeline.models.card import find_package
from pipeline.models.layers import Network
from pipeline.models.package import channels_last
from pipeline.models.transfer import encoder_and_head, take_encoder, take_network
from pipeline.scan.score import choose_device
from pipeline.train.checkpoint import Identity, read_checkpoint, write_checkpoint
from pipeline.train.config import NetworkConfig, TrainConfig
from pipeline.train.methods import Method, build_method
from pipeline.train.stream import Stream


@dataclass
class Tally:
    """Means of what is told step by step; `sums` and `counts` by name."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Take the values of one step."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean of each name over the steps that told it, to six digits; what was told is forgotten."""
        means = {name: float(f"{total / self.counts[name]:.6g}") for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


@dataclass
class Run:
    """A run between two steps.

    Attributes
    ----------
    config : TrainConfig
    identity : Identity
        What a checkpoint must be of to go on from.
    place : torch.device
    network, average : torch.nn.Module
        What is trained, and the moving average of its weights, in evaluation mode.
    method : Method
    optimiser, schedule
    stream : Stream
        Of the labelled stamps.
    steps, step : int
        In all, and done.
    tally : Tally
        Losses since the last line of progress.
    """

    config: TrainConfig
    identity: Identity
    place: torch.device
    network: nn.Module
    average: nn.Module
    method: Method
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    stream: Stream
    steps: int
    step: int = 0
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def fresh(
        cls, config: TrainConfig, stream: Stream, pools: Mapping[str, str], tell: Callable[[str], None] | None = None
    ) -> Run:
        """A run before its first step; raises ConfigError or ModelMismatch for a network that can't be made so."""
        torch.manual_seed(config.seed)
        place = choose_device(config.run.device)
        channels = config.normalisation.channels(len(config.package.bands))
        network = build(config.network.architecture, channels, config.network.arguments)
        if config.network.begins_with is not None:
            _start_from(network, config.network, config.normalisation.groups(len(config.package.bands)), tell)
        channels_last(network.to(place)).train()
        if config.network.frozen == "encoder":
            _freeze(network)
        method = build_method(config.method, channels, config.package.size_pix)
        if method.companion is not None:
            method.companion.to(place)
        wanted, steps = config.optimiser, steps_of(config, len(stream.stamps))[1]
        optimiser = torch.optim.AdamW(
            method.parameters(network), lr=wanted.learning_rate, weight_decay=wanted.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, wanted.warmup))
        average = copy.deepcopy(network).requires_grad_(False).eval()
        science = config.model_dump(mode="json", exclude={"run", "output"})
        identity = Identity(science, pools)
        return cls(config, identity, place, network, average, method, optimiser, schedule, stream, steps)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; raises ProductMismatch if it is another run's."""
        saved = read_checkpoint(path, self.identity, self.place)
        for name, part in self._stateful().items():
            part.load_state_dict(saved[name])
        self.stream.hard = saved["hard"].cpu().numpy()
        self.tally = Tally(saved["sums"], saved["counts"])
        self.step = int(saved["step"])

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        parts: dict[str, Any] = {name: part.state_dict() for name, part in self._stateful().items()}
        parts["hard"] = torch.from_numpy(self.stream.hard)
        parts |= {"sums": self.tally.sums, "counts": self.tally.counts, "step": self.step}
        write_checkpoint(path, self.identity, parts)

    def follow(self) -> None:
        """Move the average towards the network; a short memory at first, so that early weights are forgotten."""
        decay = min(self.config.optimiser.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)

    def _stateful(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "network": self.network,
            "average": self.average,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }
        if self.method.companion is not None:
            parts["companion"] = self.method.companion
        return parts


def steps_of(config: TrainConfig, n: int) -> tuple[int, int]:
    """Steps an epoch and steps in all, for n stamps."""
    per_epoch = max(1, n // config.optimiser.batch)
    return per_epoch, config.optimiser.steps or max(1, round(per_epoch * config.optimiser.epochs))


def _start_from(
    network: Network, config: NetworkConfig, groups: tuple[int, ...], tell: Callable[[str], None] | None
) -> None:
    source = find_package(str(config.begins_with))
    if config.start is not None:
        taken = take_network(network, config.architecture, source)
    else:
        taken = take_encoder(network, config.architecture, source, groups=groups)
    if tell is not None:
        tell(str(taken))


def _freeze(network: Network) -> None:
    """Keep the encoder as it is, running means of its normalisation included."""
    encoder, _ = encoder_and_head(network)
    for parameter in encoder.values():
        parameter.requires_grad_(False)
    for name, child in network.named_children():
        if name != "head":
            child.eval()


def _rate(step: int, steps: int, warmup: float) -> float:
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))
