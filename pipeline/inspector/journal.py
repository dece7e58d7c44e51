"""An append-only file of JSON lines of which nothing that was acknowledged is lost.

A line is in the file, and the file on the disk, before `Journal.append` returns. Each carries a checksum of itself.
What a kill or a power cut can leave is a last line without its end, which nobody was told is saved: it is dropped.
Anything else that is wrong is damage, and is told with the line's number instead of being stepped over.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import GradeError, NotSaved
from pipeline.io.writing import sync_folder

_MARK = b',"crc":"'


@dataclass(frozen=True)
class Replayed:
    """What a journal holds.

    Attributes
    ----------
    records : list of dict
        In the order written.
    length : int
        Bytes of the whole lines.
    torn : int
        Bytes of a last line without its end, beyond `length`; 0 where there is none.
    """

    records: list[dict[str, Any]]
    length: int
    torn: int


def replay(path: Path) -> Replayed:
    """Every record of a journal; one that does not exist is empty.

    Raises
    ------
    GradeError
        If a line with its end is not what was written, by its number.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    *lines, rest = data.split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_decoded(line))
        except ValueError as error:
            raise GradeError(
                f"{path}: line {number} of {len(lines)} is damaged ({error}); bring the file back from a copy, or move "
                "the folder away and grade into another one."
            ) from error
    return Replayed(records, len(data) - len(rest), len(rest))


class Journal:
    """A journal that this process alone writes to, for as long as it is open.

    Parameters
    ----------
    path : Path
        Made where it does not exist; its folder has to.

    Raises
    ------
    BlockingIOError
        If another process, or another place of this one, has it open for writing.
    GradeError
        If a line is damaged.

    Attributes
    ----------
    records : list of dict
        What it held when opened.
    torn : int
        Bytes of a last line that had no end and was dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The lock is the system's, on the open file: it goes with the process, however that ends.
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(path.parent)
            found = replay(path)
            if found.torn:
                os.ftruncate(self._file, found.length)
                os.fsync(self._file)
        except BaseException:
            os.close(self._file)
            raise
        self.records, self.torn, self._length = found.records, found.torn, found.length
        self._closed = False

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record; it is on the disk when this returns, and not in the file if this raises.

        Raises
        ------
        NotSaved
            If the journal is closed, was moved away or shortened, or the disk takes no more.
        """
        if self._closed:
            raise NotSaved(f"{self.path}: closed; open the grades again.")
        self._check_place()
        line = _encoded(record)
        try:
            rest = memoryview(line)
            while rest:  # a disk that is nearly full takes a part first
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            self._take_back()
            raise NotSaved(
                f"{self.path}: the grade could not be saved ({error}); make room and grade again."
            ) from error
        self._length += len(line)

    def close(self) -> None:
        """Let go of the file and its lock."""
        if not self._closed:
            self._closed = True
            os.close(self._file)

    def _check_place(self) -> None:
        """That the name still leads to the open file: what is written to a deleted one is lost."""
        mine = os.fstat(self._file)
        with suppress(FileNotFoundError):
            named = os.stat(self.path)
            if (named.st_dev, named.st_ino, named.st_size) == (mine.st_dev, mine.st_ino, self._length):
                return
        raise NotSaved(f"{self.path} was moved, removed or changed while open; put it back and open the grades again.")

    def _take_back(self) -> None:
        """Cut off what a failed append may have left; where even that fails nothing more may follow it."""
        try:
            os.ftruncate(self._file, self._length)
            os.fsync(self._file)
        except OSError:
            self.close()


def _encoded(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return body[:-1] + _MARK + f'{zlib.crc32(body):08x}"}}\n'.encode()


def _decoded(line: bytes) -> dict[str, Any]:
    start, mark, checksum = line.rpartition(_MARK)
    body = start + b"}"
    if not mark or checksum != f'{zlib.crc32(body):08x}"}}'.encode():
        raise ValueError("its checksum is not that of its text")
    record = json.loads(body)
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return record
