"""An object as a file that can be read and wound, for readers that expect one; only what they ask for is fetched."""

from __future__ import annotations

import io
import os

from pipeline.io import objects
from pipeline.io.object_path import ObjectPath

AHEAD = 64 << 10
"""Bytes that a small read fetches at once: headers and footers are read in many small steps."""


class ObjectFile(io.RawIOBase):
    """One version of an object, read only; a change meanwhile is an error of the system.

    Parameters
    ----------
    path : ObjectPath
    first : int
        Bytes that opening it fetches.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    """

    def __init__(self, path: ObjectPath, first: int = AHEAD) -> None:
        super().__init__()
        self._path = path
        self._at = 0
        self._start = 0
        self._window, self.info = objects.read_part(path.bucket, path.key, 0, first)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, also beyond the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.info.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readall(self) -> bytes:
        """Everything from here on."""
        return self.read(-1)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, fewer at the end of the object."""
        stop = self.info.size if size is None or size < 0 else min(self._at + size, self.info.size)
        first, self._at = self._at, max(self._at, stop)
        if first >= stop:
            return b""
        if not self._start <= first <= stop <= self._start + len(self._window):
            if stop - first >= AHEAD:
                return self._fetch(first, stop)
            self._window = self._fetch(first, min(first + AHEAD, self.info.size))
            self._start = first
        return self._window[first - self._start : stop - self._start]

    def readinto(self, buffer: object, /) -> int:
        """Fill a buffer; the number of bytes that there were."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _fetch(self, start: int, stop: int) -> bytes:
        return objects.read_range(self._path.bucket, self._path.key, start, stop, self.info.etag)
