"""The next thing is made while the caller works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The items in their order, each made in one thread while the ones before are worked on.

    Parameters
    ----------
    items : iterator
        What it raises is raised here, at the item's place.
    depth : int
        Items that are made ahead; so many more are in memory at a time.
    """
    with ThreadPoolExecutor(1) as maker:
        waiting = deque(maker.submit(next, items, _END) for _ in range(depth))
        while True:
            item = waiting.popleft().result()
            if item is _END:
                return
            waiting.append(maker.submit(next, items, _END))
            yield item  # type: ignore[misc]
