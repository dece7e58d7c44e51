"""A zarr store below a prefix of an object store, through the one client of the process.

zarr's own store over obstore would let obstore's errors through, take a part of an answer for the whole, and, for a
group that is not at the root of its bucket, write a group into every folder above.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from pipeline.io import objects
from pipeline.io.object_path import ObjectPath


class ObjectZarr(Store):
    """The keys below a folder of objects; every one is read and written whole or by ranges, with one request."""

    supports_writes = supports_deletes = supports_listing = True

    def __init__(self, root: ObjectPath, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self._root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectZarr) and (other._root, other.read_only) == (self._root, self.read_only)

    def __hash__(self) -> int:
        return hash((self._root, self.read_only))

    def __str__(self) -> str:
        return str(self._root)

    def with_read_only(self, read_only: bool = False) -> ObjectZarr:
        """The same folder, to be written or not."""
        return ObjectZarr(self._root, read_only=read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Bytes of an object, None if it is not there."""
        start, stop = _span(byte_range)
        try:
            data = await asyncio.to_thread(objects.read_part, self._root.bucket, self._key(key), start, stop)
        except FileNotFoundError:
            return None
        return prototype.buffer.from_bytes(data[0])

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Bytes of several objects."""
        return await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges))

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return await asyncio.to_thread((self._root / key).is_file)

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object whole."""
        self._check_writable()
        await asyncio.to_thread(objects.write, self._root.bucket, self._key(key), value.to_bytes())

    async def delete(self, key: str) -> None:
        """Delete an object."""
        self._check_writable()
        await asyncio.to_thread(objects.delete, self._root.bucket, [self._key(key)])

    async def delete_dir(self, prefix: str) -> None:
        """Delete every object below a prefix."""
        self._check_writable()
        keys = [self._key(key) async for key in self.list_prefix(prefix.rstrip("/"))]
        await asyncio.to_thread(objects.delete, self._root.bucket, keys)

    async def list(self) -> AsyncIterator[str]:
        """Every key."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Every key below a prefix."""
        for key, _ in await asyncio.to_thread(objects.below, self._root.bucket, self._key(prefix)):
            yield key.removeprefix(f"{self._root.key}/")

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names right below a prefix."""
        folders, files = await asyncio.to_thread(objects.children, self._root.bucket, self._key(prefix.rstrip("/")))
        for key in [*folders, *(key for key, _ in files)]:
            yield key.rpartition("/")[2]

    def _key(self, key: str) -> str:
        return (self._root / key).key


def _span(part: ByteRequest | None) -> tuple[int, int | None]:
    """First byte and one past the last, as `objects.read_part` takes them."""
    match part:
        case RangeByteRequest(start, end):
            return start, end
        case OffsetByteRequest(offset):
            return offset, None
        case SuffixByteRequest(suffix):
            return -suffix, None
    return 0, None
