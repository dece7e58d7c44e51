"""The lock of a scan: a lease with a heartbeat, which a later start can break when its owner is gone."""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import psutil

from pipeline.errors import LeaseLost, ProductMismatch
from pipeline.io.lease_file import FileLock
from pipeline.io.lease_object import ObjectLock
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place, place

NAME = "scan.lease"
STALE_AFTER = 60.0
"""Seconds without a heartbeat after which a lease from another host is dead."""
BEAT = 10.0
"""Seconds between heartbeats."""


class Lock(Protocol):
    """A file or object that one of several processes can make; its text says whose it is."""

    def make(self, text: str) -> bool:
        """Make it, unless it is there; whether it is ours now. Nobody sees it without its text."""
        ...

    def text(self) -> str | None:
        """What it says, None if it is not there."""
        ...

    def silence(self) -> float:
        """Seconds since it was made or last beaten; infinite if it is not there."""
        ...

    def take_over(self, text: str) -> bool:
        """Break what `text()` last read: one breaker alone wins. Whether it is ours now, else it may be made."""
        ...

    def beat(self) -> None:
        """Say that its owner lives."""
        ...

    def drop(self) -> None:
        """Remove it."""
        ...


class Lease:
    """Hold an output folder for one writer, as a context manager.

    A lease whose process is gone from this host, or whose heartbeat is older than `STALE_AFTER`, is broken.

    Raises
    ------
    ProductMismatch
        On entry, if another living process holds it, or the folder can't be written.
    """

    def __init__(self, output: Place) -> None:
        self._output = output
        self._token = uuid.uuid4().hex
        self._lock = _lock_of(output, self._token)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="scan-lease", daemon=True)

    @property
    def mark(self) -> LeaseMark:
        """What a task asks by whether its work is still wanted."""
        return LeaseMark(str(self._output), self._token)

    def __enter__(self) -> Lease:
        owner = json.dumps(
            {
                "token": self._token,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": _started(os.getpid()),
            }
        )
        for _ in range(3):
            if self._make(owner):
                self._thread.start()
                return self
            found = self._lock.text()
            if found is None:
                continue
            holder = _owner(found)
            if holder is not None and self._alive(holder):
                raise ProductMismatch(
                    f"{self._output} is being written by process {holder['pid']} on {holder['host']}; "
                    "wait for it, or choose another output with --out DIR."
                )
            if self._lock.take_over(owner):
                self._thread.start()
                return self
        raise ProductMismatch(f"{self._output / NAME}: several scans are starting on this output at once; try again.")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._mine():
            self._lock.drop()

    def _make(self, owner: str) -> bool:
        try:
            return self._lock.make(owner)
        except OSError as error:
            raise ProductMismatch(
                f"{self._output} can't be written ({error.strerror}); "
                "mend that, or choose another output with --out DIR."
            ) from error

    def _alive(self, holder: dict[str, Any]) -> bool:
        if holder.get("host") == socket.gethostname():
            return _started(int(holder["pid"])) == holder.get("started")
        return self._lock.silence() < STALE_AFTER

    def _mine(self) -> bool:
        holder = _owner(self._lock.text())
        return holder is not None and holder.get("token") == self._token

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                if self._mine():
                    self._lock.beat()
            except OSError:
                continue  # a beat that is lost is no reason to stop the heart


@dataclass(frozen=True)
class LeaseMark:
    """Whose work a task is: the output that is held, and the lease's token.

    A task may outlive the process that it worked for. It asks before it publishes or removes anything.
    """

    output: str
    token: str

    def check(self) -> None:
        """Raise LeaseLost if the lease is another's by now, or nobody's."""
        if present_token(place(self.output)) != self.token:
            raise LeaseLost(f"{self.output} is held by another process by now; what this one did is left unpublished.")


def present_token(output: Place) -> str | None:
    """The token of the lease that holds an output now, alive or not; None if there is none."""
    holder = _owner(_lock_of(output, uuid.uuid4().hex).text())
    return None if holder is None else str(holder.get("token"))


def _lock_of(output: Place, token: str) -> Lock:
    path = output / NAME
    return ObjectLock(path) if isinstance(path, ObjectPath) else FileLock(path, token)


def _owner(text: str | None) -> dict[str, Any] | None:
    """Whom a lock says that it belongs to; None where it says nothing that can be understood."""
    try:
        values = json.loads(text) if text is not None else None
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _started(pid: int) -> float | None:
    """When a process of this host began, in seconds of the epoch; a reused pid has another answer."""
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
