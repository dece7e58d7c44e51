"""The autoencoders of `configs/training` under every distance, on one set of pools.

    python tests/benchmarks/bench_vae.py "runs/quasars/*/package" [--pictures vae.png]

For each package and distance: in how many dimensions it is measured, AUROC against all normal sources and against
point-like ones, and the highest F1 over thresholds at 5 % anomalies with its precision and recall. Dimensions are
chosen on training stamps, as in training; with pictures, some stamps beside their reconstructions and what these leave.
"""

from __future__ import annotations

import argparse
import glob
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.evaluate.anomalies.threshold import precision_and_f1, threshold_study
from pipeline.evaluate.figures import confusion
from pipeline.evaluate.metrics import auroc
from pipeline.evaluate.tally import tally
from pipeline.models.normalise import normalise
from pipeline.models.package import ModelPackage, load_package
from pipeline.models.resample import resample
from pipeline.models.vae import Distance, Vae
from pipeline.models.vae_choice import settle
from pipeline.train.data import Stamps, read_stamps

SHARE = 0.05
"""Of anomalies."""

BINS, SHARE, MOST = 20, 0.1, 8
"""As `configs/training/beta-tc-vae.toml` has it."""

POINT_LIKE = ("star", "blue_point")
SHOWN = 8
"""Stamps of each class in a picture."""


def channels_of(package: ModelPackage, stamps: Stamps, rows: npt.NDArray[np.int64]) -> Tensor:
    """What the network reads of stamps whose masks are known."""
    card = package.card
    image, valid, _ = stamps.take(rows, np.ones(len(rows), np.bool_))
    image, valid, _ = resample(image, valid, card.pixel_scale, card.size_pix, card.pixel_scale)
    return normalise(image, valid, card.normalisation, card.pixel_scale)


def embeddings(package: ModelPackage, stamps: Stamps) -> npt.NDArray[np.float32]:
    parts = np.array_split(np.arange(len(stamps)), max(1, len(stamps) // 256))
    with torch.inference_mode():
        return np.concatenate([package.network.embed(channels_of(package, stamps, part)).numpy() for part in parts])


def best_f1(logits: npt.NDArray[Any], anomaly: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Highest F1 over thresholds, with precision and recall, where a share `SHARE` are anomalies."""
    counted = tally(logits, anomaly)
    matrix = confusion(counted, threshold_study(counted, SHARE).best)
    recall = np.array(matrix.true_positives / counted.n_lenses)
    false = np.array(matrix.false_positives / counted.n_others)
    precision, f1 = precision_and_f1(recall, false, SHARE)
    return float(f1), float(precision), float(recall)


def measure(package: ModelPackage, train: Stamps, test: Stamps) -> None:
    network = package.network
    assert isinstance(network, Vae)
    known, asked = embeddings(package, train), embeddings(package, test)
    points = np.isin(test.kind, POINT_LIKE) | test.lens
    own = network.head.distance
    for distance in get_args(Distance):
        network.head.distance = distance
        choice = settle(network.head, known, train.lens, bins=BINS, share=SHARE, most=MOST)
        logits = network.head.classify(torch.from_numpy(asked)).numpy()
        f1, precision, recall = best_f1(logits, test.lens)
        print(
            f"{package.name:22s} {distance + (' *' if distance == own else ''):16s} {int(choice.chosen.sum()):3d} "
            f"{auroc(logits, test.lens).value:6.3f} {auroc(logits[points], test.lens[points]).value:6.3f} "
            f"{f1:6.3f} {precision:5.2f} {recall:5.2f}",
            flush=True,
        )


def picture(package: ModelPackage, stamps: Stamps) -> npt.NDArray[np.uint8]:
    """Anomalies, then normal stamps: the last drawn channel, its reconstruction, and the difference."""
    rows = np.concatenate([np.flatnonzero(stamps.lens == kind)[:SHOWN] for kind in (True, False)])
    seen = channels_of(package, stamps, rows)
    network = package.network
    assert isinstance(network, Vae)
    with torch.inference_mode():
        drawn = network.reconstruct(seen)[:, network.drawn - 1]
    light = seen[:, network.drawn - 1]
    top = light.amax((1, 2), keepdim=True).clamp_min(0.5)
    lines = [(light + 0.2) / (top + 0.2), (drawn + 0.2) / (top + 0.2), (light - drawn) + 0.5]
    tiles = [torch.cat([stamp.flip(0) for stamp in line], dim=1).clamp(0, 1) for line in lines]
    return (torch.cat(tiles).numpy() * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("packages")
    parser.add_argument("--train", default="runs/pools/quasars-train/pool-*.npz")
    parser.add_argument("--test", default="runs/pools/quasars-test/pool-*.npz")
    parser.add_argument("--stamps", type=int, default=8000, help="training stamps that dimensions are chosen on")
    parser.add_argument("--pictures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    packages = [load_package(Path(path)) for path in sorted(glob.glob(given.packages))]
    card = packages[0].card
    train = read_stamps([given.train], card.bands, card.pixel_scale, limit=given.stamps)
    test = read_stamps([given.test], card.bands, card.pixel_scale)
    print(f"{'package':22s} {'distance':16s} dim  auroc  point     F1     P     R   (* its own)")
    for package in packages:
        measure(package, train, test)
    if given.pictures:
        planes = np.concatenate([picture(package, test) for package in packages])
        Image.fromarray(planes).resize((planes.shape[1] * 2, planes.shape[0] * 2), Image.Resampling.NEAREST).save(
            given.pictures
        )


if __name__ == "__main__":
    main()
