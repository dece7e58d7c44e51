"""Scoring against what the device can do: each member's forward pass, and a shard's whole task against them all.

    python tests/benchmarks/bench_scoring.py [--ensemble ground] [--threads 1] [--dtype float32] [--backend torch ...]
        [--device cpu] [--batch 256] [--cutouts 2000] [--cascade] [--clock wall] [--json FILE]

Forward pass: one batch of channels that are there already, objects and GFLOP a second, as a share of the device's
matrix multiplications and, on a CPU with a C compiler, of its fused multiply-adds, all measured in the same run.

Task: a shard is read from page cache, scored and its part of the scores written, as a scan's task does; the ratio is
its time over that of the members' forward passes alone, all views of them. On one H100:

    python tests/benchmarks/bench_scoring.py --device cuda --dtype bfloat16 --batch 2048 --cutouts 40000

With `--clock cpu` processor time is taken for wall time, which tells the same of one thread on a machine that others
use too.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from device_limits import Clock, fastest, fma_rate, matmul_rate
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from pipeline.io import cutout_store
from pipeline.io.cutout_store import Stamps
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.models.package import ModelPackage
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.scan.score import ask_members, member_forward
from pipeline.scan_config import ScoreConfig
from workflows import field_tables
from workflows.allocator import keep_freed_memory

SIZE, PIXEL_SCALE = 64, 0.3
"""Of the stamps; the members of `ground` read the same, so nothing is resampled."""


def stamps(n: int, bands: int) -> Stamps:
    """Noise with a galaxy in the middle; every ninth stamp has a flagged corner."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    image = rng.standard_normal((n, bands, SIZE, SIZE), np.float32)
    image += (rng.uniform(1, 100, (n, bands, 1, 1)) * np.exp(-np.hypot(y, x) / 4)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint32)
    mask[::9, :, :9, :9] = 1
    return Stamps(image, np.ones_like(image), mask)


def member_rates(
    member: ModelPackage,
    views: tuple[torch.Tensor, ...],
    config: ScoreConfig,
    limits: dict[str, float | None],
    clock: Clock,
) -> dict[str, Any]:
    """The forward pass of one member on one batch, upright."""
    upright = views[:1]
    forward = member_forward(member, upright[0].device, config)
    with torch.inference_mode():
        seconds = fastest(lambda: forward(upright), clock)
        all_views = fastest(lambda: forward(views), clock) if len(views) > 1 else seconds
        with FlopCounterMode(display=False) as counter:
            member.network(upright[0][:1])
    gflop, number = counter.get_total_flops() / 1e9, len(upright[0])
    rate = gflop * number / seconds
    return {
        "member": member.name,
        "backend": config.backend,
        "mflop": 1e3 * gflop,
        "per_s": number / seconds,
        "gflop_per_s": rate,
        **{f"of_{name}": rate / limit for name, limit in limits.items() if limit is not None},
        "seconds_of_all_views": all_views / number,
    }


def task_seconds(folder: Path, ensemble: Ensemble, config: ScoreConfig, device: str, clock: Clock) -> float:
    """Read a shard, score it, write its part of the scores; seconds."""
    objid = np.arange(cutout_store.open_store(folder).rows, dtype=np.int64)

    def task() -> None:
        store = cutout_store.open_store(folder)
        shard = cutout_store.read_shard(store, 0)
        answers = ask_members(
            shard.image,
            shard.ivar,
            shard.mask,
            pixel_scale=store.pixel_scale,
            bands=store.bands,
            ensemble=ensemble,
            config=config,
            device=device,
        )
        field_tables.write_score_part(folder / "scores", 0, objid, 0, answers, ensemble)

    return fastest(task, clock, rounds=3)


def main() -> None:
    """Measure, and print tables or write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--backend", nargs="+", default=["torch"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--cutouts", type=int, default=2000)
    parser.add_argument("--cascade", action="store_true")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.clock == "cpu" and (options.threads > 1 or options.device != "cpu"):
        parser.error("--clock cpu is for one thread of a CPU")
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    place = torch.device(options.device)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    ensemble = load_ensemble(options.ensemble)
    limits = {
        "matmul": matmul_rate(place, getattr(torch, options.dtype), clock),
        "fma": fma_rate(options.threads, clock) if place.type == "cpu" and options.dtype == "float32" else None,
    }
    bands = ensemble.bands()
    pixels = stamps(options.cutouts, len(bands))
    members, tasks = [], []
    for backend in options.backend:
        config = ScoreConfig.model_validate(
            {
                "backend": backend,
                "dtype": options.dtype,
                "device": options.device,
                "batch": options.batch,
                "cascade": options.cascade,
            }
        )
        cutouts = Cutouts(pixels.image, pixels.ivar, pixels.mask, bands, PIXEL_SCALE)
        batch = next(batches(cutouts, np.arange(len(cutouts)), options.batch)).to(place)
        with torch.inference_mode():
            prepared = Prepared(batch, cutouts, config)
            rates = [
                member_rates(member, prepared.views(member.card, ensemble.views), config, limits, clock)
                for member in ensemble.members
            ]
        pure = sum(rate.pop("seconds_of_all_views") for rate in rates) * options.cutouts
        members += rates
        with tempfile.TemporaryDirectory() as folder:
            write_shard(Path(folder), pixels, bands)
            seconds = task_seconds(Path(folder), ensemble, config, options.device, clock)
        tasks.append(
            {
                "backend": backend,
                "cascade": options.cascade,
                "cutouts": options.cutouts,
                "per_s": options.cutouts / seconds,
                "pure_per_s": options.cutouts / pure,
                "task_over_pure": seconds / pure,
            }
        )
    device = torch.cuda.get_device_name(place) if place.type == "cuda" else platform.processor() or platform.machine()
    about = {
        "device": device,
        "threads": options.threads,
        "dtype": options.dtype,
        "batch": options.batch,
        "clock": options.clock,
    } | {f"{name}_gflop_per_s": limit for name, limit in limits.items()}
    if options.json is not None:
        options.json.write_text(json.dumps({"about": about, "members": members, "tasks": tasks}, indent=1))
    console = Console(width=160)
    console.print(about)
    for rows in (members, tasks):
        console.print(table(rows))


def write_shard(folder: Path, pixels: Stamps, bands: tuple[str, ...]) -> None:
    """One shard of a field's cutouts, with the codec of a scan."""
    n = len(pixels.image)
    store = cutout_store.create(
        folder,
        bands=bands,
        pixel_scale=PIXEL_SCALE,
        rows=n,
        size=SIZE,
        chunk=50,
        shard=-(-n // 50) * 50,
        codec="lz4",
        seeing={},
    )
    cutout_store.write(store, [pixels])


def table(rows: list[dict[str, Any]]) -> Table:
    """Rows of one kind."""
    answer = Table(box=None)
    for name in rows[0]:
        answer.add_column(name)
    for row in rows:
        answer.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    return answer


if __name__ == "__main__":
    main()
