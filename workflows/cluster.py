"""Dask clusters by configuration, with the worker environment that scoring needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import dask
from distributed import Client, LocalCluster
from pydantic import Field, model_validator

import pipeline
import workflows
from pipeline.config import Megabytes, Seconds, StrictModel, find, load
from pipeline.errors import ConfigError
from workflows.executors import DaskExecutor, Executor, SerialExecutor

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


class ClusterConfig(StrictModel):
    """Where a scan runs.

    Attributes
    ----------
    kind : {"local", "address", "serial"}
        Processes on this machine, a scheduler that runs already, or no cluster at all.
    workers : int
        Processes of a local cluster; 0 for one a core.
    memory : float, MB
        Limit of each local worker; 0-free: leave out for a fair share of the machine.
    address : str or None
        Of the scheduler, such as `tcp://host:8786`.
    dashboard : str
        Where the local cluster serves its dashboard; ":0" takes any free port.
    wait : float, s
        How long to wait for the first worker of an address.
    """

    kind: Literal["local", "address", "serial"] = "local"
    workers: int = Field(0, ge=0)
    memory: Megabytes | None = None
    address: str | None = None
    dashboard: str = "127.0.0.1:0"
    wait: Seconds = Field("60 s", validate_default=True)

    @model_validator(mode="after")
    def _address_where_needed(self) -> ClusterConfig:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError('kind = "address" needs an address, and only that kind has one')
        return self


def cluster_config(reference: str | None) -> ClusterConfig:
    """The cluster that `--cluster` means: an address with `://`, a file, or a shipped name; local if None.

    Raises
    ------
    ConfigError
        If the reference is none of these.
    """
    if reference is None:
        return ClusterConfig()
    if "://" in reference:
        return ClusterConfig(kind="address", address=reference)
    return load(ClusterConfig, find(reference, "clusters"))


@contextmanager
def executor_for(config: ClusterConfig) -> Iterator[tuple[Executor, Client | None]]:
    """Start or join a cluster and give an executor on it, with its client (None for the serial one).

    Raises
    ------
    ConfigError
        If the scheduler does not answer, has no workers in time, or workers run other code than this process.
    """
    if config.kind == "serial":
        yield SerialExecutor(), None
        return
    dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0})
    if config.kind == "address":
        with _join(str(config.address), config.wait) as client:
            check_same_code(client)
            yield DaskExecutor(client), client
        return
    with local_cluster(config) as cluster, Client(cluster, set_as_default=False) as client:
        yield DaskExecutor(client), client


@contextmanager
def local_cluster(config: ClusterConfig) -> Iterator[LocalCluster]:
    """Start worker processes on this machine with the environment that scoring needs."""
    # The first cluster of a process leaks its workers' malloc and thread settings into this process's environment,
    # and those then beat the configuration of the next; so the right ones are set on both before it starts.
    os.environ.update(WORKER_ENVIRONMENT)
    dask.config.set({f"distributed.nanny.pre-spawn-environ.{key}": value for key, value in WORKER_ENVIRONMENT.items()})
    limit = f"{config.memory:.0f}MB" if config.memory is not None else "auto"
    with LocalCluster(
        n_workers=config.workers or os.cpu_count() or 1,
        threads_per_worker=1,
        processes=True,
        memory_limit=limit,
        dashboard_address=config.dashboard,
        resources={"cut": 1, "score": 1},
        env=WORKER_ENVIRONMENT,
        # A failed task's traceback goes into the run record; workers need not print it as well.
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


@contextmanager
def _join(address: str, wait: float) -> Iterator[Client]:
    try:
        client = Client(address, timeout=wait, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address} ({error}); check the address.") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=wait)
        except TimeoutError as error:
            raise ConfigError(f"the cluster at {address} had no worker within {wait:g} s; start some.") from error
        yield client


def source_digest() -> str:
    """The sha256 of every Python file of the packages `pipeline` and `workflows`, as they are imported here."""
    digest = sha256()
    for package in (pipeline, workflows):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def check_same_code(client: Client) -> None:
    """Check that every worker imports the same `pipeline` and `workflows` and the same versions as this process.

    Both names are generic: a user's own folder can shadow them on a worker.

    Raises
    ------
    ConfigError
        Naming the workers that differ.
    """
    mine = source_digest()
    theirs = client.run(source_digest, on_error="return")
    other = sorted(worker for worker, digest in theirs.items() if digest != mine)
    if other:
        raise ConfigError(
            f"workers {', '.join(other)} import other code as `pipeline` and `workflows` than this process; "
            "install the same lensscan there, and start workers outside folders of those names."
        )
    try:
        client.get_versions(check=True, packages=["numpy", "torch", "zarr", "sep", "astropy", "pyarrow"])
    except ValueError as error:
        raise ConfigError(f"the cluster's software differs from this process's: {error}") from error


def device_kinds(client: Client | None, wanted: str) -> set[str]:
    """The kinds of device ("cpu", or the GPU's name) that tasks will score on."""
    if client is None:
        return {device_kind(wanted)}
    return set(client.run(device_kind, wanted).values())


def device_kind(wanted: str) -> str:
    """The kind of device this process would score on: "cpu", or the GPU's name.

    Raises
    ------
    ConfigError
        If a GPU is asked for and there is none.
    """
    import torch

    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise ConfigError('score.device = "cuda", but no GPU is visible here; use "auto" or "cpu".')
    return str(torch.cuda.get_device_name()) if present and wanted != "cpu" else "cpu"
