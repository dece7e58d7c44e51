"""Zarr groups in folders and in object stores.

Local groups are read by zarrs. Objects are read by zarr itself over the one client of the process: zarrs would make one
for every array and tell errors in its own way, and where the network sets the pace it is 1.1 to 1.3 times as
fast (64 x 64 x 3 cutouts in lz4, a server on the same machine).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import zarr
import zarr.storage
import zarrs  # noqa: F401  registers the codec pipeline that reads

from pipeline.errors import LensscanError
from pipeline.io import objects
from pipeline.io.object_path import ObjectPath
from pipeline.io.objects import StoreUnavailable
from pipeline.io.places import Place

_READ_PIPELINE = "zarrs.ZarrsCodecPipeline"

Answer = TypeVar("Answer")


def open_group(path: Place, mode: Literal["r", "r+", "w"]) -> zarr.Group:
    """The group at a place; `w` makes an empty one of format 3."""
    form: Any = {"zarr_format": 3} if mode == "w" else {}
    if isinstance(path, ObjectPath):
        store: Any = zarr.storage.ObjectStore(objects.store_of(path.bucket), read_only=mode == "r")
        return zarr.open_group(store, path=path.key, mode=mode, **form)
    return zarr.open_group(str(path), mode=mode, **form)


def reading(path: Place, read: Callable[[zarr.Group], Answer]) -> Answer:
    """Call what reads from the group at a place; of a store again, where it got no whole answer.

    Raises
    ------
    StoreUnavailable
        If the store does not answer, or what it gives can't be decoded.
    """
    if not isinstance(path, ObjectPath):
        with zarr.config.set({"codec_pipeline.path": _READ_PIPELINE}):
            return read(open_group(path, "r"))

    def once() -> Answer:
        try:
            return read(open_group(path, "r"))
        except (OSError, LensscanError, KeyError, *objects.ERRORS):
            raise
        except Exception as error:
            # Codecs raise what they like when an answer was cut short.
            raise StoreUnavailable(errno.EIO, f"undecodable: {error}", str(path)) from error

    return objects.insist(once, path.bucket, path.key)


@contextmanager
def writing(path: Place) -> Iterator[None]:
    """Tell the errors of a store as errors of the system."""
    if isinstance(path, ObjectPath):
        with objects.told_as_oserror(path.bucket, path.key):
            yield
    else:
        yield
