"""Where a text says that something is: a path of this machine, or an object of a store."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pipeline import provenance
from pipeline.errors import ConfigError
from pipeline.io import objects
from pipeline.io.object_path import SCHEME, ObjectPath

Place = Path | ObjectPath
"""A file or folder; both kinds have the manner of `pathlib.Path`."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def place(text: str | os.PathLike[str] | ObjectPath) -> Place:
    """The place that a text names: `s3://BUCKET/KEY`, or a local path.

    Raises
    ------
    ConfigError
        For another kind of URL, and for an s3 one without a bucket or with empty parts.
    """
    if isinstance(text, ObjectPath):
        return text
    written = os.fspath(text)
    if not _URL.match(written):
        return Path(written)
    if not written.startswith(SCHEME):
        raise ConfigError(f"{written}: no such kind of place; give a local path, or s3://BUCKET/KEY.")
    try:
        return ObjectPath.of(written)
    except ValueError as error:
        raise ConfigError(f"{error}; mend the path.") from error


def file_identity(path: str) -> list[str | int]:
    """What makes an input file the same file: path, size and mtime here, path, size and ETag in a store."""
    where = place(path)
    if isinstance(where, Path):
        return provenance.file_identity(path)
    try:
        return identity_of(path, where.info())
    except FileNotFoundError:
        return identity_of(path, None)


def identity_of(path: str, info: objects.ObjectInfo | None) -> list[str | int]:
    """The identity of an object from what a store says of it; None for one that is not there."""
    return [path, -1, 0] if info is None else [path, info.size, info.etag]


def remove(folder: Place) -> None:
    """Remove a folder with all that is below it, as far as that is possible; none there is no error."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        objects.delete(folder.bucket, [key for key, _ in objects.below(folder.bucket, folder.key)])


def each(call: Callable[[Item], Answer], items: Sequence[Item], where: Place) -> list[Answer]:
    """Call with each item in turn, or several at a time where every call asks a store."""
    return [call(item) for item in items] if isinstance(where, Path) else objects.in_parallel(call, items)
