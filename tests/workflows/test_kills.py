"""Processes that are killed for real; `tests/benchmarks/bench_kills.py` does it hundreds of times."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale.chaos import Chaos, digest, write_project
from workflows.cluster import ClusterConfig
from workflows.run import run_scan, status
from workflows.setup import open_scan


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    write_project(tmp_path)
    running = Chaos(tmp_path, seed=3)
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.slow
def test_whatever_is_killed_the_finished_catalogue_is_the_undisturbed_one(chaos: Chaos, tmp_path: Path) -> None:
    run_scan(open_scan(str(tmp_path / "scan.toml")), ClusterConfig(kind="serial"), quiet=True)
    expected = digest(tmp_path / "undisturbed")
    chaos.scan(tmp_path / "disturbed", ["worker", "client", "node", "scheduler"])
    assert chaos.ended["failed fields"] == 0
    assert digest(tmp_path / "disturbed") == expected


@pytest.mark.slow
def test_status_answers_while_another_process_scans(tmp_path: Path) -> None:
    write_project(tmp_path)
    config, output = str(tmp_path / "scan.toml"), str(tmp_path / "out")
    command = [sys.executable, "-m", "workflows.cli", "scan", config, "--out", output, "--cluster", "serial"]
    seen = set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as scan:
        while scan.poll() is None:
            seen |= {str(row["state"]) for row in status(open_scan(config, output))}
            time.sleep(0.1)
    assert scan.returncode == 0
    assert {"missing", "done"} <= seen
    assert {row["state"] for row in status(open_scan(config, output))} == {"done"}
