"""A scan of very many fields whose tasks do nothing: what Dask, the plan and the driver take.

    PYTHONPATH=. python tests/benchmarks/bench_many_fields.py [--fields 100000] [--workers 2] [--apart] [--json FILE]

Fields are files with a header and no pixels. A field is one task, or, with `--apart`, three on workers that either
cut or score. Scheduler, workers and this process, the client, are processes of their own, and their largest resident
memory is printed; the client has torch and an ensemble loaded, as in any scan. Two thousand tasks of Dask alone follow,
as many under way as the scan has, each asked for its value when it has ended, for the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import Client, as_completed

from pipeline.io import products
from tests.scale import no_science
from tests.scale.headers_only import SCAN, write_survey
from tests.scale.processes import Processes, peak_mb, processes
from workflows.cluster import ClusterConfig, executor_for
from workflows.executors import Executor, Task
from workflows.headers import read_headers
from workflows.scan import MOST_PENDING, Scan, Steps
from workflows.setup import open_scan

GOALS = {"ms_a_task": 2.0, "scheduler_mb": 1000.0, "client_mb": 500.0, "plan_again_s": 10.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ensemble", default="space")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_survey(folder, options.fields)
        (folder / "scan.toml").write_text(SCAN.format(ensemble=options.ensemble, output=folder / "out"))
        offers = ("cut=1", "score=1") if options.apart else ("cut=1 score=1",)
        with processes(folder, options.workers, offers=offers) as running:
            figures = measure(folder, running, options.fields)
    for key, value in figures.items():
        goal = f"   (goal {GOALS[key]:,.0f})" if key in GOALS else ""
        print(f"{key:24}{value:12,.2f}{goal}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


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
        products.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
        figures["client_before_mb"] = max(start, peak_mb(os.getpid()))
        began = time.perf_counter()
        read_headers(setup, executor)
        figures["headers_s"] = time.perf_counter() - began
        began = time.perf_counter()
        setup = open_scan(str(folder / "scan.toml"))
        plan = setup.plan("cpu", remember=True)
        figures["plan_again_s"] = time.perf_counter() - began
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
        figures["dask_ms_a_task"] = 1e3 * dask_alone(client, min(2000, counting.sent), running.workers)
        figures["scan_over_dask"] = figures["ms_a_task"] / figures["dask_ms_a_task"]
    return figures


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
