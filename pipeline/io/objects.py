"""Objects of an S3 store, through one client with one set of credentials and one policy of retries.

obstore (Rust) does the talking: it tries again after errors 5xx, refused and dropped connections and timeouts. What
is left is told as `OSError`, which whoever runs tasks tries again. Nothing is cached: two listings are two requests.

Credentials are the `AWS_*` environment variables, a web identity or container role that they name, or else the role of
the machine. `AWS_ENDPOINT_URL` (or `AWS_ENDPOINT_URL_S3`) names another store than Amazon's, which may be plain http.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store

Item = TypeVar("Item")
Answer = TypeVar("Answer")

RETRIES = 8
"""How often one request is tried again."""
PATIENCE = timedelta(seconds=90)
"""After this long no request is tried again."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=10)
"""Pauses between tries double from the first to the longest."""
SILENCE = timedelta(seconds=20)
"""How long a store may send nothing before the request counts as lost."""
PROBE = timedelta(seconds=8)
"""The whole time of a request of `probe`."""
AGAIN = 6
"""Tries of what the client gave up or does not try again itself: answers cut short, requests with a condition."""
AT_ONCE = 16
"""Requests that one call has under way at the same time."""
PART = 8 << 20
"""Bytes of one of the parallel requests that a large range is read by."""
WHOLE_PUT = 64 << 20
"""Objects up to this size are written by one request, larger ones in parts that appear together."""

_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_READ_FROM_ENVIRONMENT = (
    *_CREDENTIALS,
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)


class StoreUnavailable(OSError):
    """An object store gave no answer, or errors only, for as long as it was asked again."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a store says of an object: bytes, the ETag of this version, when it was written by the store's clock."""

    size: int
    etag: str
    modified: datetime


def read(bucket: str, key: str) -> bytes:
    """All bytes of an object.

    Raises
    ------
    FileNotFoundError, PermissionError, StoreUnavailable
    """
    return read_part(bucket, key, 0)[0]


