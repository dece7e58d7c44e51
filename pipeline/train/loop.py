"""The one training loop: any method, any network, resumable to the same numbers."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.evaluate.metrics import auroc, completeness_at_fpr
from pipeline.models import build
from pipeline.models.normalise import normalise
from pipeline.models.package import channels_last
from pipeline.models.resample import resample
from pipeline.provenance import fingerprint
from pipeline.scan.score import choose_device
from pipeline.train.augment import augment
from pipeline.train.config import TrainConfig
from pipeline.train.data import Stamps, draw_order
from pipeline.train.methods import Batch, build_method

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"

_SCORING_BATCH = 256


@dataclass(frozen=True)
class Progress:
    """Where a run is; `rate` in stamps/s, `left` in seconds."""

    step: int
    steps: int
    loss: float
    rate: float
    left: float


@dataclass(frozen=True)
class Trained:
    """What a run gives: the averaged network on the CPU, and the validation logits (n,) of it."""

    network: nn.Module
    logits: npt.NDArray[np.float32]


def train(
    config: TrainConfig,
    stamps: Stamps,
    validation: Stamps,
    folder: Path,
    *,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a network.

    All chance of a step (which stamps, their variation, dropout) comes from the seed and the step's
    number, so a run that was stopped and resumed from its checkpoint gives the numbers of one that was not.

    Parameters
    ----------
    config : TrainConfig
    stamps, validation : Stamps
    folder : Path
        Gets `checkpoint.pt` and `metrics.jsonl` (one object a line: `step`, `loss` and `rate` of the
        steps since the last, and after each epoch `auroc` and `completeness_fpr_1pc` of the validation).
    resume : bool
        Go on from the folder's checkpoint if there is one; otherwise start again.
    report : callable, optional
        Told every `run.report_steps` steps.

    Raises
    ------
    ProductMismatch
        If the checkpoint belongs to another configuration or other pools.
    ConfigError
        If the loss is no longer finite.
    """
    torch.set_num_threads(config.run.threads)
    folder.mkdir(parents=True, exist_ok=True)
    state = _State.fresh(config, stamps)
    if resume and (folder / CHECKPOINT).is_file():
        state.load(folder / CHECKPOINT)
    else:
        (folder / METRICS).unlink(missing_ok=True)
    _run_steps(state, stamps, validation, folder, report)
    logits = score(state.average, validation, config)
    return Trained(state.average.cpu().eval(), logits)


def steps_of(config: TrainConfig, n: int) -> tuple[int, int]:
    """Steps an epoch and steps in all, for n stamps."""
    per_epoch = max(1, n // config.optimiser.batch)
    return per_epoch, max(1, round(per_epoch * config.optimiser.epochs))


def score(network: nn.Module, stamps: Stamps, config: TrainConfig) -> npt.NDArray[np.float32]:
    """Logits (n,) of stamps, unvaried, cropped to what the network reads; every second one knows its mask."""
    place = next(network.parameters()).device
    was_training = network.training
    network.eval()
    logits = np.empty(len(stamps), dtype=np.float32)
    with torch.inference_mode(), _autocast(config, place):
        for start in range(0, len(stamps), _SCORING_BATCH):
            rows = np.arange(start, min(start + _SCORING_BATCH, len(stamps)))
            image, valid, _ = stamps.take(rows, rows % 2 == 0)
            scale = config.package.pixel_scale
            image, valid, _ = resample(image, valid, scale, config.package.size_pix, scale)
            channels = normalise(image, valid, config.normalisation, scale).to(place)
            logits[rows] = network(channels.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
    network.train(was_training)
    return logits


@dataclass
class _State:
    """Everything that a checkpoint holds, and the configuration it belongs to."""

    config: TrainConfig
    identity: str
    place: torch.device
    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    steps: int
    step: int = 0

    @classmethod
    def fresh(cls, config: TrainConfig, stamps: Stamps) -> _State:
        torch.manual_seed(config.seed)
        place = choose_device(config.run.device)
        channels = config.normalisation.channels(len(config.package.bands))
        network = build(config.network.architecture, channels, config.network.arguments)
        network = channels_last(network.to(place)).train()
        wanted = config.optimiser
        optimiser = torch.optim.AdamW(
            build_method(config.method).parameters(network), lr=wanted.learning_rate, weight_decay=wanted.weight_decay
        )
        steps = steps_of(config, len(stamps))[1]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, wanted.warmup))
        average = copy.deepcopy(network).requires_grad_(False)
        science = config.model_dump(exclude={"run", "output"})
        return cls(config, fingerprint([science, stamps.digest]), place, network, average, optimiser, schedule, steps)

    def load(self, path: Path) -> None:
        saved = torch.load(path, map_location=self.place, weights_only=True)
        if saved["identity"] != self.identity:
            raise ProductMismatch(
                f"{path} belongs to another configuration or other pools; train to another --out, or without --resume."
            )
        for name in ("network", "average", "optimiser", "schedule"):
            getattr(self, name).load_state_dict(saved[name])
        self.step = int(saved["step"])

    def save(self, path: Path) -> None:
        part = path.with_name(path.name + ".part")
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser", "schedule")}
        torch.save({"identity": self.identity, "step": self.step, **parts}, part)
        part.replace(path)

    def follow(self) -> None:
        """Move the average towards the network; a short memory at first, so that early weights are forgotten."""
        decay = min(self.config.optimiser.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)


