"""The eight training methods on equal terms, and what many lenses or many non-lenses are worth: three Markdown tables.

    lensscan simulate stamps --seed 31 --n 80000 --out runs/pools/train
    lensscan simulate stamps --seed 33 --n 8000 --out runs/pools/validation
    lensscan simulate stamps --seed 201 --lens-share 0.1 --n 112000 --out runs/pools/test-simulations
    lensscan scan kids-viking --cluster serial
    lensscan simulate injection-kids-viking --split test --seed 202 --n 10000 --out runs/pools/test-injections
    python tests/benchmarks/bench_methods.py [--methods vat ...] [--seeds 1 2 3] [--steps 1500] [--jobs 2]

Trains the shipped configs of `configs/training` in processes of one thread each. Every package is then scored with the
samples and settings of the evaluation `ground`: simulations that nothing was trained on, lenses injected into
`kids-viking` galaxies of unseen area, and real lenses against their neighbours; and, as thresholds travel badly, the
share of kids-viking detections above the score that 1 % of the simulated others pass. A sample that is not there or has
too few others for a figure, gets no column.

Beside the methods, supervised training with fewer simulated lenses or fewer non-lenses, the other class at its most,
with batches of half lenses throughout, in as many steps. Numbers that the pools don't reach are left out.

A run's folder is named after a hash of its configuration and of the pools' sizes and times: a finished run is skipped,
a stopped one goes on, and another --steps begins new ones. Figures of each run are in its `figures.json`. Cells are the
median over seeds with the lowest and highest.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.evaluate.config import EvaluationConfig
    from pipeline.evaluate.samples.sample import Sample
    from pipeline.train.config import TrainConfig
    from pipeline.train.held import Stamps

METHODS = ("supervised", "asymmetric", "pseudo-label", "pi-model", "mean-teacher", "vat", "mixmatch", "wgan-gp")
PARTS = {"methods": "method", "others": "non-lenses", "lenses": "simulated lenses"}
"""What varies from row to row, by table."""
OTHERS = (1_000, 3_000, 10_000, 30_000)
LENSES = (300, 1_000, 3_000, 10_000, 30_000)
MOST = 30_000
"""Stamps of the class that is not varied."""
BALANCED = 0.5
EVALUATION = "ground"
SIMULATIONS, INJECTIONS = "simulated stamps", "kids-viking injections"
RATES = (1e-2, 1e-3)
FIGURES = ("AUROC", "completeness at FPR 0.01", "completeness at FPR 0.001", "TPR0")
SHORT = {"AUROC": "AUROC", FIGURES[1]: "C(1e-2)", FIGURES[2]: "C(1e-3)", "TPR0": "TPR0"}
DRIFT = "kids-viking above"
FIGURES_FILE, TIMES_FILE = "figures.json", "times.json"
TIMED_STEPS = (20, 60)
"""Of two short trainings, whose difference in processor time is that of the steps between."""


@dataclass(frozen=True)
class Pools:
    """Patterns of the pools."""

    train: str
    validation: str
    simulations: str
    injections: str


@dataclass(frozen=True)
class Job:
    """One training with its scoring: `setting` is a row of a table; None takes all stamps of a class."""

    part: str
    setting: str
    method: str
    seed: int
    most_lenses: int | None = None
    most_others: int | None = None


@dataclass(frozen=True)
class Order:
    """What is the same for all jobs."""

    pools: Pools
    out: Path
    steps: int | None


def jobs(parts: Sequence[str], methods: Sequence[str], seeds: Sequence[int], held: tuple[int, int]) -> list[Job]:
    """Every run that is asked for; `held` lenses and others are in the pools."""
    wanted = []
    if "methods" in parts:
        wanted += [Job("methods", method, method, seed) for method in methods for seed in seeds]
    lenses, others = (min(MOST, number) for number in held)
    if "others" in parts:
        numbers = [number for number in OTHERS if number <= held[1]]
        wanted += [Job("others", f"{n:,}", "supervised", seed, lenses, n) for n in numbers for seed in seeds]
    if "lenses" in parts:
        numbers = [number for number in LENSES if number <= held[0]]
        wanted += [Job("lenses", f"{n:,}", "supervised", seed, n, others) for n in numbers for seed in seeds]
    return wanted


def configured(job: Job, order: Order) -> TrainConfig:
    """The job's training config: the shipped one with its pools, seed, steps and numbers of stamps."""
    from pipeline.config import find, load
    from pipeline.train.config import TrainConfig
    from pipeline.train.data_config import PoolsConfig

    config = load(TrainConfig, find(job.method, "training"))
    limits = {"most_lenses": job.most_lenses, "most_others": job.most_others}
    data = config.data.model_copy(
        update={
            "train": (PoolsConfig(pattern=order.pools.train, **limits),),
            "validation": (PoolsConfig(pattern=order.pools.validation),),
        }
    )
    changes: dict[str, Any] = {"seed": job.seed, "data": data}
    if order.steps is not None:
        changes["optimiser"] = config.optimiser.model_copy(update={"steps": order.steps})
    if job.part != "methods":
        changes["sampler"] = config.sampler.model_copy(update={"lens_share": BALANCED})
    return config.model_copy(update=changes)


