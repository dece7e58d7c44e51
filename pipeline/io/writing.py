"""Files that are written whole: a reader sees the old bytes or the new ones, here or in an object store."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place

_UNFINISHED = ".tmp"


def atomic_write(path: Place, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part.

    The data is on disk before the name is.
    """
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    with whole_file(path) as stream:
        stream.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its name when the block ends, and leaves nothing behind where that fails.

    The data is on disk before the name is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            error.filename = str(path)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that gets its name when the block ends: whole and on disk, or not at all.

    Until then it lies beside that name under a hidden one, which an error removes and a kill leaves behind.

    Parameters
    ----------
    path : Path
        What there may be is an empty folder; its parent is made if need be.

    Raises
    ------
    OSError
        At the end, if something else has got the name meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED))
    try:
        made.chmod(0o777 & ~_umask())
        yield made
        for below in made.rglob("*"):
            _sync_file(below) if below.is_file() else sync_folder(below)
        sync_folder(made)
        made.rename(path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    sync_folder(path.parent)


def is_unfinished(name: str) -> bool:
    """Whether a file's name is one that `atomic_write` gives until all of it is written; a kill leaves it behind."""
    return name.startswith(".") and name.endswith(_UNFINISHED)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_json(path: Place, values: Any) -> None:
    """Write values as JSON with sorted keys, atomically."""
    atomic_write(path, (json.dumps(values, sort_keys=True, indent=1, allow_nan=False) + "\n").encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
