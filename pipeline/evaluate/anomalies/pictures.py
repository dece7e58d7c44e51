"""Stamps beside what an autoencoder makes of them, and those that a detector gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from pipeline.catalogue.colour import colour, png
from pipeline.evaluate.anomalies.config import AnomaliesConfig
from pipeline.evaluate.anomalies.latent import Autoencoder, prepared
from pipeline.evaluate.anomalies.scores import Scored
from pipeline.evaluate.report.gallery import cropped
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.evaluate.samples.subset import subset
from pipeline.models.package import ModelPackage
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_WHITE = 99.5
"""Percentile of a stamp's channels that is white in its picture and in that of its reconstruction."""


@dataclass(frozen=True)
class Reconstruction:
    """PNGs of a stamp as the network sees it, of what it makes of it, and of the difference (blue below, red above)."""

    title: str
    stamp: bytes
    reconstruction: bytes
    residual: bytes


@dataclass(frozen=True)
class Shown:
    """A stamp, with the share of the sample's normals that score at least as high."""

    title: str
    odds: float
    picture: bytes


def reconstructions(scored: Scored, package: ModelPackage, config: AnomaliesConfig) -> list[Reconstruction]:
    """Some normals and anomalies of a sample, drawn at random, beside what a package's network makes of them."""
    rng = np.random.default_rng(config.seed)
    sample, count = scored.sample, config.latent.reconstructions
    found = []
    network = cast("Autoencoder", package.network)
    for lens in (True, False):
        rows = np.sort(rng.permutation(np.flatnonzero(sample.lens == lens))[:count])
        if not len(rows):
            continue
        part = _part(sample, rows)
        with torch.inference_mode():
            for inputs, n in prepared(part, sample, ScoreConfig(batch=len(rows))):
                channels, scorable = inputs.views(package.card, 1)[0], inputs.scorable(package.card)
                drawn = network.reconstruct(channels).float()
                seen = channels[:, : drawn.shape[1]].float()
                pairs = zip(seen.numpy(), drawn.numpy(), scorable.numpy(), strict=True)
                for row, (stamp, answer, known) in zip(rows[:n].tolist(), pairs, strict=False):
                    if known:
                        found.append(_reconstruction(title(sample, row), stamp, answer))
    return found


def false_alarms(scored: Scored, scorer: str, config: AnomaliesConfig) -> list[Shown]:
    """The normals of the highest score, one a group."""
    return _shown(scored, scorer, np.flatnonzero(~scored.sample.lens), -1, config)


def missed(scored: Scored, scorer: str, config: AnomaliesConfig) -> list[Shown]:
    """The anomalies of the lowest score."""
    return _shown(scored, scorer, np.flatnonzero(scored.sample.lens), 1, config)


def title(sample: Sample, row: int) -> str:
    """What is known of a stamp: its kind or its file's name, and for a lens its separation."""
    truth = sample.truth
    words = [str(truth[name][row]) for name in ("kind", "name") if name in truth][:1]
    if sample.lens[row]:
        for column in ("separation", "image_sep"):
            if column in truth and np.isfinite(float(truth[column][row])):
                words.append(f"{float(truth[column][row]):.1f}″")
    return " ".join(words)


def _shown(scored: Scored, scorer: str, rows: npt.NDArray[np.int64], sign: int, config: AnomaliesConfig) -> list[Shown]:
    sample, score = scored.sample, scored.columns[scorer]
    known = rows[np.isfinite(score[rows])]
    order = known[np.argsort(sign * score[known], kind="stable")]
    if sample.group is not None:
        order = order[np.sort(np.unique(sample.group[order], return_index=True)[1])]
    others = score[~sample.lens]
    return [
        Shown(
            title(sample, row),
            float((others >= score[row]).mean()),
            png(colour(cropped(sample.stamp(row), config.gallery.size))),
        )
        for row in order[: config.gallery.stamps].tolist()
    ]


def _part(sample: Sample, rows: npt.NDArray[np.int64]) -> Part:
    """The stamps of some rows, ascending, with all that is known of their pixels."""
    kept = np.zeros(len(sample), np.bool_)
    kept[rows] = True
    parts = list(subset(sample, kept, sample.name, sample.notes).parts())
    joined: list[Any] = [
        None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])
        for name in ("image", "ivar", "mask")
    ]
    return Part(*joined)


def _reconstruction(name: str, stamp: Float32, answer: Float32) -> Reconstruction:
    low, high = float(np.percentile(stamp, 20)), float(np.percentile(stamp, _WHITE))
    span = max(high - low, 1e-6)
    difference = (stamp - answer).mean(axis=0) / span
    pictures = [png(_picture((channels - low) / span)) for channels in (stamp, answer)]
    return Reconstruction(name, pictures[0], pictures[1], png(_diverging(2 * difference)))


def _picture(level: Float32) -> Picture:
    """Channels (c, y, x) from 0 to 1 as a picture: the first three as blue, green and red, or the first as grey."""
    chosen = level[2::-1] if len(level) >= 3 else level[[0, 0, 0]]
    return np.ascontiguousarray((np.clip(chosen, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def _diverging(value: npt.NDArray[Any]) -> Picture:
    """Numbers (y, x) from -1 (blue) over 0 (white) to 1 (red)."""
    up, down = np.clip(value, 0, 1), np.clip(-value, 0, 1)
    planes: Sequence[Any] = (1 - down, 1 - up - down, 1 - up)
    return np.ascontiguousarray((np.stack(planes, axis=-1).clip(0, 1) * 255).astype(np.uint8))