def _run_steps(
    state: _State, stamps: Stamps, validation: Stamps, folder: Path, report: Callable[[Progress], None] | None
) -> None:
    config = state.config
    per_epoch = steps_of(config, len(stamps))[0]
    losses: list[float] = []
    since, order, order_epoch = time.monotonic(), np.empty(0, np.int64), -1
    while state.step < state.steps:
        epoch, place = divmod(state.step, per_epoch)
        if epoch != order_epoch:
            order, order_epoch = draw_order(stamps, config.data.mix, config.seed, epoch), epoch
        rows = order[place * config.optimiser.batch : (place + 1) * config.optimiser.batch]
        losses.append(_one_step(state, stamps, rows))
        state.step += 1
        last = state.step == state.steps
        if state.step % config.run.report_steps == 0 or last:
            rate = len(losses) * config.optimiser.batch / max(time.monotonic() - since, 1e-9)
            mean = float(np.mean(losses))
            if not math.isfinite(mean):
                raise ConfigError(f"the loss is {mean} at step {state.step}; lower optimiser.learning_rate.")
            left = (state.steps - state.step) * config.optimiser.batch / rate
            if report is not None:
                report(Progress(state.step, state.steps, mean, rate, left))
            _record(folder, {"step": state.step, "loss": mean, "rate": round(rate, 1)})
            losses, since = [], time.monotonic()
        if state.step % per_epoch == 0 or last:
            _record(folder, {"step": state.step, **_validate(state, validation)})
            since = time.monotonic()
        if state.step % config.run.checkpoint_steps == 0 or last:
            state.save(folder / CHECKPOINT)


def _one_step(state: _State, stamps: Stamps, rows: npt.NDArray[np.int64]) -> float:
    config = state.config
    torch.manual_seed(fingerprint_seed(config.seed, state.step))
    chance = torch.Generator().manual_seed(fingerprint_seed(config.seed, state.step))
    told = torch.rand(len(rows), generator=chance).numpy() < config.augment.mask_share
    image, valid, labels = stamps.take(rows, told)
    scale = config.package.pixel_scale
    image, valid = augment(image, valid, config.augment, chance, size=config.package.size_pix, pixel_scale=scale)
    channels = normalise(image.to(state.place), valid.to(state.place), config.normalisation, scale)
    batch = Batch(channels.contiguous(memory_format=torch.channels_last), labels.to(state.place))
    with _autocast(config, state.place):
        losses: Mapping[str, Tensor] = build_method(config.method).losses(state.network, batch)
        loss = torch.stack(list(losses.values())).sum()
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), config.optimiser.clip)
    state.optimiser.step()
    state.schedule.step()
    state.follow()
    return float(loss.detach())


def fingerprint_seed(seed: int, step: int) -> int:
    """A seed below 2**63 for one step of a run, unlike that of any other step or run."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _rate(step: int, steps: int, warmup: float) -> float:
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def _validate(state: _State, validation: Stamps) -> dict[str, float]:
    logits = score(state.average, validation, state.config)
    return {
        "auroc": round(auroc(logits, validation.lens).value, 5),
        "completeness_fpr_1pc": round(completeness_at_fpr(logits, validation.lens, 0.01).value, 5),
    }


def _autocast(config: TrainConfig, place: torch.device) -> torch.autocast:
    return torch.autocast(place.type, dtype=torch.bfloat16, enabled=config.run.dtype == "bfloat16")


def _record(folder: Path, values: Mapping[str, Any]) -> None:
    with (folder / METRICS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(values) + "\n")
