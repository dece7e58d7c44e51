"""Random kills over many small scans: is every finished catalogue the undisturbed one, byte for byte?

    PYTHONPATH=. python tests/benchmarks/bench_kills.py [--kills 500] [--minutes 60] [--seed 1] [--json FILE]

Scans of a tiny survey run on a cluster of a scheduler and two workers in processes of their own. At random moments a
worker, a node (the worker with the nanny that would start it anew; another node comes in its place), the scheduler or
the process that submitted the scan gets SIGKILL. What was killed is started again, the same scan is called until it
ends, and its products are compared with those of a scan that nobody touched. Several kills fall on each scan.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import psutil

from tests.benchmarks.scale.processes import Processes
from tests.workflows.conftest import SCAN, write_ensemble, write_hardly_sure_member, write_mini_survey
from workflows.cluster import ClusterConfig
from workflows.results import ScanAborted
from workflows.run import run_scan
from workflows.setup import open_scan

TARGETS = {"worker": 0.45, "node": 0.15, "scheduler": 0.15, "client": 0.25}
KILLS_A_SCAN = 4
FIELDS, WORKERS = 5, 2
FAILED = 4
PATIENCE = 300.0
"""Seconds after which a scan counts as hanging."""


def write_project(folder: Path) -> None:
    """The tiny survey of the tests with an ensemble that has learned nothing."""
    write_mini_survey(folder / "survey ü", fields=FIELDS)
    for seed, name in enumerate(("one", "two")):
        write_hardly_sure_member(folder, name, seed)
    write_ensemble(folder / "ensemble.toml")
    (folder / "scan.toml").write_text(SCAN.replace("{output}", str(folder / "undisturbed")), encoding="utf-8")


def digest(output: Path) -> str:
    """Over the live products of an output: every file that a manifest names, and the manifests themselves."""
    total = hashlib.sha256()
    for path in sorted((output / "manifests").rglob("*.json")):
        manifest = json.loads(path.read_text())
        del manifest["sequence"], manifest["place"]  # how often a stage was published, and where
        total.update(json.dumps(manifest, sort_keys=True).encode())
        place = output / json.loads(path.read_text())["place"]
        for name in sorted(manifest["files"]):
            total.update(name.encode() + (place / name).read_bytes())
    return total.hexdigest()


def submit(config: str, output: str, address: str) -> None:
    """What a client's process runs; exit code 0: all is done, 4: fields failed, else: to be called again."""
    cluster = ClusterConfig.model_validate({"kind": "address", "address": address, "wait": "10 s"})
    try:
        outcome = run_scan(open_scan(config, output), cluster, quiet=True)
    except ScanAborted:
        os._exit(3)
    for failure in outcome.failures:
        print(f"{output}: {failure}", flush=True)
    os._exit(FAILED if outcome.failures else 0)


class Chaos:
    """A cluster, the client of one scan, and what kills them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._spawn: ForkServerContext = multiprocessing.get_context("forkserver")
        self._spawn.set_forkserver_preload(["workflows.run", "tests.benchmarks.bench_kills"])
        self._cluster = Processes(folder, WORKERS)
        self._length = 5.0
        self.killed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._cluster.start()

    def scan(self, output: Path, kills: int) -> None:
        """Bring one scan to its end through a number of kills."""
        client = self._client(output)
        began, left = time.monotonic(), kills
        while True:
            client.join(self._random.uniform(0, self._length) if left else PATIENCE)
            if client.is_alive() and not left:
                raise SystemExit(f"{output.name}: nothing has happened for {PATIENCE:.0f} s; a scan hangs")
            if not client.is_alive() and client.exitcode in (0, FAILED):
                break
            if client.is_alive() and left:
                target = self._random.choices(list(TARGETS), list(TARGETS.values()))[0]
                self._kill(target, client)
                self.killed[target] += 1
                left -= 1
            if not client.is_alive() or self._cluster.scheduler is None:
                client.join()
                self.ended["called again"] += client.exitcode not in (0, FAILED)
                if client.exitcode in (0, FAILED):
                    break
                if self._cluster.scheduler is None:
                    self._cluster.start()
                client = self._client(output)
        self._length = 0.8 * self._length + 0.2 * min(20.0, time.monotonic() - began)
        self.ended["failed fields" if client.exitcode else "done"] += 1

    def stop(self) -> None:
        """End the cluster."""
        self._cluster.stop()

    def _client(self, output: Path) -> ForkServerProcess:
        arguments = (str(self._folder / "scan.toml"), str(output), self._cluster.address)
        process = self._spawn.Process(target=submit, args=arguments)
        process.start()
        return process

    def _kill(self, target: str, client: ForkServerProcess) -> None:
        if target == "client":
            os.kill(int(client.pid or 0), signal.SIGKILL)
            client.join()
        elif target == "scheduler":
            assert self._cluster.scheduler is not None
            self._cluster.scheduler.kill()
            self._cluster.stop()
            self._cluster.scheduler = None
        else:
            place = self._random.randrange(WORKERS)
            nanny = self._cluster.nannies[place]
            children = psutil.Process(nanny.pid).children(recursive=True)
            if target == "node":
                nanny.kill()
                nanny.wait()
                self._cluster.nannies[place] = self._cluster.worker()
            for child in children:
                try:
                    child.kill()
                except psutil.NoSuchProcess:
                    continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder)
        run_scan(open_scan(str(folder / "scan.toml")), ClusterConfig(kind="serial"), quiet=True)
        expected = digest(folder / "undisturbed")
        chaos = Chaos(folder, options.seed)
        until = time.monotonic() + 60 * options.minutes
        scans = equal = 0
        try:
            while chaos.killed.total() < options.kills and time.monotonic() < until:
                output = folder / f"scan-{scans}"
                chaos.scan(output, min(KILLS_A_SCAN, options.kills - chaos.killed.total()))
                scans += 1
                equal += digest(output) == expected
                print(f"{scans} scans, {equal} equal; killed {dict(chaos.killed)}; {dict(chaos.ended)}", flush=True)
        finally:
            chaos.stop()
    figures = {"scans": scans, "equal": equal, "kills": chaos.killed.total(), **chaos.killed, **chaos.ended}
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    raise SystemExit(equal != scans)


if __name__ == "__main__":
    main()
