"""A scan of very many fields whose tasks do nothing: what Dask, the plan and the driver take.

    PYTHONPATH=. python tests/benchmarks/bench_many_fields.py [--fields 100000] [--workers 2] [--apart] [--json FILE]
    PYTHONPATH=. python tests/benchmarks/bench_many_fields.py --fields 2000 10000 40000

Fields are files with a header and no pixels. A field is one task, or, with `--apart`, three on workers that either
cut or score. Scheduler, workers and this process, the client, are processes of their own, and their largest resident
memory is printed, the client's also before any field is known and when they are planned. Workers, whose tasks do
nothing, have torch and the rest loaded, and no pixels. Two thousand tasks of Dask alone follow, as many under way as
the scan has, each asked for its value when it has ended, for the ratio. Several numbers of fields are run one after the
other, each by processes of its own, and make a table of memory against number of fields.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import Client, as_completed

from pipeline.io import ownership
from tests.scale import no_science
from tests.scale.headers_only import SCAN, write_survey
from tests.scale.processes import Processes, peak_mb, processes
from workflows.cluster import ClusterConfig, executor_for
from workflows.executors import Executor, Task
from workflows.forecast import Slots, forecast
from workflows.headers import read_headers
from workflows.scan import MOST_PENDING, Scan, Steps
from workflows.setup import open_scan

GOALS = {"ms_a_task": 2.0, "scheduler_mb": 1000.0, "client_mb": 500.0, "plan_again_s": 10.0}

MEMORY = ("fields", "client_before_mb", "client_planned_mb", "client_mb", "scheduler_mb", "worker_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, nargs="+", default=[100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ensemble", default="space")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    if len(options.fields) > 1:
        figures = [alone(number, options) for number in options.fields]
        print("".join(f"{key:>18}" for key in MEMORY))
        for row in figures:
            print("".join(f"{row[key]:18,.0f}" for key in MEMORY))
    else:
        figures = [one_scan(options.fields[0], options)]
        for key, value in figures[0].items():
            goal = f"   (goal {GOALS[key]:,.0f})" if key in GOALS else ""
            print(f"{key:24}{value:12,.2f}{goal}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def alone(number: int, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one scan by a process that has seen no other."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "figures.json"
        again = ["--fields", str(number), "--workers", str(options.workers), "--ensemble", options.ensemble]
        more = ["--apart"] if options.apart else []
        subprocess.run([sys.executable, __file__, *again, *more, "--json", str(path)], check=True)
        figures: dict[str, float] = json.loads(path.read_text())[0]
        return figures


def one_scan(number: int, options: argparse.Namespace) -> dict[str, float]:
    """Write a survey, scan it, and say what that took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_survey(folder, number)
        (folder / "scan.toml").write_text(SCAN.format(ensemble=options.ensemble, output=folder / "out"))
        offers = ("cut=1", "score=1") if options.apart else ("cut=1 score=1",)
        with processes(folder, options.workers, offers=offers) as running:
            return measure(folder, running, number)


class Counting:
    """An executor that counts the tasks that it is given."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.sent = 0

    def submit(self, task: Task) -> None:
        """Count it and hand it on."""
        self.sent += 1
        self._executor.submit(task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def measure(folder: Path, running: Processes, fields: int) -> dict[str, float]:
    """Plan, scan and plain Dask, on a cluster that runs."""
    figures: dict[str, float] = {"fields": fields, "workers": running.workers}
    start = peak_mb(os.getpid())
    with executor_for(ClusterConfig(kind="address", address=running.address)) as (executor, client):
        assert client is not None
        client.wait_for_workers(running.workers)
        setup = open_scan(str(folder / "scan.toml"))
        ownership.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
        figures["client_before_mb"] = max(start, peak_mb(os.getpid()))
        began = time.perf_counter()
        read_headers(setup, executor)
        figures["headers_s"] = time.perf_counter() - began
        began = time.perf_counter()
        setup = open_scan(str(folder / "scan.toml"))
        plan = setup.plan("cpu", remember=True)
        figures["plan_again_s"] = time.perf_counter() - began
        began = time.perf_counter()
        forecast(setup, plan, Slots.of(executor))
        figures["forecast_s"] = time.perf_counter() - began
        figures["client_planned_mb"] = peak_mb(os.getpid())
        steps = Steps(whole=no_science.whole, cut=no_science.cut, score=no_science.score, finish=no_science.finish)
        counting = Counting(executor)
        began = time.perf_counter()
        result = Scan(setup.job(), counting, steps=steps).run(plan)
        figures["scan_s"] = time.perf_counter() - began
        assert result.fields == fields, result
        figures["tasks"] = counting.sent
        figures["ms_a_task"] = 1e3 * figures["scan_s"] / counting.sent
        figures["client_mb"] = peak_mb(os.getpid())
        assert running.scheduler is not None
        figures["scheduler_mb"] = peak_mb(running.scheduler.pid)
        figures["worker_mb"] = max(client.run(own_peak_mb).values())
        figures["dask_ms_a_task"] = 1e3 * dask_alone(client, min(2000, counting.sent), running.workers)
        figures["scan_over_dask"] = figures["ms_a_task"] / figures["dask_ms_a_task"]
    return figures


def own_peak_mb() -> float:
    """The largest resident memory of the process that calls it, MB."""
    return peak_mb(os.getpid())


def dask_alone(client: Client, tasks: int, workers: int) -> float:
    """Seconds a task of tasks that do nothing, as many under way as a scan has."""
    began = time.perf_counter()
    numbers = iter(range(tasks))

    def submit(number: int) -> Any:
        return client.submit(no_science.nothing, number, key=f"nothing-{number}", pure=False, resources={"cut": 1})

    done = as_completed([submit(number) for number in islice(numbers, MOST_PENDING * workers)], loop=client.loop)
    for future in done:
        future.result()
        future.release()
        done.update([submit(number) for number in islice(numbers, 1)])
    return (time.perf_counter() - began) / tasks


if __name__ == "__main__":
    main()
