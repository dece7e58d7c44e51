"""Dask clusters by configuration, with the worker environment that scoring needs.

`config` says what can be asked for; `machine`, `address`, `slurm` and `kubernetes` start or join it; `checks` tell what
is wrong with it before any work starts, and `newcomers` holds workers that come later to the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client

from workflows.cluster.address import joined
from workflows.cluster.checks import (
    check_same_code,
    device_kind,
    device_kinds,
    require_ensemble,
    require_gpus,
    require_memory,
    require_places,
)
from workflows.cluster.config import ClusterConfig, cluster_config
from workflows.cluster.environment import WORKER_ENVIRONMENT
from workflows.cluster.kubernetes import kubernetes_cluster
from workflows.cluster.machine import gpus_cluster, local_cluster
from workflows.cluster.newcomers import refuse_others
from workflows.cluster.slurm import slurm_cluster
from workflows.executors import DaskExecutor, Executor, SerialExecutor

__all__ = [
    "WORKER_ENVIRONMENT",
    "ClusterConfig",
    "cluster_config",
    "device_kind",
    "device_kinds",
    "executor_for",
    "local_cluster",
    "refuse_others",
    "require_ensemble",
    "require_memory",
    "require_places",
]


@contextmanager
def executor_for(config: ClusterConfig) -> Iterator[tuple[Executor, Client | None]]:
    """Start or join a cluster and give an executor on it, with its client (None for the serial one).

    Raises
    ------
    ConfigError
        If the cluster cannot be reached or started, has no workers in time, or workers run other code than this
        process.
    """
    if config.kind == "serial":
        yield SerialExecutor(), None
        return
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.worker-saturation": 1.0,
            # Every connection keeps its last messages, for those who debug Dask: tens of megabytes of tasks.
            "distributed.admin.low-level-log-length": 10,
        }
    )
    with _client(config) as client:
        if config.kind not in ("local", "gpus"):
            check_same_code(client)
        if config.asks_for_gpus:
            require_gpus(client)
        yield DaskExecutor(client), client


@contextmanager
def _client(config: ClusterConfig) -> Iterator[Client]:
    if config.kind == "address":
        with joined(config) as client:
            yield client
    elif config.kind == "slurm":
        with slurm_cluster(config) as client:
            yield client
    elif config.kind == "kubernetes":
        with kubernetes_cluster(config) as client:
            yield client
    else:
        start = gpus_cluster if config.kind == "gpus" else local_cluster
        with start(config) as cluster, Client(cluster, set_as_default=False) as client:
            yield client
