"""Pictures that were made once are kept, and none is made twice at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future


class Cache:
    """Bytes by key, the ones used last, up to `limit` bytes together. Any thread may call.

    Parameters
    ----------
    limit : int
    at_once : int
        Pictures that are made at the same time; the next ones wait.
    """

    def __init__(self, limit: int, at_once: int = 2) -> None:
        self._limit, self._held = limit, 0
        self._kept: OrderedDict[Hashable, Future[bytes]] = OrderedDict()
        self._lock, self._turns = threading.Lock(), threading.Semaphore(at_once)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What `make` gives, from before if it was asked for before; what it raises is raised and not kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            else:
                mine: Future[bytes] = Future()
                self._kept[key] = mine
        if found is not None:
            return found.result()
        try:
            with self._turns:
                made = make()
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(made)
        self._make_room(len(made))
        return made

    def drop(self, key: Hashable) -> None:
        """Forget a picture, if it is done."""
        with self._lock:
            future = self._kept.get(key)
            if future is not None and future.done() and future.exception() is None:
                self._held -= len(self._kept.pop(key).result())

    def _make_room(self, added: int) -> None:
        with self._lock:
            self._held += added
            for key, future in list(self._kept.items()):
                if self._held <= self._limit or len(self._kept) == 1:
                    break
                if future.done() and future.exception() is None:
                    self._held -= len(future.result())
                    del self._kept[key]
