"""The one training loop: any method, any network, resumable to the same numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.evaluate.metrics import auroc, completeness_at_fpr
from pipeline.models.layers import Network
from pipeline.models.normalise import normalise
from pipeline.train.augment import augment, augment_with_maps, augment_with_parameters
from pipeline.train.config import TrainConfig
from pipeline.train.data import Stamps
from pipeline.train.history import History
from pipeline.train.maps import map_figures
from pipeline.train.measured import parameter_figures
from pipeline.train.methods import Batch, Context
from pipeline.train.mining import hard_factors
from pipeline.train.run import Run
from pipeline.train.stream import Stream
from pipeline.train.unvaried import autocast, unvaried

CHECKPOINT, COMPANION = "checkpoint.pt", "companion.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a run is; `rate` in labelled stamps/s, `left` in seconds of training."""

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
    unlabelled: Stamps | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Trained:
    """Train a network.

    All chance of a step (which stamps, their variation, dropout) comes from the seed and the step's
    number, so a run that was stopped and resumed from its checkpoint gives the numbers of one that was not.

    Parameters
    ----------
    config : TrainConfig
    stamps, validation : Stamps
    folder : Path
        Gets `checkpoint.pt`, `companion.safetensors` where the method trains a second network, and what
        `pipeline.train.history.History` writes: the mean losses of the steps since the last line, and after each
        epoch (or `run.validation_steps`) `auroc` and `completeness_fpr_1pc` of the validation.
    unlabelled : Stamps, optional
        For the methods that read any; what `lens` says of them is not read.
    resume : bool
        Go on from the folder's checkpoint if there is one; otherwise start again.
    report : callable, optional
        Told every `run.report_steps` steps.
    tell : callable, optional
        Told in a sentence what else is worth knowing.

    Raises
    ------
    ProductMismatch
        If the checkpoint belongs to another configuration, architecture or method, or to other pools.
    ConfigError
        If the training or validation stamps are all of one class, a method lacks its unlabelled stamps, or the loss is
        no longer finite.
    ModelMismatch
        If the encoder to start from doesn't fit.
    """
    torch.set_num_threads(config.run.threads)
    _has_both_classes(stamps, "training")
    _has_both_classes(validation, "validation")
    stream = Stream(stamps, config.optimiser.batch, config.seed, config.data.mix, config.sampler)
    pools = {"training": stamps.digest, "validation": validation.digest}
    if unlabelled is not None:
        pools["unlabelled"] = unlabelled.digest
    run = Run.fresh(config, stream, pools, tell)
    others = _unlabelled_stream(run, unlabelled)
    folder.mkdir(parents=True, exist_ok=True)
    if resume and (folder / CHECKPOINT).is_file():
        run.load(folder / CHECKPOINT)
    with History(folder, run.step, tell) as history:
        _run_steps(run, others, validation, folder, history, report)
    if run.method.companion is not None:
        state = run.method.companion.state_dict()
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, folder / COMPANION)
    _settle(run)
    logits = score(run.average, validation, config)
    return Trained(run.average.cpu().eval(), logits)


