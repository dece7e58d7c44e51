"""Worker processes on this machine: on its cores alone, or on its GPUs and the cores that they leave."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distributed import LocalCluster, Nanny, Scheduler
from distributed.deploy import Cluster
from distributed.deploy.spec import SpecCluster

from pipeline.errors import ConfigError
from workflows.cluster.config import ClusterConfig
from workflows.cluster.environment import WORKER_ENVIRONMENT, prepare_children
from workflows.results import ScanAborted

TASKS_A_GPU = 2
"""Tasks that a GPU's worker has under way: one reads while the other computes."""


@contextmanager
def local_cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """Start worker processes on this machine's cores with the environment that scoring needs."""
    prepare_children()
    with _started(
        LocalCluster,
        n_workers=config.workers or os.cpu_count() or 1,
        threads_per_worker=1,
        processes=True,
        memory_limit=_limit(config),
        dashboard_address=config.dashboard,
        resources={"cut": 1, "score": 1},
        env=WORKER_ENVIRONMENT,
        # A failed task's traceback goes into the run record; workers need not print it as well.
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


@contextmanager
def gpus_cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """Start a worker process a GPU, which scores, and others on the cores that are left, which cut.

    Raises
    ------
    ConfigError
        If no GPU is visible, or one that is asked for.
    """
    visible = visible_gpus()
    chosen = range(len(visible)) if config.devices is None else config.devices
    if not chosen or not all(0 <= number < len(visible) for number in chosen):
        wanted = "" if config.devices is None else f" {list(config.devices)}"
        raise ConfigError(
            f'kind = "gpus" finds no GPU{wanted}: torch sees {len(visible)} here. Check driver, CUDA_VISIBLE_DEVICES'
            f' and that torch is a CUDA build, or scan on the cores with kind = "local".'
        )
    prepare_children()
    cores = config.workers or max(1, (os.cpu_count() or 1) - len(chosen))
    with _started(
        SpecCluster,
        workers=node_workers([visible[number] for number in chosen], cores, _limit(config)),
        scheduler={
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": config.dashboard},
        },
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


@contextmanager
def _started(kind: type[Cluster], **options: Any) -> Iterator[Cluster]:
    """A cluster of processes of this machine, for as long as it is needed.

    Raises
    ------
    ScanAborted
        If its processes do not come up, as when one of them is killed meanwhile.
    """
    try:
        cluster = kind(**options)
    except (RuntimeError, OSError, TimeoutError) as error:
        raise ScanAborted(
            f"the worker processes did not start ({_first_line(error)}); look at this machine's memory, then run the "
            f"same command again, it resumes."
        ) from error
    with cluster:
        yield cluster


def _first_line(error: BaseException) -> str:
    """The first line of the error that began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def node_workers(gpus: Sequence[str], cores: int, memory_limit: str) -> dict[str, dict[str, Any]]:
    """Dask's specification of the workers of a node: name -> class and options.

    Parameters
    ----------
    gpus : sequence of str
        What CUDA_VISIBLE_DEVICES calls each.
    cores : int
        Workers that cut.
    memory_limit : str
        Of each worker, as Dask writes it.
    """
    shared = {"memory_limit": memory_limit, "silence_logs": logging.CRITICAL}
    scoring = {
        f"score-{number}": {
            **shared,
            "nthreads": TASKS_A_GPU,
            "resources": {"score": TASKS_A_GPU},
            "env": {**WORKER_ENVIRONMENT, "CUDA_VISIBLE_DEVICES": gpu},
        }
        for number, gpu in enumerate(gpus)
    }
    cutting = {
        f"cut-{number}": {
            **shared,
            "nthreads": 1,
            "resources": {"cut": 1},
            "env": {**WORKER_ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
        }
        for number in range(cores)
    }
    return {name: {"cls": Nanny, "options": options} for name, options in {**scoring, **cutting}.items()}


def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that this process may use; empty without any."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count]) if named else tuple(str(number) for number in range(count))


def _limit(config: ClusterConfig) -> str:
    return f"{config.memory:.0f}MB" if config.memory is not None else "auto"