def read_part(bucket: str, key: str, start: int, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
    """Bytes `start:stop` of an object, as a slice has them, and what it is; one request.

    `stop` None is the end; a negative `start`, with which it must be None, counts from there.
    """
    # Asked for a range, a store tells the size of the whole, so that a short answer is seen as one.
    wanted: Any = {"suffix": -start} if start < 0 else {"offset": start} if stop is None else (start, stop)

    def part() -> tuple[bytes, ObjectInfo]:
        answer = obstore.get(store_of(bucket), key, options={"range": wanted})
        data, info = bytes(answer.bytes()), _info(answer.meta)
        full = len(range(info.size)[start:stop])
        if len(data) != full:
            raise _short(bucket, key, len(data), full)
        return data, info

    try:
        return insist(part, bucket, key)
    except StoreUnavailable as error:
        if "status code: 416" in str(error):  # a range of nothing can't be had
            return b"", head(bucket, key)
        raise


def read_range(bucket: str, key: str, start: int, stop: int, etag: str) -> bytes:
    """Bytes `start:stop` of one version of an object; large ranges in parallel.

    Raises
    ------
    OSError
        Also if the object is another version by now.
    """
    edges = [*range(start, stop, PART), stop]
    spans = list(pairwise(edges))
    return b"".join(in_parallel(lambda span: _one_range(bucket, key, span[0], span[1], etag), spans))


def _one_range(bucket: str, key: str, start: int, stop: int, etag: str) -> bytes:
    def once() -> bytes:
        answer = obstore.get(store_of(bucket), key, options={"range": (start, stop), "if_match": etag})
        data = bytes(answer.bytes())
        if len(data) != stop - start:
            raise _short(bucket, key, len(data), stop - start)
        return data

    return insist(once, bucket, key)


def head(bucket: str, key: str) -> ObjectInfo:
    """What an object is, without its bytes; raises FileNotFoundError."""
    return insist(lambda: _info(obstore.head(store_of(bucket), key)), bucket, key)


def in_parallel(call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Call with each of many items, several at a time, since an answer takes a store long and us nothing."""
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(call, items))


def write(bucket: str, key: str, data: bytes | Path) -> None:
    """Write an object whole, from bytes or a local file: readers see the old bytes or the new ones."""
    size = data.stat().st_size if isinstance(data, Path) else len(data)
    insist(
        lambda: obstore.put(store_of(bucket), key, data, use_multipart=size > WHOLE_PUT, chunk_size=WHOLE_PUT),
        bucket,
        key,
    )


def create(bucket: str, key: str, data: bytes) -> str | None:
    """Write an object that must not be there yet; its ETag, or None if it was.

    Of several writers of different bytes one wins.
    """
    return _on_condition(bucket, key, data, "create")


def replace(bucket: str, key: str, data: bytes, etag: str) -> str | None:
    """Write an object over the version named; its new ETag, or None if another version is there, or nothing.

    Of several writers of different bytes one wins.
    """
    return _on_condition(bucket, key, data, {"e_tag": etag})


def _on_condition(bucket: str, key: str, data: bytes, mode: Any) -> str | None:
    def once() -> str | None:
        try:
            return str(obstore.put(store_of(bucket), key, data, mode=mode, use_multipart=False)["e_tag"])
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            pass
        except FileNotFoundError:
            return None
        # The answer of a request that won may have been lost, and the request been sent again.
        try:
            answer = obstore.get(store_of(bucket), key)
            return str(answer.meta["e_tag"]) if bytes(answer.bytes()) == data else None
        except FileNotFoundError:
            return None

    return insist(once, bucket, key)


def below(bucket: str, prefix: str) -> list[tuple[str, ObjectInfo]]:
    """Every object whose key begins with a folder's, at any depth: key and what it is, in order of the keys.

    `prefix` names a folder without the last slash; "" is the whole bucket.
    """

    def listed() -> list[tuple[str, ObjectInfo]]:
        found = obstore.list(store_of(bucket), prefix=prefix or None, chunk_size=1000)
        return [(str(meta["path"]), _info(meta)) for chunk in found for meta in chunk]

    return sorted(insist(listed, bucket, prefix))


def children(bucket: str, prefix: str) -> tuple[list[str], list[tuple[str, ObjectInfo]]]:
    """Keys of the folders right below a folder, and key and description of the objects there, sorted."""

    def listed() -> tuple[list[str], list[tuple[str, ObjectInfo]]]:
        found = obstore.list_with_delimiter(store_of(bucket), prefix=prefix or None)
        objects = sorted((str(meta["path"]), _info(meta)) for meta in found["objects"])
        return sorted(str(folder) for folder in found["common_prefixes"]), objects

    return insist(listed, bucket, prefix)


def has_below(bucket: str, prefix: str) -> bool:
    """Whether a folder holds any object."""

    def first() -> bool:
        return any(chunk for chunk in obstore.list(store_of(bucket), prefix=prefix or None, chunk_size=1))

    return insist(first, bucket, prefix)


def delete(bucket: str, keys: Iterable[str]) -> None:
    """Delete objects; those that are not there are no error."""
    named = list(keys)
    if named:
        insist(lambda: obstore.delete(store_of(bucket), named), bucket, named[0])


def probe(bucket: str, prefix: str) -> None:
    """Ask once, and not for long, whether a bucket answers; raises what `below` raises."""
    quick = _store(bucket, True, _environment())
    with told_as_oserror(bucket, prefix):
        next(iter(obstore.list(quick, prefix=prefix or None, chunk_size=1)), None)


def has_credentials() -> bool:
    """Whether the environment names credentials; a machine may still have a role of its own."""
    return any(os.environ.get(name) for name in _CREDENTIALS)


def endpoint() -> str | None:
    """The store that the environment names instead of Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def store_of(bucket: str) -> S3Store:
    """The client that a process has of a bucket, as the environment describes it now."""
    return _store(bucket, False, _environment())


def insist(call: Callable[[], Answer], bucket: str, key: str) -> Answer:
    """Call, and again where that got no whole answer, but not beyond `PATIENCE`; errors become errors of the system."""
    began, attempt = time.monotonic(), 1
    while True:
        try:
            with told_as_oserror(bucket, key):
                return call()
        except StoreUnavailable:
            if attempt == AGAIN or time.monotonic() - began > PATIENCE.total_seconds():
                raise
        time.sleep(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE).total_seconds())
        attempt += 1


@contextmanager
def told_as_oserror(bucket: str, key: str) -> Iterator[None]:
    """Tell the client's errors as what they are: errors of the system, by kind."""
    where = f"s3://{bucket}/{key}"
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise FileNotFoundError(errno.ENOENT, "no such object", where) from error
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(errno.EEXIST, "object exists", where) from error
    except exceptions.PreconditionError as error:
        raise OSError(errno.ESTALE, "changed while it was read", where) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, "the object store refuses access", where) from error
    except exceptions.BaseError as error:
        raise StoreUnavailable(errno.EIO, _first_line(error), where) from error


def _short(bucket: str, key: str, got: int, wanted: int) -> StoreUnavailable:
    return StoreUnavailable(errno.EIO, f"the answer ended after {got} bytes of {wanted}", f"s3://{bucket}/{key}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])


def _environment() -> tuple[str | None, ...]:
    return tuple(map(os.environ.get, _READ_FROM_ENVIRONMENT))


@lru_cache(maxsize=32)
def _store(bucket: str, probing: bool, environment: tuple[str | None, ...]) -> S3Store:
    """A client; `environment` is what it was read from, so that another one gets another client."""
    url = endpoint()
    options: Any = {
        "allow_http": url is not None and url.startswith("http://"),
        "connect_timeout": timedelta(seconds=5),
    }
    if probing:
        options |= {"timeout": PROBE}
        retry: Any = {"max_retries": 1, "retry_timeout": PROBE, "backoff": {"init_backoff": FIRST_PAUSE}}
    else:
        # A large answer over a slow line takes long; what counts is that it goes on.
        options |= {"timeout": timedelta(minutes=10), "read_timeout": SILENCE}
        retry = {
            "max_retries": RETRIES,
            "retry_timeout": PATIENCE,
            "backoff": {"init_backoff": FIRST_PAUSE, "max_backoff": LONGEST_PAUSE, "base": 2},
        }
    if url is None:
        return S3Store(bucket, client_options=options, retry_config=retry)
    return S3Store(bucket, endpoint=url, client_options=options, retry_config=retry)
