"""Schedulers and workers that are started by commands, as somebody else would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workflows.cluster.environment import SCHEDULER_ENVIRONMENT, WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[3]


@contextmanager
def dask(*workers: str, cwd: Path | None = None, options: tuple[str, ...] = (), protocol: str = "tcp") -> Iterator[str]:
    """A scheduler, with a worker for each text of arguments; gives the address. `options` are of all of them."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = f"{protocol}://127.0.0.1:{port}"
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with ExitStack() as stack:
        stack.enter_context(_process([*scheduler, "--protocol", protocol, *options], cwd))
        for arguments in workers:
            stack.enter_context(worker(address, *options, *arguments.split(), cwd=cwd))
        yield address


@contextmanager
def worker(address: str, *arguments: str, cwd: Path | None = None) -> Iterator[None]:
    """A worker without a nanny."""
    command = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *arguments]
    with _process(command, cwd):
        yield


@contextmanager
def _process(command: list[str], cwd: Path | None) -> Iterator[None]:
    environment = {**os.environ, **SCHEDULER_ENVIRONMENT, **WORKER_ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=cwd, **quiet) as process:
        try:
            yield
        finally:
            # A worker that is asked to end waits for its scheduler first.
            process.kill()
