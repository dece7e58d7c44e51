"""Scans submitted to a real SLURM, and jobs cancelled under them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from pipeline.errors import ConfigError
from pipeline.io import products
from tests.slurm.node import Slurm
from workflows.cluster import ClusterConfig, executor_for
from workflows.cluster.slurm import living_jobs, slurm_cluster
from workflows.run import run_scan
from workflows.setup import open_scan

ROOT = Path(__file__).parents[2]


def cluster(folder: Path, cpu: dict[str, Any] | None = None, **settings: Any) -> ClusterConfig:
    jobs = {"jobs": 2, "memory": "1500 MB", "walltime": "10 min", "partition": "cpu", **(cpu or {})}
    slurm = {
        "cpu": jobs,
        "interface": "lo",
        "log": str(folder / "logs"),
        "poll": "0.5 s",
        "prologue": [f"export PYTHONPATH={ROOT}"],
        **settings,
    }
    return ClusterConfig.model_validate({"kind": "slurm", "wait": "60 s", "slurm": slurm})


def catalogue(output: Path) -> dict[str, bytes]:
    files = products.live_files(output, "candidates", "scores.parquet")
    return {name: path.read_bytes() for name, path in files.items()}


def workers(client: Client) -> dict[str, dict[str, Any]]:
    return {str(worker["name"]): worker for worker in client.scheduler_info(n_workers=-1)["workers"].values()}


def test_a_scan_whose_job_is_cancelled_gives_the_bytes_of_the_serial_one(slurm: Slurm, project: Path) -> None:
    run_scan(open_scan(str(project / "scan.toml"), str(project / "serial")), ClusterConfig(kind="serial"), quiet=True)
    cancelled: list[str] = []

    def cancel_one() -> None:
        end = time.monotonic() + 60
        while not list((project / "slurm").glob("masks/*/*")) and time.monotonic() < end:
            time.sleep(0.01)
        cancelled.extend(slurm.jobs()[:1])
        subprocess.run(["scancel", *cancelled], check=True)

    canceller = threading.Thread(target=cancel_one)
    canceller.start()
    outcome = run_scan(open_scan(str(project / "scan.toml"), str(project / "slurm")), cluster(project), quiet=True)
    canceller.join()
    assert len(cancelled) == 1
    assert not outcome.failures
    assert catalogue(project / "slurm") == catalogue(project / "serial")
    assert living_jobs() == set(), "the jobs end with the scan"


def test_partitions_share_the_work_and_a_job_that_ends_is_submitted_anew(slurm: Slurm, tmp_path: Path) -> None:
    gpu = {"jobs": 1, "memory": "1 GB", "walltime": "10 min", "partition": "gpu"}
    config = cluster(tmp_path, {"jobs": 1, "workers": 2, "memory": "700 MB"}, gpu=gpu)
    with slurm_cluster(config) as client:
        client.wait_for_workers(3, timeout=30)
        found = workers(client)
        assert {name: worker["resources"] for name, worker in found.items()} == {
            "cut-0-0": {"cut": 1},
            "cut-0-1": {"cut": 1},
            "score-0": {"score": 2},
        }
        assert [found[name]["nthreads"] for name in ("cut-0-0", "score-0")] == [1, 2]
        assert [found[name]["memory_limit"] for name in ("cut-0-0", "score-0")] == pytest.approx([7e8, 1e9], rel=0.01)
        environment = client.run(lambda: __import__("os").environ.get("MALLOC_TRIM_THRESHOLD_"))
        assert set(environment.values()) == {"17179869184"}
        assert len(slurm.jobs()) == 2
        subprocess.run(["scancel", "--name=lensscan-score"], check=True)
        end = time.monotonic() + 30
        while "score-0.1" not in workers(client):
            assert time.monotonic() < end
            time.sleep(0.1)


_SUBMIT = """
import sys, time
from pathlib import Path
from tests.slurm.test_slurm_scan import cluster
from workflows.cluster.slurm import slurm_cluster
with slurm_cluster(cluster(Path(sys.argv[1]))) as client:
    # One that starts without a scheduler waits a minute for it.
    client.wait_for_workers(2)
    print("started", flush=True)
    time.sleep(600)
"""


def test_jobs_end_by_themselves_when_the_command_is_killed(slurm: Slurm, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SUBMIT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "started\n"
        finally:
            process.kill()
    assert living_jobs()
    end = time.monotonic() + 70
    while living_jobs():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"cpu": {"partition": "nowhere"}}, "invalid partition specified: nowhere.*sinfo"),
        ({"python": "/no/such/python"}, r"[34] jobs ended before.*/no/such/python: No such file"),
        (
            {"gpu": {"jobs": 1, "memory": "1 GB", "walltime": "10 min", "partition": "gpu"}},
            "sees? no GPU.*gres",
        ),
    ],
)
def test_jobs_that_cannot_work_are_told_of_before_any_work(
    slurm: Slurm, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told), executor_for(cluster(tmp_path, **settings)):
        pass
    assert living_jobs() == set()
