"""Where the bytes of a FITS file come from: a file of this machine, or an object of a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadSurveyData
from pipeline.io.object_file import ObjectFile
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import ObjectInfo
from pipeline.io.places import place
from pipeline.io.scratch import copy_of

_PACKED = (b"\x1f\x8b", b"BZ", b"\xfd7")


@dataclass(frozen=True)
class FitsSource:
    """A FITS file as it was when it was first looked at.

    Attributes
    ----------
    path : str
        As the survey names it.
    size : int
        In bytes.
    packed : bool
        Whether the whole file is gzipped, bzipped or xzipped.
    version : ObjectInfo or None
        Of an object; None for a local file.
    """

    path: str
    size: int
    packed: bool
    version: ObjectInfo | None = None

    @contextmanager
    def bytes(self, start: int, stop: int) -> Iterator[str]:
        """The name of a local file that has these bytes in their place."""
        if self.version is None:
            yield self.path
        else:
            copy = copy_of(ObjectPath.of(self.path), self.version)
            copy.fetch(start, stop)
            yield copy.name


@contextmanager
def looked_at(path: str) -> Iterator[tuple[FitsSource, Any]]:
    """A file, and what `astropy.io.fits.open` takes to read its headers: of an object no more than those are fetched.

    Raises
    ------
    BadSurveyData
        If there is none.
    """
    where = place(path)
    if isinstance(where, ObjectPath):
        try:
            stream = ObjectFile(where)
        except FileNotFoundError:
            raise _missing(path) from None
        with stream:
            source = FitsSource(path, stream.info.size, stream.read(6).startswith(_PACKED), stream.info)
            stream.seek(0)
            if not source.packed:
                yield source, stream
                return
        with source.bytes(0, source.size) as name:
            yield source, name
    else:
        if not where.is_file():
            raise _missing(path)
        with where.open("rb") as file:
            packed = file.read(6).startswith(_PACKED)
        yield FitsSource(path, os.path.getsize(path), packed), path


def _missing(path: str) -> BadSurveyData:
    kind = "no file" if os.path.exists(path) else "no such file"
    return BadSurveyData(f"{path}: {kind}; restore it, mend its path in the survey's TOML or leave it out.")
