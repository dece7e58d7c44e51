"""A tiny scan and what kills its processes at random moments."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import psutil

from tests.scale.processes import Processes
from tests.workflows.conftest import SCAN, write_ensemble, write_hardly_sure_member, write_measurer, write_mini_survey
from workflows.cluster import ClusterConfig
from workflows.results import ScanAborted
from workflows.run import run_scan
from workflows.setup import open_scan

TARGETS = {"worker": 0.45, "node": 0.15, "scheduler": 0.15, "client": 0.25}
FIELDS, WORKERS = 5, 2
FAILED = 4
LOOK = 2.0
"""Seconds between looks at a scan that is left alone."""
PATIENCE = 120.0
"""Seconds for each kill, and once more, after which a scan counts as hanging."""


def write_project(folder: Path) -> None:
    """The tiny survey of the tests with untrained networks, embeddings to keep, and lens parameters."""
    write_mini_survey(folder / "survey ü", fields=FIELDS)
    for seed, name in enumerate(("one", "two")):
        write_hardly_sure_member(folder, name, seed)
    write_measurer(folder, 5)
    ensemble = write_ensemble(folder / "ensemble.toml")
    with ensemble.open("a", encoding="utf-8") as stream:
        stream.write('[parameters]\npackage = "measurer"\nsamples = 16\n')
    text = SCAN.replace("{output}", str(folder / "undisturbed")).replace("[score]", "[score]\nembeddings = true")
    (folder / "scan.toml").write_text(text, encoding="utf-8")


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
        self._spawn.set_forkserver_preload(["workflows.run", "tests.scale.chaos"])
        self._cluster = Processes(folder, WORKERS)
        self._length = 5.0
        self.killed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._cluster.start()

    def targets(self, number: int) -> list[str]:
        """What to kill, at random."""
        return self._random.choices(list(TARGETS), list(TARGETS.values()), k=number)

    def scan(self, output: Path, targets: Sequence[str]) -> None:
        """Bring one scan to its end through the death of these, one after the other."""
        if self._cluster.scheduler is None:
            self._cluster.start()
        client = self._client(output)
        began, left = time.monotonic(), list(targets)
        while True:
            client.join(self._random.uniform(0, self._length) if left else LOOK)
            self._cluster.revive()
            if client.is_alive() and time.monotonic() - began > PATIENCE * (1 + len(targets)):
                raise SystemExit(f"{output.name}: has not ended in {time.monotonic() - began:.0f} s; a scan hangs")
            if not client.is_alive() and client.exitcode in (0, FAILED):
                break
            if client.is_alive() and left:
                target = left.pop(0)
                self._kill(target, client)
                self.killed[target] += 1
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
