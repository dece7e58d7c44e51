"""Scratch copies of large objects: each block of bytes is fetched once, and read from then on as a local file is.

A field's pixels are worked through several times, in row blocks. The copy of an object is a file of its size in
`TMPDIR` that is filled as blocks are asked for. It has no name, so that nothing is left behind whatever ends the
process.
"""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections import OrderedDict

from pipeline.io import objects
from pipeline.io.object_path import ObjectPath

BLOCK = 8 << 20
"""Bytes that are fetched together."""
ROOM = 16 << 30
"""Bytes of copies that a process keeps; the least lately used one goes first."""


class Copy:
    """The copy of one version of an object.

    Attributes
    ----------
    name : str
        Opens the file, as long as this object is there.
    """

    def __init__(self, path: ObjectPath, info: objects.ObjectInfo) -> None:
        handle, name = tempfile.mkstemp(prefix="lensscan-")
        os.unlink(name)
        weakref.finalize(self, os.close, handle)
        os.truncate(handle, info.size)
        self.name = f"/proc/self/fd/{handle}"
        self._handle = handle
        self._path = path
        self._info = info
        self._here: set[int] = set()
        self._lock = threading.Lock()

    @property
    def fetched(self) -> int:
        """Bytes on disk."""
        return len(self._here) * BLOCK

    def fetch(self, start: int, stop: int) -> None:
        """Have the bytes `start:stop` in the file, and perhaps some around them.

        Raises
        ------
        OSError
            If the store fails, the object has changed, or the disk is full.
        """
        stop = min(stop, self._info.size)
        with self._lock:
            blocks = [block for block in range(start // BLOCK, -(-stop // BLOCK)) if block not in self._here]
            objects.in_parallel(self._fetch_block, blocks)

    def _fetch_block(self, block: int) -> None:
        first = block * BLOCK
        last = min(first + BLOCK, self._info.size)
        data = objects.read_range(self._path.bucket, self._path.key, first, last, self._info.etag)
        written = 0
        while written < len(data):
            written += os.pwrite(self._handle, data[written:], first + written)
        self._here.add(block)


_copies: OrderedDict[tuple[ObjectPath, str], Copy] = OrderedDict()
_lock = threading.Lock()


def copy_of(path: ObjectPath, info: objects.ObjectInfo) -> Copy:
    """The copy that a process has of a version of an object, empty at first; keep it while its file is open."""
    with _lock:
        copy = _copies.get((path, info.etag))
        if copy is None:
            copy = _copies[path, info.etag] = Copy(path, info)
        _copies.move_to_end((path, info.etag))
        while len(_copies) > 1 and sum(kept.fetched for kept in _copies.values()) > ROOM:
            _copies.popitem(last=False)
        return copy
