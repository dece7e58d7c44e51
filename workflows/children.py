"""Worker processes that end with whoever started them, even where that one is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from workflows.allocator import keep_freed_memory


def children(workers: int, start: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """A pool of fresh processes.

    Left alone, a worker whose starter was killed would finish its task, beside a second run of the same task, and then
    wait for ever.

    Parameters
    ----------
    workers : int
    start : callable, optional
        Called once in each process, before its first task.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=(start,))


def _start(start: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    keep_freed_memory()
    if start is not None:
        start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
