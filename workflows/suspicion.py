"""Which task is to blame for workers that die: poison is told from its neighbours, and from nodes taken away."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from workflows.executors import Task

IN_COMPANY = 2
"""Deaths of its worker after which a task runs alone; one says nothing: a node was taken, a neighbour was poison."""

ALONE = 3
"""Deaths of its worker while nothing else ran, after which a task's field is given up."""


class Suspicion:
    """Counts the deaths that tasks were near.

    A dead worker doesn't tell which of its tasks killed it, or whether any did. So a task that was on it is sent again;
    one that has been near `IN_COMPANY` deaths is a suspect, which runs while nothing else does, and only deaths of
    a suspect's worker count against it. Its field is given up after `IN_COMPANY + ALONE` deaths of one task;
    neighbours that were on the same workers are cleared by running alone.
    """

    def __init__(self) -> None:
        self._near: Counter[str] = Counter()
        self._against: Counter[str] = Counter()
        self._suspects: deque[Task] = deque()
        self._alone: str | None = None

    def __bool__(self) -> bool:
        """Whether a task waits to run alone."""
        return bool(self._suspects)

    def died(self, task: Task) -> Task | None:
        """Take note of a death; gives the task as it is to be sent again at once, None for a suspect that waits."""
        again = replace(task, attempt=task.attempt + 1)
        if self._alone == task.key:
            self._against[task.key] += 1
            self._suspects.append(again)
            return None
        self._near[task.key] += 1
        if self._near[task.key] < IN_COMPANY:
            return again
        self._suspects.append(again)
        return None

    def convicted(self, task: Task) -> bool:
        """Whether a task has used up its deaths."""
        return self._against[task.key] >= ALONE

    def release(self, field_id: str) -> None:
        """Forget the suspects of a field that is given up."""
        self._suspects = deque(task for task in self._suspects if task.field_id != field_id)

    def next_alone(self) -> Task:
        """The next suspect, to be run while nothing else is."""
        task = self._suspects.popleft()
        self._alone = task.key
        return task

    def company(self) -> None:
        """Nobody runs alone any more."""
        self._alone = None
