"""What a cascade gains and loses: rate on a survey's detections, and lenses lost among ones that no fit has seen.

    python tests/benchmarks/bench_cascade.py --pools "runs/pools/test-lenses/pool-*.npz" [--pools ...]
        [--ensemble ground] [--sky 1001 | --no-rates] [--limit N] [--clock wall] [--json FILE]

Rate: every detection of a synthetic sky and, with `LENSSCAN_DATA`, of `kids-viking`, is scored by the whole ensemble
and behind its gates, in turns on one thread; the ratio is that of the fastest of each (`--clock cpu`: by processor
time, which tells the same on a machine that others use too). Beside it stands how many of the
candidates that the whole ensemble makes are still made, lenses or not.

Loss: of the lenses in each `--pools` that the whole ensemble makes candidates, the share that the gates stop, with 68 %
and 95 % Wilson intervals over stamps, and over the galaxies that the lenses were put into where there are fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from pipeline.evaluate.calibration import cascade
from pipeline.evaluate.metrics import share, share_above
from pipeline.evaluate.samples.pools import object_groups, read_heads, read_parts
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.cutouts import cut
from pipeline.scan.detect import detect
from pipeline.scan.masks import find
from pipeline.scan.member_inputs import Cutouts
from pipeline.scan.score import ask_gates, ask_members
from pipeline.scan_config import ScanConfig, ScoreConfig
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from pipeline.surveys import Survey, open_survey
from workflows.allocator import keep_freed_memory

BANDS = ("g", "r", "i")
ROUNDS = 2
Z95 = 1.96


@dataclass(frozen=True)
class Stamps:
    """Every cutout of a survey."""

    image: npt.NDArray[Any]
    ivar: npt.NDArray[Any]
    mask: npt.NDArray[Any]
    pixel_scale: float


def stamps_of(survey: Survey) -> Stamps:
    """Cut a survey as a scan does."""
    config = ScanConfig(scan_id="bench", survey="none", output="none", bands=BANDS)
    parts, scale = [], 0.0
    for field in survey.fields():
        image = survey.open(field, BANDS)
        masks = find(image, config.masks, config.memory)
        detections = detect(image, masks, config.detect, config.memory)
        parts += list(cut(image, masks, detections, config.cutouts, config.vet, config.memory))
        scale = image.pixel_scale
    return Stamps(
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.ivar for part in parts]),
        np.concatenate([part.mask for part in parts]),
        scale,
    )


def rate(name: str, stamps: Stamps, ensemble: Ensemble, clock: Callable[[], float]) -> dict[str, Any]:
    """Objects a second with and without gates, and what becomes of the candidates."""
    seconds: dict[bool, float] = {}
    answers = {}
    for _ in range(ROUNDS):
        for gated in (False, True):
            began = clock()
            answers[gated] = ask_members(
                stamps.image,
                stamps.ivar,
                stamps.mask,
                pixel_scale=stamps.pixel_scale,
                bands=BANDS,
                ensemble=ensemble,
                config=ScoreConfig(device="cpu", cascade=gated),
            )
            taken = clock() - began
            seconds[gated] = min(seconds.get(gated, taken), taken)
    gates = ensemble.gates()
    whole, behind = (
        cascade.candidates(ensemble, answers[gated].logits, gates.config.prior, gates.config.floor)
        for gated in (False, True)
    )
    number = len(stamps.image)
    logits = answers[True].gates
    assert logits is not None
    return {
        "detections": name,
        "number": number,
        "whole_per_s": number / seconds[False],
        "cascade_per_s": number / seconds[True],
        "ratio": seconds[False] / seconds[True],
        "passed": 1 - float(gates.stops(logits).mean()),
        "candidates": int(whole.sum()),
        "candidates_kept": int((whole & behind).sum()),
    }


def loss(pattern: str, ensemble: Ensemble, limit: int | None) -> dict[str, Any]:
    """Lenses lost in one pool; its others are not looked at."""
    gates, heads = ensemble.gates(), read_heads((pattern,), limit)
    config, cpu = ScoreConfig(device="cpu"), torch.device("cpu")
    whole, asked = [], []
    for head in heads:
        first = 0
        for part in read_parts(head, masks=True):
            rows = head.lens[first : first + len(part.image)]
            first += len(part.image)
            planes = [None if plane is None else plane[rows] for plane in (part.image, part.ivar, part.mask)]
            about = {"bands": head.bands, "pixel_scale": head.pixel_scale}
            whole.append(ask_members(*planes, **about, ensemble=ensemble, config=config).logits)  # type: ignore[arg-type]
            asked.append(ask_gates(Cutouts(*planes, **about), gates, config, cpu))  # type: ignore[arg-type]
    found = cascade.candidates(ensemble, np.concatenate(whole), gates.config.prior, gates.config.floor)
    stopped = gates.stops(np.concatenate(asked))
    lost = share(int((stopped & found).sum()), int(found.sum()))
    values: dict[str, Any] = {
        "pools": pattern,
        "lenses": len(found),
        "candidates": int(found.sum()),
        "lost": int((stopped & found).sum()),
        "share": lost.value,
        "low": lost.low,
        "high": lost.high,
        "high_95": wilson_high(int((stopped & found).sum()), int(found.sum()), Z95),
        "stopped_of_all": float(stopped.mean()),
    }
    groups = object_groups(heads)
    if groups is not None:
        kept = np.asarray(groups)[np.concatenate([head.lens for head in heads])][found]
        values |= {"galaxies": len(np.unique(kept)), "high_over_galaxies": share_above(stopped[found], kept).high}
    return values


def wilson_high(count: int, total: int, z: float) -> float:
    """Upper end of Wilson's interval."""
    p = count / total
    middle = p + z**2 / (2 * total)
    return float((middle + z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))) / (1 + z**2 / total))


def all_rates(seed: int, ensemble: Ensemble, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Of a synthetic sky and, where there is one, of a real survey."""
    config = load_sims("demo-sky")
    assert isinstance(config, SkyConfig)
    with tempfile.TemporaryDirectory() as folder:
        toml = write_survey(config, Path(folder) / "sky", seed)
        rates = [rate(f"synthetic sky {seed}", stamps_of(open_survey(toml)), ensemble, clock)]
    if "LENSSCAN_DATA" in os.environ:
        rates.append(rate("kids-viking", stamps_of(open_survey("kids-viking")), ensemble, clock))
    else:
        print("skipped: kids-viking, since LENSSCAN_DATA is not set")
    return rates


def main() -> None:
    """Print the figures as two tables, or write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", action="append", default=[])
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--sky", type=int, default=1001)
    parser.add_argument("--no-rates", action="store_true", help="measure the loss alone")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    ensemble = load_ensemble(options.ensemble)
    rates = [] if options.no_rates else all_rates(options.sky, ensemble, clock)
    losses = []
    for pattern in options.pools:
        losses.append(loss(pattern, ensemble, options.limit))
        print(losses[-1], file=sys.stderr, flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"rates": rates, "losses": losses}, indent=1))
    console = Console(width=180)
    for rows in (rates, losses):
        if rows:
            console.print(table(rows))


def table(rows: list[dict[str, Any]]) -> Table:
    """Rows of one kind; those that lack a value have a dash."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    answer = Table(box=None)
    for name in names:
        answer.add_column(name)
    for row in rows:
        values = (row.get(name, "-") for name in names)
        answer.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
    return answer


if __name__ == "__main__":
    main()
