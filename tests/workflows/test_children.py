"""Worker processes and the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from workflows.children import children

START = """
import sys, time
from pathlib import Path
from tests.workflows.test_children import tell_and_wait
from workflows.children import children

if __name__ == "__main__":
    with children(1) as pool:
        pool.submit(tell_and_wait, sys.argv[1]).result()
"""


def tell_and_wait(path: str) -> None:
    part = Path(path + ".part")
    part.write_text(str(os.getpid()))
    part.replace(path)
    time.sleep(120)


def waited(done, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return done()


def test_a_worker_ends_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(START)
    told = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    starter = subprocess.Popen([sys.executable, str(tmp_path / "start.py"), str(told)], env=environment)
    try:
        assert waited(told.exists)
        worker = psutil.Process(int(told.read_text()))
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    assert waited(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_what_starts_a_worker_runs_in_it_before_its_first_task() -> None:
    with children(1, start_told) as pool:
        assert pool.submit(os.getenv, "STARTED_FOR_A_TEST").result() == "yes"
    assert "STARTED_FOR_A_TEST" not in os.environ


def start_told() -> None:
    os.environ["STARTED_FOR_A_TEST"] = "yes"
