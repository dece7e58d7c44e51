"""What every worker process needs in its environment before it starts, whoever starts it."""

from __future__ import annotations

import os

import dask

WORKER_ENVIRONMENT = {
    # glibc hands big activation buffers back to the kernel after every layer; keeping them is several times faster.
    # Tasks run in threads, whose own arenas are made of 64 MB heaps that are handed back whole: one arena for all.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

NANNY_MB = 200.0
"""What the process that watches a worker takes beside it, MB: jobs and pods ask for that much more."""


def prepare_children() -> None:
    """Have worker processes that this one starts inherit `WORKER_ENVIRONMENT`.

    The first cluster of a process leaks its workers' malloc and thread settings into this process's environment, and
    those then beat the configuration of the next; so the right ones are set on both before it starts.
    """
    os.environ.update(WORKER_ENVIRONMENT)
    dask.config.set({f"distributed.nanny.pre-spawn-environ.{key}": value for key, value in WORKER_ENVIRONMENT.items()})
