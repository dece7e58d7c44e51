"""The lock of a scan: a lease with a heartbeat, which a later start can break when its owner is gone."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from pipeline.errors import ProductMismatch

NAME = "scan.lease"
STALE_AFTER = 60.0
"""Seconds without a heartbeat after which a lease from another host is dead."""
BEAT = 10.0
"""Seconds between heartbeats."""


class Lease:
    """Hold an output folder for one writer, as a context manager.

    A lease whose process is gone from this host, or whose heartbeat is older than `STALE_AFTER`, is broken.

    Raises
    ------
    ProductMismatch
        On entry, if another living process holds it, or the folder can't be written.
    """

    def __init__(self, output: Path) -> None:
        self._path = output / NAME
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="scan-lease", daemon=True)

    def __enter__(self) -> Lease:
        for _ in range(3):
            if self._create():
                self._thread.start()
                return self
            holder = self._holder()
            if holder is not None and _alive(holder, self._path):
                raise ProductMismatch(
                    f"{self._path.parent} is being written by process {holder['pid']} on {holder['host']}; "
                    "wait for it, or choose another output with --out DIR."
                )
            # Renaming is the one step that only a single breaker can win.
            grave = self._path.with_name(f".{NAME}.{self._token}")
            try:
                os.rename(self._path, grave)
                grave.unlink(missing_ok=True)
            except FileNotFoundError:
                continue
        raise ProductMismatch(f"{self._path}: several scans are starting on this output at once; try again.")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._mine():
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        # Linking a finished file in place is exclusive, and nobody can see a lease without its owner.
        draft = self._path.with_name(f".{NAME}.{self._token}.new")
        owner = {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(owner))
        except OSError as error:
            raise ProductMismatch(
                f"{draft.parent} can't be written ({error.strerror}); "
                "mend that, or choose another output with --out DIR."
            ) from error
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _holder(self) -> dict[str, Any] | None:
        try:
            values = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return values if isinstance(values, dict) else None

    def _mine(self) -> bool:
        holder = self._holder()
        return holder is not None and holder.get("token") == self._token

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            if self._mine():
                os.utime(self._path)


def _alive(holder: dict[str, Any], path: Path) -> bool:
    if holder.get("host") == socket.gethostname():
        return _started(int(holder["pid"])) == holder.get("started")
    try:
        return time.time() - path.stat().st_mtime < STALE_AFTER
    except FileNotFoundError:
        return False


def _started(pid: int) -> float | None:
    """When a process of this host began, in seconds of the epoch; a reused pid has another answer."""
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
