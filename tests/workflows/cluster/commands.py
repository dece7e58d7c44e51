"""Schedulers and workers that are started by commands, as somebody else would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflows.cluster.environment import SCHEDULER_ENVIRONMENT, WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[3]


@contextmanager
def dask(*workers: str, cwd: Path | None = None, options: tuple[str, ...] = (), protocol: str = "tcp") -> Iterator[str]:
    """A scheduler and workers started by commands, as somebody else would; gives the address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = f"{protocol}://127.0.0.1:{port}"
    environment = {**os.environ, **SCHEDULER_ENVIRONMENT, **WORKER_ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    commands = [[*base, "--no-dashboard", "--protocol", protocol, *options]]
    for arguments in workers:
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        commands.append([*worker, "--no-dashboard", *options, *arguments.split()])
    processes = [
        subprocess.Popen(command, env=environment, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield address
    finally:
        for process in processes:
            # A worker that is asked to end waits for its scheduler first.
            process.kill()
            process.wait()
