"""Counts, rate and time left of a scan while it runs, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workflows.executors import Executor
from workflows.job import Job
from workflows.plan import Plan
from workflows.results import ScanResult
from workflows.scan import Scan

QUIET_INTERVAL = 10.0
"""Seconds between lines where standard error is no terminal."""


class ScanProgress:
    """Shows fields done and failed, objects cut and scored, scores a second and the time left."""

    def __init__(self, fields: int, dashboard: str | None = None) -> None:
        self._console = Console(file=sys.stderr)
        self._fields = fields
        self._done = 0
        self._failed = 0
        self._cut = 0
        self._scored = 0
        self._began = time.monotonic()
        self._last = self._began
        self._bar = Progress(
            TextColumn("fields"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("fields", total=fields, text="")
        if dashboard:
            self._console.print(f"Dask dashboard: {dashboard}", highlight=False)

    def __enter__(self) -> ScanProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, what: str, amount: int) -> None:
        """Count `amount` of "field", "failed", "cut" or "scored"."""
        if what == "cut":
            self._cut += amount
        elif what == "scored":
            self._scored += amount
        else:
            self._done += 1
            self._failed += what == "failed"
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        rate = self._scored / max(now - self._began, 1e-3)
        text = f"{self._cut:,} cut, {self._scored:,} scored, {rate:,.0f}/s"
        if self._failed:
            text += f", {self._failed} failed"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, text=text)
        elif now - self._last >= QUIET_INTERVAL or self._done == self._fields:
            self._last = now
            left = (now - self._began) * (self._fields - self._done) / self._done if self._done else None
            tail = f", about {left:,.0f} s left" if left else ""
            self._console.print(f"{self._done}/{self._fields} fields: {text}{tail}", highlight=False)


def drive(
    job: Job,
    executor: Executor,
    chosen: Plan,
    redo: Mapping[str, tuple[str, ...]] | None,
    quiet: bool,
    dashboard: str | None,
) -> ScanResult:
    """Bring the fields of a plan to their end and, unless quiet, show how far they are."""
    if quiet:
        return Scan(job, executor).run(chosen, redo)
    with ScanProgress(len(chosen), dashboard) as progress:
        return Scan(job, executor, on_progress=progress.advance).run(chosen, redo)
