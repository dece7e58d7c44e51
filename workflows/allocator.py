"""Freed memory that stays in the process: `WORKER_ENVIRONMENT` for a process that runs already."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Parameters of `mallopt` in glibc's malloc.h."""

_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed for the next request, instead of handing it back to the kernel.

    A network's activations are buffers of many megabytes, taken and freed at every layer; each trip to the kernel and
    back costs page faults that a forward pass feels. Settings in the environment
    (`MALLOC_TRIM_THRESHOLD_` and the like) are left alone.

    Returns
    -------
    bool
        Whether it was done; False without glibc, and where the environment decides.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        # Another C library: musl, macOS, Windows.
        return False
    return all(
        mallopt(name, value) for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST_INT), (_ARENA_MAX, 1))
    )
