"""An object as a lock: a PUT on the condition that nothing, or a certain version, is there is won by one process."""

from __future__ import annotations

import math
import uuid

from pipeline.errors import ConfigError
from pipeline.io import objects
from pipeline.io.object_path import ObjectPath

_BEAT = "\n# beat "
"""Between an owner's text and the count of its beats, which makes every version another one."""


class ObjectLock:
    """The lock at a key. See `pipeline.io.lease.Lock`."""

    def __init__(self, path: ObjectPath) -> None:
        self._path = path
        self._etag: str | None = None
        self._text = ""
        self._beats = 0

    def make(self, text: str) -> bool:
        """Write the object where there is none.

        Raises
        ------
        ConfigError
            If the store does not heed conditions, without which nothing here would be safe.
        """
        self._text = text
        etag = objects.create(self._path.bucket, self._path.key, text.encode())
        if etag is None:
            return False
        if objects.create(self._path.bucket, self._path.key, (text + _BEAT).encode()) is not None:
            self.drop()
            raise ConfigError(
                f"{self._path}: the object store lets two writers make one object (it ignores If-None-Match); "
                "write to a local --out DIR, or to a store with conditional writes."
            )
        self._etag = etag
        return True

    def text(self) -> str | None:
        """What the object says, less the count of beats."""
        try:
            data, info = objects.read_part(self._path.bucket, self._path.key, 0)
        except FileNotFoundError:
            self._etag = None
            return None
        self._etag = info.etag
        return data.decode(errors="replace").partition(_BEAT)[0]

    def silence(self) -> float:
        """Seconds since the object was written, by the store's own clock: an object written now tells that."""
        probe = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}")
        try:
            written = self._path.info().modified
            probe.write_bytes(b"")
            now = probe.info().modified
        except FileNotFoundError:
            return math.inf
        finally:
            probe.unlink(missing_ok=True)
        return (now - written).total_seconds()

    def take_over(self, text: str) -> bool:
        """Write over the version that was read last."""
        if self._etag is None:
            return False
        self._text = text
        self._etag = objects.replace(self._path.bucket, self._path.key, text.encode(), self._etag)
        return self._etag is not None

    def beat(self) -> None:
        """Write the object again, unless somebody else has."""
        if self._etag is not None:
            self._beats += 1
            data = f"{self._text}{_BEAT}{self._beats}".encode()
            self._etag = objects.replace(self._path.bucket, self._path.key, data, self._etag)

    def drop(self) -> None:
        """Delete the object."""
        self._path.unlink(missing_ok=True)
