"""Workers that come while a scan runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from tests.workflows.cluster.commands import dask, worker
from workflows.cluster import ClusterConfig, executor_for, refuse_others


def offered(client: Client) -> list[str]:
    return sorted(str(one["name"]) for one in client.scheduler_info(n_workers=-1)["workers"].values())


def until(told: str, caplog: pytest.LogCaptureFixture) -> None:
    end = time.monotonic() + 40
    while told not in caplog.text:
        assert time.monotonic() < end, caplog.text
        time.sleep(0.1)


@contextmanager
def joined(offers: str) -> Iterator[tuple[str, Client]]:
    with dask(f"--resources {offers} --name first") as address:
        config = ClusterConfig.model_validate({"kind": "address", "address": address, "wait": "40 s"})
        with executor_for(config) as (_, client):
            assert client is not None
            yield address, client


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="lensscan")


def test_other_code_is_refused_and_the_same_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("pipeline", "workflows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    offers = ("--resources", "cut=1,score=1", "--name")
    with joined("cut=1,score=1") as (address, client):
        refuse_others(client, "cpu", "cpu")
        with worker(address, *offers, "second"), worker(address, *offers, "other", cwd=tmp_path):
            until(f"refused: it imports other code, {tmp_path}", caplog)
            client.wait_for_workers(2, timeout=40)
            assert offered(client) == ["first", "second"]


def test_another_device_is_refused_where_it_would_score(caplog: pytest.LogCaptureFixture) -> None:
    with joined("cut=1") as (address, client):
        refuse_others(client, "cpu", "Another Device")
        with worker(address, "--resources", "score=1"):
            until("refused: it scores on cpu, and the others on Another Device", caplog)
            assert offered(client) == ["first"]
