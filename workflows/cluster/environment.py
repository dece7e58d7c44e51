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

JOB_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    # `python -m` looks into the working directory first, and a user's folder `pipeline` there would be ours.
    "PYTHONSAFEPATH": "1",
}
"""For workers that a command starts, in jobs and in pods."""

SCHEDULER_ENVIRONMENT = {
    # A task whose worker died is given back to the scan, which alone can tell poison from its neighbours.
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
}
"""For a scheduler that a command starts; one in this process is told by Dask's configuration."""

NANNY_MB = 200.0
"""What the process that watches a worker takes beside it, MB: jobs and pods ask for that much more."""


def prepare_children() -> None:
    """Have worker processes that this one starts inherit `WORKER_ENVIRONMENT`.

    The first cluster of a process leaks its workers' malloc and thread settings into this process's environment, and
    those then beat the configuration of the next; so the right ones are set on both before it starts.
    """
    os.environ.update(WORKER_ENVIRONMENT)
    dask.config.set({f"distributed.nanny.pre-spawn-environ.{key}": value for key, value in WORKER_ENVIRONMENT.items()})