def score(
    network: nn.Module, stamps: Stamps, config: TrainConfig, rows: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """Logits of stamps, unvaried, cropped to what the network reads; those of even number know their mask.

    Parameters
    ----------
    network : torch.nn.Module
        In training mode again afterwards if it was before.
    stamps : Stamps
    config : TrainConfig
    rows : int64 (m,), optional
        Which stamps; all (n,) if None.
    """
    return _answers(network, network, stamps, config, np.arange(len(stamps)) if rows is None else rows)


def embed(
    network: nn.Module, stamps: Stamps, config: TrainConfig, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Embeddings (m, d) of some stamps; parameters as of `score`."""
    return _answers(network, cast(Network, network).embed, stamps, config, rows)


def fingerprint_seed(seed: int, step: int) -> int:
    """A seed below 2**63 for one step of a run, unlike that of any other step or run."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _has_both_classes(stamps: Stamps, which: str) -> None:
    lenses = int(stamps.lens.sum())
    if lenses in (0, len(stamps)):
        only = "lenses" if lenses else "non-lenses"
        raise ConfigError(
            f"the {which} stamps are {only} alone ({len(stamps):,}); data.{which.removesuffix('ing')} needs both."
        )


def _unlabelled_stream(run: Run, unlabelled: Stamps | None) -> Stream | None:
    if run.method.views == 0:
        return None
    if unlabelled is None or not len(unlabelled):
        raise ConfigError(f"method {run.config.method.name!r} reads unlabelled stamps; name some in data.unlabelled.")
    batch = max(1, round(run.method.ratio * run.config.optimiser.batch))
    return Stream(unlabelled, batch, run.config.seed)


def _run_steps(
    run: Run,
    others: Stream | None,
    validation: Stamps,
    folder: Path,
    history: History,
    report: Callable[[Progress], None] | None,
) -> None:
    config, per_epoch = run.config, run.stream.per_epoch
    validation_steps = config.run.validation_steps or per_epoch
    seconds, since = 0.0, run.step
    while run.step < run.steps:
        started = time.perf_counter()
        run.tally.add(_one_step(run, others))
        run.step += 1
        seconds += time.perf_counter() - started
        last = run.step == run.steps
        if run.step % config.run.report_steps == 0 or last:
            means = run.tally.means()
            rate = (run.step - since) * config.optimiser.batch / max(seconds, 1e-9)
            left = (run.steps - run.step) * config.optimiser.batch / rate
            history.metrics(run.step, means)
            history.speed(run.step, {"rate": round(rate, 1), "left": round(left, 1)})
            if report is not None:
                report(Progress(run.step, run.steps, means["loss"], rate, left))
            seconds, since = 0.0, run.step
        if run.step % validation_steps == 0 or last:
            history.metrics(run.step, _validate(run, validation))
        if run.step % per_epoch == 0:
            run.stream.hard = _mined(run)
        if run.step % config.run.checkpoint_steps == 0 or last:
            run.save(folder / CHECKPOINT)


def _one_step(run: Run, others: Stream | None) -> dict[str, float]:
    """Move every parameter once; the losses by name, and their sum as `loss`."""
    config, seed = run.config, fingerprint_seed(run.config.seed, run.step)
    torch.manual_seed(seed)
    chance = torch.Generator().manual_seed(seed)
    batch = _labelled(run, chance)
    if others is not None:
        batch = replace(batch, views=_varied(run, others, run.method.views, chance)[0])
    context = Context(run.step, run.steps, run.average, chance)
    with autocast(config, run.place):
        losses = run.method.losses(run.network, batch, context)
        loss = torch.stack(list(losses.values())).sum()
    values = {"loss": float(loss.detach())}
    if not math.isfinite(values["loss"]):
        named = ", ".join(f"{name} {float(value.detach()):g}" for name, value in losses.items())
        raise ConfigError(f"the loss is {named} at step {run.step + 1}; lower optimiser.learning_rate.")
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), config.optimiser.clip)
    run.optimiser.step()
    run.schedule.step()
    run.follow()
    if len(losses) > 1:
        values |= {name: float(value.detach()) for name, value in losses.items()}
    return values


def _labelled(run: Run, chance: torch.Generator) -> Batch:
    """A step's labelled stamps, with their kinds, and their maps or lens parameters where they have any."""
    if run.stream.stamps.parameters is not None:
        return _measured(run, chance)
    rows = run.stream.rows(run.step)
    kinds = torch.from_numpy(run.stream.kinds[rows])
    if run.stream.stamps.maps is None:
        (channels,), labels = _varied(run, run.stream, 1, chance)
        return Batch(channels, labels, kinds=kinds)
    config, stamps = run.config, run.stream.stamps
    image, valid, labels = stamps.take(rows, _told(config, rows, chance))
    image, valid, maps = augment_with_maps(
        image,
        valid,
        stamps.take_maps(rows),
        config.augment,
        chance,
        size=config.package.size_pix,
        pixel_scale=config.package.pixel_scale,
        donors=stamps.donors,
    )
    return Batch(_channels(run, image, valid), labels.to(run.place), maps=maps.to(run.place), kinds=kinds)


