"""Where tasks run: in this process, or on a Dask cluster; one interface, so that tests compare the two."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from distributed import Client, Future, as_completed
from distributed.scheduler import KilledWorker

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Task:
    """A function to call with small, picklable arguments.

    Attributes
    ----------
    key : str
        Readable and unique in the scan, such as `score/field/3`.
    function : callable
    arguments : mapping
        Keyword arguments: ids, paths and frozen configs, never pixels.
    resource : str
        The abstract resource, `cut` or `score`, that a worker must offer.
    field_id : str
        What the task is about.
    """

    key: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    resource: str
    field_id: str
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the error, and whether the error was its worker's death."""

    task: Task
    value: Any = None
    error: BaseException | None = None
    worker_died: bool = field(default=False)


class Executor(Protocol):
    """Runs tasks; `capacity` is how many can be under way at once."""

    capacity: int

    def submit(self, task: Task) -> None:
        """Queue a task."""
        ...

    def next_outcome(self) -> Outcome:
        """Wait for one task to end."""
        ...


class SerialExecutor:
    """Runs each task in this process when its outcome is asked for."""

    capacity = 1

    def __init__(self) -> None:
        self._queue: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._queue.append(task)

    def next_outcome(self) -> Outcome:
        """Run the oldest task."""
        task = self._queue.popleft()
        try:
            return Outcome(task, task.function(**task.arguments))
        except Exception as error:  # the edge of a task: what it was goes into the field's record
            return Outcome(task, error=error)


class DaskExecutor:
    """Runs tasks on a Dask cluster.

    Strategy: one future a task, no graph; the caller bounds how many are pending. A task whose worker dies is
    not retried by the scheduler (`allowed-failures` 0) but handed back, because only the caller can run the
    suspects one at a time and so tell the poison from its neighbours.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks: dict[str, Task] = {}
        self._done = as_completed([], loop=client.loop)
        self.capacity = max(1, sum(client.nthreads().values()))

    def submit(self, task: Task) -> None:
        """Send a task to the cluster."""
        future = self._client.submit(
            task.function,
            **task.arguments,
            key=f"{task.key}#{task.attempt}",
            pure=False,
            resources={task.resource: 1},
            retries=0,
        )
        self._tasks[str(future.key)] = task
        self._done.add(future)

    def next_outcome(self) -> Outcome:
        """Wait for any task."""
        future: Future = next(self._done)
        task = self._tasks.pop(str(future.key))
        try:
            if future.cancelled():
                return Outcome(task, error=ConnectionError("the cluster cancelled the task"), worker_died=True)
            error = future.exception()
            if error is None:
                return Outcome(task, future.result())
            error = error.with_traceback(future.traceback())
            return Outcome(task, error=error, worker_died=isinstance(error, KilledWorker))
        finally:
            future.release()


def require_resources(client: Client, needed: set[str]) -> None:
    """Check that some worker offers each resource; a task whose resource nobody has would wait for ever.

    Raises
    ------
    ConfigError
        Naming what is missing and how a worker declares it.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    offered = {name for worker in workers.values() for name, amount in worker["resources"].items() if amount >= 1}
    missing = sorted(needed - offered)
    if missing:
        raise ConfigError(
            f"no worker of the cluster offers {', '.join(missing)}; start workers with "
            f'--resources "{" ".join(f"{name}=1" for name in missing)}".'
        )
