"""The command `inspect` as a process, as a person starts and stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60


class Inspect:
    """A running `lensscan inspect`; `said` is what it printed when it was ready."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-c", "from workflows.cli import main; main()", "inspect", "--json"]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        lines: Queue[str] = Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]
        try:
            self.said: dict[str, Any] = json.loads(lines.get(timeout=PATIENCE) or "{}")
        except Empty:
            self.kill()
            raise
        self.url = str(self.said.get("url", ""))

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.communicate()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """As a person or batch system would; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


@contextmanager
def inspecting(*arguments: object) -> Iterator[Inspect]:
    """A server that is gone afterwards."""
    served = Inspect(*arguments)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.kill()
