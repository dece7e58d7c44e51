"""Arrays of an npz archive, row by row: a pool may be larger than memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

UNREADABLE = (OSError, ValueError, EOFError, BadZipFile, zlib.error, NotImplementedError)
"""What a damaged archive, or one with objects in it, provokes."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Archive:
    """An open npz archive; arrays of objects, which only a pickle could hold, are refused with a ValueError."""

    opened: ZipFile

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(name.removesuffix(".npy") for name in self.opened.namelist())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, from its header."""
        with self.opened.open(f"{name}.npy") as stream:
            return _header(stream, name)[0]

    def whole(self, name: str) -> npt.NDArray[Any]:
        """One array, all of it."""
        with self.opened.open(f"{name}.npy") as stream:
            array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array

    def row(self, name: str, index: int) -> npt.NDArray[Any]:
        """One row of an array along its first axis, without the rest of it in memory."""
        with self.opened.open(f"{name}.npy") as stream:
            shape, fortran, dtype = _header(stream, name)
            if not 0 <= index < shape[0]:
                raise ValueError(f"{name} has {shape[0]} rows, no row {index}")
            if not fortran:
                size = dtype.itemsize * math.prod(shape[1:])
                stream.seek(stream.tell() + index * size)
                data = stream.read(size)
                if len(data) != size:
                    raise ValueError(f"{name} ends before row {index} of {shape[0]}")
                return np.frombuffer(data, dtype).reshape(shape[1:])
        found: npt.NDArray[Any] = self.whole(name)[index]
        return found

    def blocks(self, name: str, length: int) -> Iterator[npt.NDArray[Any]]:
        """An array along its first axis, `length` rows at a time; read-only."""
        with self.opened.open(f"{name}.npy") as stream:
            shape, fortran, dtype = _header(stream, name)
            if not fortran:
                row = dtype.itemsize * math.prod(shape[1:])
                for first in range(0, shape[0], length):
                    number = min(length, shape[0] - first)
                    data = stream.read(number * row)
                    if len(data) != number * row:
                        raise ValueError(f"{name} ends after {first + len(data) // max(1, row)} of {shape[0]} rows")
                    yield np.frombuffer(data, dtype).reshape(number, *shape[1:])
                return
        array = self.whole(name)
        yield from (array[first : first + length] for first in range(0, len(array), length))


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open an npz archive; what is wrong with it comes as one of `UNREADABLE`."""
    with ZipFile(path) as opened:
        yield Archive(opened)


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{name} is in version {version} of numpy's format")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError(f"{name} is an array of objects, which would have to be unpickled")
    return shape, fortran, dtype