def _measured(run: Run, chance: torch.Generator) -> Batch:
    """A step's labelled stamps, with the parameters of their lenses."""
    config, stamps = run.config, run.stream.stamps
    rows = run.stream.rows(run.step)
    image, valid, labels = stamps.take(rows, _told(config, rows, chance))
    image, valid, parameters = augment_with_parameters(
        image,
        valid,
        stamps.take_parameters(rows),
        config.augment,
        chance,
        size=config.package.size_pix,
        pixel_scale=config.package.pixel_scale,
    )
    return Batch(_channels(run, image, valid), labels.to(run.place), parameters=parameters.to(run.place))


def _told(config: TrainConfig, rows: npt.NDArray[np.int64], chance: torch.Generator) -> npt.NDArray[np.bool_]:
    """Which of a step's stamps know their masks."""
    told: npt.NDArray[np.bool_] = torch.rand(len(rows), generator=chance).numpy() < config.augment.mask_share
    return told


def _varied(run: Run, stream: Stream, views: int, chance: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
    """Channels of a step's stamps in independent variations, and their labels."""
    config, scale = run.config, run.config.package.pixel_scale
    rows = stream.rows(run.step)
    image, valid, labels = stream.stamps.take(rows, _told(config, rows, chance))
    looks = []
    for _ in range(views):
        seen, known = augment(image, valid, config.augment, chance, size=config.package.size_pix, pixel_scale=scale)
        looks.append(_channels(run, seen, known))
    return tuple(looks), labels.to(run.place)


def _channels(run: Run, image: Tensor, valid: Tensor) -> Tensor:
    config = run.config
    channels = normalise(image.to(run.place), valid.to(run.place), config.normalisation, config.package.pixel_scale)
    return channels.contiguous(memory_format=torch.channels_last)


def _answers(
    network: nn.Module,
    ask: Callable[[Tensor], Tensor],
    stamps: Stamps,
    config: TrainConfig,
    rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """What a part of a network answers to stamps, unvaried; (m,) or (m, d)."""
    was_training = network.training
    network.eval()
    with torch.inference_mode(), autocast(config, next(network.parameters()).device):
        answers = [ask(channels).float().cpu().numpy() for channels, _ in unvaried(network, stamps, config, rows)]
    network.train(was_training)
    return np.concatenate(answers) if answers else np.empty(0, np.float32)


def _settle(run: Run) -> None:
    """Let the method set what the averaged network's head keeps of the training stamps."""
    stamps, average = run.stream.stamps, run.average
    run.method.settle(average, lambda rows: embed(average, stamps, run.config, rows), stamps)


def _validate(run: Run, validation: Stamps) -> dict[str, float]:
    _settle(run)
    logits = score(run.average, validation, run.config)
    figures = {
        "auroc": round(auroc(logits, validation.lens).value, 5),
        "completeness_fpr_1pc": round(completeness_at_fpr(logits, validation.lens, 0.01).value, 5),
    }
    if validation.maps is not None:
        figures |= {name: round(value, 5) for name, value in map_figures(run.average, validation, run.config).items()}
    if validation.parameters is not None:
        figures |= {
            name: round(value, 5) for name, value in parameter_figures(run.average, validation, run.config).items()
        }
    return figures


def _mined(run: Run) -> npt.NDArray[np.float64]:
    config, stamps = run.config, run.stream.stamps
    epoch = run.step // run.stream.per_epoch
    return hard_factors(
        stamps, config.sampler.mining, config.seed, epoch, lambda rows: score(run.average, stamps, config, rows)
    )
