"""A node with GPUs, played on its cores: some workers cut, others score with two tasks under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.io import products
from workflows.cluster import ClusterConfig
from workflows.run import run_scan
from workflows.setup import open_scan


def catalogue(output: Path) -> dict[str, bytes]:
    files = products.live_files(output, "candidates", "scores.parquet")
    return {name: path.read_bytes() for name, path in files.items()}


def test_workers_that_cut_beside_one_that_scores_give_the_bytes_of_the_serial_executor(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, config in (("serial", ClusterConfig(kind="serial")), ("gpus", ClusterConfig(kind="gpus", workers=1))):
        monkeypatch.setattr("workflows.cluster.machine.visible_gpus", lambda: ("0",))
        outcome = run_scan(open_scan(str(project / "scan.toml"), str(project / name)), config, quiet=True)
        assert not outcome.failures
    assert catalogue(project / "gpus") == catalogue(project / "serial")
