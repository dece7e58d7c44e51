"""Where tasks run: in this process, or on a Dask cluster; one interface, so that tests compare the two."""

from __future__ import annotations

import resource
import sys
import time
import uuid
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from distributed import Client, Future, as_completed
from distributed.protocol import pickle
from distributed.scheduler import KilledWorker

from pipeline.errors import ConfigError

Kind = Literal["whole", "cut", "score", "finish"]

PRIORITY: Mapping[Kind, int] = {"finish": 2, "score": 1, "whole": 0, "cut": 0}
"""Tasks that bring a field nearer to its end go first, so that few fields are open at once."""

SLOTS_FOR = 5.0
"""Seconds that a count of the cluster's slots holds; workers come and go."""


@dataclass(frozen=True)
class Task:
    """A function to call with small, picklable arguments.

    Attributes
    ----------
    key : str
        Readable and unique in the scan, such as `score/field/3`.
    kind : {"whole", "cut", "score", "finish"}
        What it does for its field.
    function : callable
    arguments : mapping
        Keyword arguments: ids, paths and frozen configs, never pixels.
    resources : tuple of str
        The abstract resources, of `cut` and `score`, that a worker must offer.
    field_id : str
        What the task is about.
    attempt : int
        How often it was sent, this time included.
    """

    key: str
    kind: Kind
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    resources: tuple[str, ...]
    field_id: str
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the error, and whether the error was its worker's death.

    `seconds` is how long its function ran, `peak_mb` the largest resident memory that its process ever had; both are 0
    where that is not known.
    """

    task: Task
    value: Any = None
    error: BaseException | None = None
    worker_died: bool = False
    seconds: float = 0.0
    peak_mb: float = 0.0


class Executor(Protocol):
    """Runs tasks."""

    def slots(self) -> Mapping[str, int]:
        """How many tasks can run at the same time, as of now, of those that ask for `cut`, `score` and `both`."""
        ...

    def workers(self) -> int:
        """How many tasks can run at the same time, as of now."""
        ...

    def submit(self, task: Task) -> None:
        """Queue a task."""
        ...

    def next_outcome(self) -> Outcome:
        """Wait for one task to end."""
        ...

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function once in every process that runs tasks, and wait."""
        ...


def observed(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, float, float]:
    """A function's value, its seconds, and the largest resident memory in MB that this process has had."""
    began = time.monotonic()
    value = function(**arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value, time.monotonic() - began, peak / (1e6 if sys.platform == "darwin" else 1e3)


def unpacked(packed: bytes) -> tuple[Any, float, float]:
    """What `observed` gives for a pickled function and its arguments.

    Pickled apart, because a scheduler unpickles what it is sent: it would load torch and every class of the arguments.
    """
    return observed(*pickle.loads(packed))


class SerialExecutor:
    """Runs each task in this process when its outcome is asked for."""

    def __init__(self) -> None:
        self._queue: deque[Task] = deque()

    def slots(self) -> Mapping[str, int]:
        """One of each."""
        return {"cut": 1, "score": 1, "both": 1}

    def workers(self) -> int:
        """One."""
        return 1

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._queue.append(task)

    def next_outcome(self) -> Outcome:
        """Run the oldest task."""
        task = self._queue.popleft()
        try:
            value, seconds, peak = observed(task.function, task.arguments)
        except Exception as error:  # the edge of a task: what it was goes into the field's record
            return Outcome(task, error=error)
        return Outcome(task, value, seconds=seconds, peak_mb=peak)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call it here."""
        function(*arguments)


class DaskExecutor:
    """Runs tasks on a Dask cluster.

    Strategy: one future a task, no graph; the caller bounds how many are pending. A task whose worker dies is
    not retried by the scheduler (`allowed-failures` 0) but handed back, because only the caller can run the
    suspects one at a time and so tell the poison from its neighbours.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # A task of a killed client may still run on its worker; the same key would be answered with its result.
        self._run = uuid.uuid4().hex[:6]
        self._tasks: dict[str, Task] = {}
        self._done = as_completed([], loop=client.loop)
        self._ended: deque[Outcome] = deque()
        self._counted = -SLOTS_FOR
        self._slots: dict[str, int] = {}
        self._workers = 1

    def slots(self) -> Mapping[str, int]:
        """What the workers that are there declare, a thread running one task at a time."""
        self._count()
        return self._slots

    def workers(self) -> int:
        """Threads of the workers that are there, at least one."""
        self._count()
        return self._workers

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._counted < SLOTS_FOR:
            return
        self._counted = now
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        wanted = {"cut": ("cut",), "score": ("score",), "both": ("cut", "score")}
        self._slots = {
            name: sum(
                min(worker["nthreads"], *(int(worker["resources"].get(one, 0)) for one in needed)) for worker in workers
            )
            for name, needed in wanted.items()
        }
        self._workers = max(1, sum(worker["nthreads"] for worker in workers))

    def submit(self, task: Task) -> None:
        """Send a task to the cluster."""
        future = self._client.submit(
            unpacked,
            pickle.dumps((task.function, task.arguments)),
            key=f"{task.key}#{task.attempt}-{self._run}",
            pure=False,
            resources=dict.fromkeys(task.resources, 1),
            priority=PRIORITY[task.kind],
            retries=0,
        )
        self._tasks[str(future.key)] = task
        self._done.add(future)

    def next_outcome(self) -> Outcome:
        """Wait for any task."""
        while not self._ended:
            self._collect(self._done.next_batch(block=True))
        return self._ended.popleft()

    def _collect(self, futures: Sequence[Future]) -> None:
        """Ask once for the values of all that have ended by now; asking one by one takes longer than the tasks."""
        finished = [future for future in futures if future.status == "finished"]
        lost = ConnectionError("the cluster cancelled the task")
        try:
            values = dict(zip((future.key for future in finished), self._client.gather(finished), strict=True))
        except (CancelledError, OSError):
            values = {}
        for future in futures:
            task = self._tasks.pop(str(future.key))
            if future.key in values:
                value, seconds, peak = values[future.key]
                self._ended.append(Outcome(task, value, seconds=seconds, peak_mb=peak))
            elif future.cancelled() or future.status == "finished":
                self._ended.append(Outcome(task, error=lost, worker_died=True))
            else:
                error = future.exception()
                error = error.with_traceback(future.traceback())
                self._ended.append(Outcome(task, error=error, worker_died=isinstance(error, KilledWorker)))
            future.release()

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call it on every worker; one that is lost meanwhile is passed over."""
        self._client.run(function, *arguments, on_error="ignore")


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