def folder_of(job: Job, order: Order) -> Path:
    """Where a run is, named by what it depends on."""
    from pipeline.provenance import file_identity, fingerprint

    files = [file_identity(path) for pattern in vars(order.pools).values() for path in sorted(glob.glob(pattern))]
    science = configured(job, order).model_dump(mode="json", exclude={"run", "output"})
    name = fingerprint([science, files])[:12]
    return order.out / f"{job.part}-{job.setting.replace(',', '')}-seed{job.seed}-{name}"


def done(job: Job, order: Order) -> dict[str, float | None] | None:
    """The figures of a finished run, or None."""
    path = folder_of(job, order) / FIGURES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def run(job: Job, order: Order) -> None:
    """Train and score, as far as it has not been done."""
    from pipeline.errors import LensscanError
    from pipeline.io.writing import write_json
    from pipeline.models.package import load_package

    folder = folder_of(job, order)
    try:
        load_package(folder / "package")
    except LensscanError:
        _train(job, order, folder)
    write_json(folder / FIGURES_FILE, _figures(folder / "package", order.pools))


def _train(job: Job, order: Order, folder: Path) -> None:
    from pipeline.train.data import read_unlabelled
    from pipeline.train.finish import finish
    from pipeline.train.loop import train

    config = configured(job, order)
    stamps, validation = _labelled(order, job.most_lenses, job.most_others)
    unlabelled = read_unlabelled(config.data.unlabelled, config.package.bands, config.package.pixel_scale, stamps.size)
    trained = train(config, stamps, validation, folder, unlabelled=unlabelled, resume=True)
    command = f"tests/benchmarks/bench_methods.py, {job.part}: {job.setting}"
    finish(config, trained, stamps, validation, folder / "package", command, unlabelled=unlabelled)


@lru_cache(maxsize=1)
def _labelled(order: Order, most_lenses: int | None, most_others: int | None) -> tuple[Stamps, Stamps]:
    """Training and validation stamps, which are the same for all methods: read once by a process, not once a run."""
    from pipeline.train.apart import check_apart
    from pipeline.train.data import read_stamps

    config = configured(Job("", "", "supervised", 0, most_lenses, most_others), order)
    data, bands, scale = config.data, config.package.bands, config.package.pixel_scale
    stamps = read_stamps(data.train, bands, scale)
    validation = read_stamps(data.validation, bands, scale, limit=data.validation_limit)
    check_apart(data, stamps, validation)
    return stamps, validation


@lru_cache(maxsize=1)
def evaluated_on(pools: Pools) -> tuple[EvaluationConfig, list[Sample], dict[str, str]]:
    """The shipped evaluation, cut to the figures of the tables; its samples; why others are not there."""
    from pipeline.config import find
    from pipeline.evaluate.config import load_evaluation
    from workflows.evaluate import open_samples

    config, absent = load_evaluation(find(EVALUATION, "evaluations"))
    places = {SIMULATIONS: pools.simulations, INJECTIONS: pools.injections}
    samples = tuple(
        sample.model_copy(update={"pools": (places[sample.name],)}) if sample.name in places else sample
        for sample in config.samples
    )
    least = config.probe.model_copy(update={"limit": 20})
    changes = {"samples": samples, "rates": RATES, "inspected": (), "replicates": 50, "probe": least}
    config = config.model_copy(update=changes)
    return config, open_samples(config, absent), absent


def _figures(package: Path, pools: Pools) -> dict[str, float | None]:
    """Figures of a package by column of the tables; None where there are too few others for one."""
    from pipeline.evaluate.measure import evaluate
    from pipeline.evaluate.scores import score_sample
    from pipeline.models.ensemble import Ensemble
    from pipeline.models.package import load_package

    member = load_package(package)
    alone = Ensemble("alone", (member,), (1.0,), "mean")
    config, samples, absent = evaluated_on(pools)
    scored = [score_sample(sample, alone, config) for sample in samples]
    found = evaluate(config, alone, scored, not_measured=absent, splits=(), version="")
    answer: dict[str, float | None] = {}
    for sample in found.samples:
        scorer = next(scorer for scorer in sample.scorers if scorer.kind == "member")
        answer |= {f"{sample.name}: {SHORT[name]}": scorer.figure(name).value for name in FIGURES}
    for drift in found.drift:
        if (drift.scorer, drift.threshold_from, drift.measured_on) == (member.name, SIMULATIONS, INJECTIONS):
            answer[DRIFT] = drift.share.value
    return answer


def timed(methods: Sequence[str], order: Order) -> dict[str, float]:
    """Processor seconds a step of each method in this process of one thread, whatever else the machine does."""
    from pipeline.io.writing import write_json

    path = order.out / TIMES_FILE
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for method in methods:
        if method not in known:
            fewer, more = (_processor_seconds(method, replace(order, steps=steps)) for steps in TIMED_STEPS)
            known[method] = (more - fewer) / (TIMED_STEPS[1] - TIMED_STEPS[0])
            write_json(path, known)
    return known


