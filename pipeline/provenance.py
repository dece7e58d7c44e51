"""Fingerprints: what a product depends on, as one hash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_NO_WAY = (errno.ELOOP, errno.EACCES, errno.ENOTDIR, errno.ENAMETOOLONG)
"""What may be wrong with the path of one file, and with no other."""

STAGES = ("masks", "detect", "cutouts", "score", "candidates")
"""The stages of a field, in order; each rests on the one before."""

STAGE_VERSIONS: Mapping[str, int] = {"masks": 4, "detect": 1, "cutouts": 1, "score": 3, "candidates": 4}
"""Raised when a stage's code changes what it writes for the same inputs."""


def fingerprint(values: Any) -> str:
    """The sha256 (64 hex digits) of values as canonical JSON.

    Dictionaries are ordered by key, tuples are lists; a float counts by its shortest exact text.

    Raises
    ------
    TypeError
        For a value that JSON has no form for.
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_fingerprint(stage: str, reads: Any, inputs: Any) -> str:
    """The fingerprint of a stage's product.

    Parameters
    ----------
    stage : str
        One of `STAGES`; its version counts.
    reads : JSON-able
        The part of the configuration that the stage reads.
    inputs : JSON-able
        Fingerprints of its inputs and identities of its files.
    """
    return fingerprint({"stage": stage, "version": STAGE_VERSIONS[stage], "reads": reads, "inputs": inputs})


def file_identity(path: str) -> list[str | int]:
    """What makes an input file the same file: its path, size in bytes and mtime in ns.

    A file that is not there, or that no path leads to, has size -1: whoever opens it says so, and its return is a
    change.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return [path, -1, 0]
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        return [path, -1, 0]
    return [path, status.st_size, status.st_mtime_ns]


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def software() -> Mapping[str, str]:
    """Package version and, in a checkout, the revision of the source.

    `revision` is "unknown" outside a git checkout.
    """
    try:
        installed = version("lensscan")
    except PackageNotFoundError:
        installed = "not installed"
    root = Path(__file__).resolve().parent.parent
    revision = "unknown"
    if (root / ".git").exists():
        try:
            answer = subprocess.run(
                ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            answer = None
        if answer is not None and answer.returncode == 0:
            revision = answer.stdout.strip()
    return {"version": installed, "revision": revision}
