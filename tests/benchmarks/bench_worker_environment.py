"""Scoring rate of two Dask workers with lensscan's worker environment against Dask's own, in one run.

    python tests/benchmarks/bench_worker_environment.py [--rounds 3] [--ensemble ground] [--dtype float32]

Each measurement is a process of its own, because a cluster leaks its workers' settings into the process that
started it. The two kinds take turns; the ratio is taken pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SHARDS, CUTOUTS, SIZE = 8, 1024, 64


def score_random(seed: int, ensemble: str, dtype: str) -> int:
    """Score one shard of noise that the worker makes itself; returns the number of cutouts."""
    import numpy as np
    import torch

    from pipeline.models.ensemble import load_ensemble
    from pipeline.scan.score import score_cutouts
    from pipeline.scan_config import ScoreConfig

    torch.set_num_threads(1)
    members = load_ensemble(ensemble)
    bands = members.bands()
    image = np.random.default_rng(seed).normal(size=(CUTOUTS, len(bands), SIZE, SIZE)).astype(np.float32)
    config = ScoreConfig.model_validate({"dtype": dtype})
    logits = score_cutouts(image, None, None, pixel_scale=0.3, bands=bands, ensemble=members, config=config)
    return len(logits)


def measure(tuned: bool, ensemble: str, dtype: str) -> float:
    """Cutouts a second of a fresh cluster of two workers, after one warming round."""
    from contextlib import ExitStack

    from distributed import Client, LocalCluster

    from workflows.cluster import ClusterConfig, local_cluster

    with ExitStack() as stack:
        if tuned:
            cluster = stack.enter_context(local_cluster(ClusterConfig(workers=2)))
        else:
            cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
        client = stack.enter_context(Client(cluster))
        client.gather([client.submit(score_random, 2**31 - 1 - seed, ensemble, dtype) for seed in range(2)])
        began = time.perf_counter()
        counts: list[int] = client.gather(
            [client.submit(score_random, seed, ensemble, dtype) for seed in range(SHARDS)]
        )
        return sum(counts) / (time.perf_counter() - began)


def main() -> None:
    """Print both rates and their ratio as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--measure", choices=["default", "tuned"])
    options = parser.parse_args()
    if options.measure:
        print(json.dumps({"rate": measure(options.measure == "tuned", options.ensemble, options.dtype)}))
        return
    rates: dict[str, list[float]] = {"default": [], "tuned": []}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "OMP_"))}
    for _ in range(options.rounds):
        for kind, seen in rates.items():
            command = [sys.executable, __file__, "--measure", kind, "--ensemble", options.ensemble]
            command += ["--dtype", options.dtype]
            answer = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
            seen.append(json.loads(answer.stdout.splitlines()[-1])["rate"])
    ratios = [tuned / default for tuned, default in zip(rates["tuned"], rates["default"], strict=True)]
    print(
        json.dumps(
            {
                "default_per_s": round(statistics.median(rates["default"])),
                "tuned_per_s": round(statistics.median(rates["tuned"])),
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
            }
        )
    )


if __name__ == "__main__":
    main()