def _processor_seconds(method: str, order: Order) -> float:
    from pipeline.train.data import read_unlabelled
    from pipeline.train.loop import train

    config = configured(Job("methods", method, method, 1), order)
    stamps, validation = _labelled(replace(order, steps=None), None, None)
    unlabelled = read_unlabelled(config.data.unlabelled, config.package.bands, config.package.pixel_scale, stamps.size)
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        train(config, stamps, validation, Path(folder), unlabelled=unlabelled, resume=False)
        return time.process_time() - before


def table(
    part: str,
    columns: Sequence[str],
    wanted: Sequence[Job],
    figures: dict[Job, dict[str, float | None]],
    times: dict[str, float],
) -> str:
    """One table in Markdown: a row a setting, a column a figure; empty where nothing was run."""
    rows: dict[str, list[dict[str, float | None]]] = {}
    for job in wanted:
        if job.part == part and job in figures:
            rows.setdefault(job.setting, []).append(figures[job])
    lines = [[PARTS[part], *columns]]
    lines += [
        [setting, *(cell([one.get(name) for one in found]) for name in columns)] for setting, found in rows.items()
    ]
    if part == "methods" and "supervised" in times:
        lines[0].append("time / supervised")
        for line in lines[1:]:
            line.append(f"{times[line[0]] / times['supervised']:.2f}" if line[0] in times else "-")
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def cell(values: Sequence[float | None]) -> str:
    """Median with lowest and highest; "-" where nothing was measured."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "-"
    middle = f"{statistics.median(known):.3f}"
    return middle if len(known) == 1 else f"{middle} ({known[0]:.3f} to {known[-1]:.3f})"


def written(wanted: Sequence[Job], order: Order, output: Path) -> str:
    """The tables of what has been done so far, after writing them, and the raw figures beside them."""
    figures = {job: found for job in wanted if (found := done(job, order)) is not None}
    samples = [sample.name for sample in evaluated_on(order.pools)[1] if sample.lens.any()]
    columns = [f"{name}: {figure}" for name in samples for figure in SHORT.values()] + [DRIFT]
    columns = [name for name in columns if any(found.get(name) is not None for found in figures.values())]
    path = order.out / TIMES_FILE
    times = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    text = "\n\n".join(filter(None, (table(part, columns, wanted, figures, times) for part in PARTS))) + "\n"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    raw = [{**vars(job), "steps": configured(job, order).optimiser.steps, **found} for job, found in figures.items()]
    output.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return text


def main() -> int:
    """Run what is missing, a line of progress each, and print the tables."""
    from pipeline.errors import LensscanError
    from pipeline.evaluate.samples.pools import read_heads
    from pipeline.evaluate.splits import check_splits, identity, training_identity
    from workflows.children import children
    from workflows.cluster import WORKER_ENVIRONMENT

    options = _options()
    # Before the processes start: glibc reads it once.
    os.environ.update(WORKER_ENVIRONMENT)
    names = (options.train, options.validation, options.simulations, options.injections)
    pools = Pools(*(str(options.pools / name / "pool-*.npz") for name in names))
    order = Order(pools, options.out, options.steps)
    _, samples, absent = evaluated_on(pools)
    for name, reason in absent.items():
        print(f"NOT MEASURED: {name}: {reason}", file=sys.stderr)
    check_splits([identity(sample) for sample in samples], training_identity((pools.train,)))
    lens = [head.lens for head in read_heads((pools.train,))]
    held = int(sum(part.sum() for part in lens)), int(sum((~part).sum() for part in lens))
    wanted = jobs(options.parts, options.methods, options.seeds, held)
    missing = [job for job in wanted if done(job, order) is None]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are done", file=sys.stderr)
    failed, started = 0, time.monotonic()
    with children(options.jobs) as pool:
        asked = {pool.submit(run, job, order): job for job in missing}
        for number, future in enumerate(as_completed(asked), 1):
            job = asked[future]
            try:
                future.result()
                said = "done"
            except LensscanError as error:
                failed, said = failed + 1, f"FAILED: {error}"
            left = (time.monotonic() - started) / number * (len(missing) - number) / 60
            print(f"{job.part}, {job.setting}, seed {job.seed}: {said}; {left:.0f} min left", file=sys.stderr)
            written(wanted, order, options.output)
    if "methods" in options.parts:
        timed(options.methods, order)
    print(written(wanted, order, options.output), end="")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which tables")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="of every run, instead of the configs' own")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread")
    parser.add_argument("--pools", type=Path, default=Path("runs/pools"), help="folder of the pools' folders:")
    parser.add_argument("--train", default="train")
    parser.add_argument("--validation", default="validation")
    parser.add_argument("--simulations", default="test-simulations")
    parser.add_argument("--injections", default="test-injections")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-methods"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=Path("runs/bench-methods/tables.md"), help="tables; JSON beside")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
