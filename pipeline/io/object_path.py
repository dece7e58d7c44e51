"""The path of an object, with as much of `pathlib.Path`'s manner as products and surveys need.

universal-pathlib would be the ready-made one; over obstore its methods let the client's own exceptions through, which
are no `OSError`, and know no conditional writes, so that every call would have to be wrapped all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pipeline.io import objects

SCHEME = "s3://"


@dataclass(frozen=True, order=True)
class ObjectPath:
    """`s3://bucket/key`; a folder is whatever keys begin with it.

    Attributes
    ----------
    bucket, key : str
        The key without slashes at its ends; "" is the bucket itself.
    """

    bucket: str
    key: str

    @classmethod
    def of(cls, text: str) -> ObjectPath:
        """From `s3://bucket/key`; raises ValueError where there is no bucket or a part is empty, `.` or `..`."""
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        key = key.rstrip("/")
        if not text.startswith(SCHEME) or not bucket or (key and set(key.split("/")) & {"", ".", ".."}):
            raise ValueError(f"{text!r} is not s3://BUCKET/KEY with plain names between single slashes")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, other: str | PurePosixPath) -> ObjectPath:
        added = "" if str(other) == "." else str(other).strip("/")
        return ObjectPath(self.bucket, f"{self.key}/{added}" if self.key and added else self.key or added)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's last suffix with its dot, or ""."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> ObjectPath:
        """The folder that this lies in; the bucket's is itself."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    @property
    def parents(self) -> tuple[ObjectPath, ...]:
        """All folders above, the nearest first, the bucket last."""
        above = [self.parent] if self.key else []
        while above and above[-1].key:
            above.append(above[-1].parent)
        return tuple(above)

    def with_name(self, name: str) -> ObjectPath:
        """Another name in the same folder."""
        return self.parent / name

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        """The path below a folder; raises ValueError if this is not below it."""
        if self.bucket != other.bucket or not (self.key + "/").startswith(other.key + "/" if other.key else ""):
            raise ValueError(f"{self} is not below {other}")
        return PurePosixPath(self.key[len(other.key) :].lstrip("/"))

    def expanduser(self) -> ObjectPath:
        """Itself: a store knows no home."""
        return self

    def absolute(self) -> ObjectPath:
        """Itself: a store knows no working directory."""
        return self

    def resolve(self) -> ObjectPath:
        """Itself: a store knows no links."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there when an object is."""

    def exists(self) -> bool:
        """Whether there is such an object or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            return bool(self.key) and self.info() is not None
        except FileNotFoundError:
            return False

    def is_dir(self) -> bool:
        """Whether any object lies below."""
        return objects.has_below(self.bucket, self.key)

    def info(self) -> objects.ObjectInfo:
        """Size, ETag and time; raises FileNotFoundError."""
        return objects.head(self.bucket, self.key)

    def read_bytes(self) -> bytes:
        """All bytes; raises FileNotFoundError."""
        return objects.read(self.bucket, self.key)

    def read_text(self, encoding: str = "utf-8") -> str:
        """All bytes as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """Write all bytes, by one request as far as a reader can tell."""
        objects.write(self.bucket, self.key, data)

    def upload(self, file: Path) -> None:
        """Write the bytes of a local file, however many they are, read part by part."""
        objects.write(self.bucket, self.key, file)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object; raises FileNotFoundError unless it may be missing."""
        if not missing_ok:
            self.info()
        objects.delete(self.bucket, [self.key])

    def iterdir(self) -> Iterator[ObjectPath]:
        """What lies right below: folders, then objects."""
        folders, files = objects.children(self.bucket, self.key)
        yield from (ObjectPath(self.bucket, key) for key in [*folders, *(key for key, _ in files)])

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects right below whose name fits a pattern without slashes."""
        _, files = objects.children(self.bucket, self.key)
        yield from (path for key, _ in files if fnmatchcase((path := ObjectPath(self.bucket, key)).name, pattern))

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects at any depth whose name fits a pattern without slashes; one listing."""
        for key, _ in objects.below(self.bucket, self.key):
            path = ObjectPath(self.bucket, key)
            if fnmatchcase(path.name, pattern):
                yield path
