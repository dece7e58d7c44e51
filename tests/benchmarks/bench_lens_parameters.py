"""Posteriors of lens parameters a second, sampling included: of a package, or of a network without a training.

    python tests/benchmarks/bench_lens_parameters.py [PACKAGE] [--samples 256] [--stamps 512] [--threads 2] [--device D]

Stamps are noise on the network's own grid; what is timed is all that a candidate costs once it is cut: normalisation,
embedding and the samples. Told beside the rate: how the time is shared, and the median of three runs' spread.
"""

from __future__ import annotations

import argparse
import time
from typing import cast

import numpy as np
import torch

from pipeline.models import build
from pipeline.models.card import find_package
from pipeline.models.normalisation import Normalisation, NormalisationConfig
from pipeline.models.normalise import normalise
from pipeline.models.package import channels_last, load_package
from pipeline.models.posterior import PosteriorHead, base_samples

_BATCH, _RUNS = 64, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", nargs="?")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--stamps", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config: Normalisation
    if given.package is None:
        network, size, config = build("lensnet", 9, {}), 48, NormalisationConfig(difference=True)
    else:
        package = load_package(find_package(given.package))
        network, size, config = package.network, package.card.size_pix, package.card.normalisation
    network = channels_last(network.eval().to(given.device))
    head, base = cast("PosteriorHead", network.head), base_samples(given.samples, 1).to(given.device)
    image = torch.randn((given.stamps, 3, size, size), generator=torch.Generator().manual_seed(1)).to(given.device)
    valid = torch.ones_like(image, dtype=torch.bool)

    def wait() -> float:
        if given.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    rows = []
    with torch.inference_mode():
        for run in range(_RUNS + 1):
            parts = np.zeros(3)
            for start in range(0, given.stamps, _BATCH):
                stamps = slice(start, start + _BATCH)
                marks = [wait()]
                channels = normalise(image[stamps], valid[stamps], config, 0.3)
                marks.append(wait())
                embedding = network.embed(channels.contiguous(memory_format=torch.channels_last))
                marks.append(wait())
                head.sample(embedding, base)
                marks.append(wait())
                parts += np.diff(marks)
            if run:  # the first one warms
                rows.append(parts)
    rates = np.sort(given.stamps / np.sum(rows, axis=1))
    shares = np.sum(rows, axis=0) / np.sum(rows)
    print(
        f"{rates[_RUNS // 2]:.0f} posteriors/s ({rates[0]:.0f} to {rates[-1]:.0f}) of {given.samples} samples, "
        f"{given.threads} threads on {given.device}: normalising {shares[0]:.0%}, embedding {shares[1]:.0%}, "
        f"sampling {shares[2]:.0%}"
    )


if __name__ == "__main__":
    main()
