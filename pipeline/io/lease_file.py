"""A file as a lock: linking and renaming are the steps that only one process can win."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path


class FileLock:
    """The lock at a path; `token` makes this process's drafts its own. See `pipeline.io.lease.Lock`."""

    def __init__(self, path: Path, token: str) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.{token}.new")
        self._grave = path.with_name(f".{path.name}.{token}")
        self._found = ""

    def make(self, text: str) -> bool:
        """Link a finished file in place: that is exclusive, and nobody can see a lock without its owner."""
        self._draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._draft.write_text(text)
            os.link(self._draft, self._path)
        except FileExistsError:
            return False
        finally:
            self._draft.unlink(missing_ok=True)
        return True

    def text(self) -> str | None:
        """What the file says."""
        try:
            self._found = self._path.read_text()
            return self._found
        except FileNotFoundError:
            return None

    def silence(self) -> float:
        """Seconds since the file was touched."""
        try:
            return time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def take_over(self, text: str) -> bool:
        """Move the file away; it is for `make` to put another one there."""
        try:
            os.rename(self._path, self._grave)
            if self._grave.read_text() != self._found:
                # Another breaker was faster, and what was moved is its own lock.
                os.link(self._grave, self._path)
        except (FileNotFoundError, FileExistsError):
            pass
        self._grave.unlink(missing_ok=True)
        return False

    def beat(self) -> None:
        """Touch the file."""
        os.utime(self._path)

    def drop(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
