"""A Dask scheduler and workers as processes of their own, whose memory is measured and which can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workflows.cluster import WORKER_ENVIRONMENT

_HERE = ("--host", "127.0.0.1", "--no-dashboard")


@dataclass
class Processes:
    """What runs: the scheduler, its address, and the workers (each a nanny that starts its worker anew)."""

    folder: Path
    workers: int
    offers: Sequence[str] = ("cut=1 score=1",)
    """Resources of the workers, in turn."""
    scheduler: subprocess.Popen[bytes] | None = None
    nannies: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of the scheduler, such as `tcp://127.0.0.1:40000`; waits until it is known."""
        path = self.folder / "scheduler.json"
        for _ in range(600):
            try:
                return str(json.loads(path.read_text())["address"])
            except (FileNotFoundError, ValueError):
                time.sleep(0.05)
        raise RuntimeError("the scheduler did not start")

    def start(self) -> None:
        """Start all of it."""
        (self.folder / "scheduler.json").unlink(missing_ok=True)
        file = ["--scheduler-file", str(self.folder / "scheduler.json")]
        allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        self.scheduler = self._run(["distributed.cli.dask_scheduler", *file, *_HERE, "--port", "0"], allowed)
        self.nannies = [self.worker(place) for place in range(self.workers)]

    def worker(self, place: int = 0) -> subprocess.Popen[bytes]:
        """Start one more worker with its nanny."""
        offer = self.offers[place % len(self.offers)]
        each = ["--nthreads", "1", "--nworkers", "1", "--resources", offer, "--death-timeout", "20"]
        return self._run(["distributed.cli.dask_worker", self.address, *each, *_HERE], dict(WORKER_ENVIRONMENT))

    def revive(self) -> None:
        """Start workers in the place of those whose nanny is gone: one whose worker dies while it starts gives up."""
        for place, nanny in enumerate(self.nannies):
            if nanny.poll() is not None:
                self.nannies[place] = self.worker(place)

    def stop(self) -> None:
        """End all of it, at once."""
        for process in [*self.nannies, *([self.scheduler] if self.scheduler is not None else [])]:
            process.terminate()
        for process in [*self.nannies, *([self.scheduler] if self.scheduler is not None else [])]:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.nannies, self.scheduler = [], None

    def _run(self, module: list[str], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{module[0].rpartition('.')[2]}.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                stdout=log,
                stderr=log,
                env={**os.environ, **more},
                start_new_session=True,
            )


@contextmanager
def processes(folder: Path, workers: int, *, offers: Sequence[str] = ("cut=1 score=1",)) -> Iterator[Processes]:
    """Run a scheduler and workers for as long as the context lasts."""
    running = Processes(folder, workers, offers)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def peak_mb(pid: int) -> float:
    """The largest resident memory that a process ever had, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    return 0.0
