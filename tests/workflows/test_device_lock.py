"""Two tasks of a worker with a GPU: one reads while the other computes, and never do both compute."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.io import cutout_store, products
from pipeline.scan.score import ask_members
from workflows import tasks
from workflows.cluster import ClusterConfig
from workflows.run import run_scan
from workflows.setup import open_scan


def test_one_task_reads_while_the_other_computes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = open_scan(str(project / "scan.toml"))
    run_scan(setup, ClusterConfig(kind="serial"), quiet=True)
    live = products.live_manifest(setup.output, "F0", "score")
    assert live is not None
    written = {path.name: path.read_bytes() for path in (setup.output / live.place).glob("part-*.parquet")}
    read = {index: threading.Event() for index in (0, 1)}
    computing: list[int] = []
    most = 0

    read_shard = cutout_store.read_shard

    def reads(store: Any, index: int) -> Any:
        stamps = read_shard(store, index)
        read[index].set()
        return stamps

    def computes(*planes: Any, **options: Any) -> Any:
        nonlocal most
        computing.append(1)
        most = max(most, len(computing))
        # Neither goes on before both have read: the one that waits for the device has.
        assert all(event.wait(20) for event in read.values())
        answers = ask_members(*planes, **options)
        computing.pop()
        return answers

    monkeypatch.setattr("workflows.tasks.cutout_store.read_shard", reads)
    monkeypatch.setattr(tasks, "ask_members", computes)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(tasks.score_shard, setup.job(), "F0", index, "again") for index in (0, 1)]
        assert all(one.result().rows > 0 for one in running)
    assert most == 1
    again = setup.output / products.generation_place("score", "F0", "again")
    assert {path.name: path.read_bytes() for path in again.glob("part-*.parquet")} == {
        name: written[name] for name in sorted(written)[:2]
    }
