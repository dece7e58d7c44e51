"""Submitting a scan: fields to cut, shards to score, fields to finish; no science here."""

from __future__ import annotations

import errno
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import BadSurveyData, ConfigError, LensscanError, ModelMismatch
from pipeline.io import products
from workflows.executors import Executor, Outcome, Task
from workflows.plan import FieldPlan
from workflows.tasks import CutResult, Job, cut_field, finish_field, score_shard

ATTEMPTS = 3
"""How often a task that met an error of the system is tried, and how many deaths of a worker of its own a field has."""


@dataclass
class FieldRun:
    """A field on its way through the scan."""

    plan: FieldPlan
    redo: tuple[str, ...]
    generation: str = ""
    shards_left: int = 0
    before: dict[str, str] = field(default_factory=dict)
    """Place of what is done already and computed again."""

    @property
    def field_id(self) -> str:
        """The field's name."""
        return self.plan.field.field_id


@dataclass(frozen=True)
class Failure:
    """A field that did not get through: the stage, the reason, and the traceback where it was unexpected."""

    field_id: str
    stage: str
    reason: str
    trace: str | None = None


@dataclass(frozen=True)
class ScanResult:
    """What one call did: products written, fields that failed, retries, objects and worker seconds."""

    ran: int = 0
    failures: tuple[Failure, ...] = ()
    retries: int = 0
    cut_now: int = 0
    cut_seconds: float = 0.0
    scored_now: int = 0
    score_seconds: float = 0.0


@dataclass
class Rate:
    """Objects and the worker seconds that they took."""

    objects: int = 0
    seconds: float = 0.0

    def add(self, objects: int, seconds: float) -> None:
        """Count a task."""
        self.objects += objects
        self.seconds += seconds


class ScanAborted(LensscanError):
    """The scan could not go on; everything published stays, and the same command resumes."""


class Scan:
    """Drives fields through their stages.

    Strategy: futures, bounded in number. Cutting is one task a field; when it is done, scoring is one task a
    shard; when the last shard is done, one task publishes the scores and writes the catalogue rows. Tasks that
    finish a field go first, so that few fields are open at once. Arguments are ids, paths and frozen configs and
    results a few bytes; pixels go from worker to disk. When a worker dies, the tasks it had are suspects: the
    queue drains and they run one at a time, and only a death while alone counts against a field.
    """

    def __init__(
        self,
        job: Job,
        executor: Executor,
        *,
        on_progress: Callable[[str, int], None] = lambda what, amount: None,
    ) -> None:
        self._job = job
        self._output = Path(job.output)
        self._executor = executor
        self._progress = on_progress
        self._ready: dict[str, deque[Task]] = {stage: deque() for stage in ("finish", "score", "cut")}
        self._suspects: deque[Task] = deque()
        self._alone: str | None = None
        self._in_flight = 0
        self._runs: dict[str, FieldRun] = {}
        self._deaths: Counter[str] = Counter()
        self._failures: dict[str, Failure] = {}
        self._retries = 0
        self._ran = 0
        self._cut = Rate()
        self._scored = Rate()

    def run(self, plans: Sequence[FieldPlan], redo: Mapping[str, Sequence[str]] | None = None) -> ScanResult:
        """Bring fields to their end.

        Parameters
        ----------
        plans : sequence of FieldPlan
        redo : mapping, optional
            field_id -> stages to compute whatever is there; by default, the stages that are not done.

        Raises
        ------
        ScanAborted
            If the disk is full or the cluster is gone.
        ModelMismatch, ConfigError
            If a task finds that the scan as a whole is wrong.
        """
        for plan in plans:
            if plan.blocked and not redo:
                self._failures[plan.field.field_id] = _failure_of(plan)
                self._progress("failed", 1)
                continue
            stages = (redo or {}).get(plan.field.field_id) or [
                stage.stage for stage in plan.stages if stage.state not in ("done", "empty")
            ]
            if stages:
                self._open(FieldRun(plan, tuple(stages), before=self._places(plan, stages)))
            else:
                self._progress("field", 1)
        while self._feed() or self._in_flight:
            outcome = self._executor.next_outcome()
            self._in_flight -= 1
            self._take(outcome)
        return ScanResult(
            self._ran,
            tuple(self._failures.values()),
            self._retries,
            self._cut.objects,
            self._cut.seconds,
            self._scored.objects,
            self._scored.seconds,
        )

    def _places(self, plan: FieldPlan, stages: Sequence[str]) -> dict[str, str]:
        again = [stage.stage for stage in plan.stages if stage.stage in stages and stage.state in ("done", "empty")]
        live = {stage: products.live_manifest(self._output, plan.field.field_id, stage) for stage in again}
        return {stage: manifest.place for stage, manifest in live.items() if manifest is not None}

    def _open(self, run: FieldRun) -> None:
        self._runs[run.field_id] = run
        self._ready["cut"].append(
            Task(
                f"cut/{run.field_id}",
                cut_field,
                {
                    "job": self._job,
                    "field": run.plan.field,
                    "wanted": {stage.stage: stage.fingerprint for stage in run.plan.stages},
                    "redo": run.redo,
                    "provenance": run.plan.provenance,
                },
                "cut",
                run.field_id,
            )
        )

    def _feed(self) -> bool:
        """Submit what may be submitted; False when nothing is ready."""
        if self._suspects:
            if self._in_flight == 0:
                task = self._suspects.popleft()
                self._alone = task.key
                self._submit(task)
            return True
        self._alone = None
        while self._in_flight < 2 * self._executor.capacity:
            queue = next((queue for queue in self._ready.values() if queue), None)
            if queue is None:
                break
            task = queue.popleft()
            if task.field_id not in self._failures:
                self._submit(task)
        return any(self._ready.values())

    def _submit(self, task: Task) -> None:
        self._in_flight += 1
        self._executor.submit(task)

    def _take(self, outcome: Outcome) -> None:
        task = outcome.task
        if task.field_id in self._failures:
            return
        if outcome.error is not None:
            self._take_error(outcome, outcome.error)
            return
        run = self._runs[task.field_id]
        if task.function is cut_field:
            self._after_cut(run, outcome.value)
        elif task.function is score_shard:
            self._scored.add(outcome.value.rows, outcome.value.seconds)
            self._progress("scored", outcome.value.rows)
            run.shards_left -= 1
            if run.shards_left == 0:
                self._finish(run)
        else:
            self._close(run, outcome.value)

    def _after_cut(self, run: FieldRun, result: CutResult) -> None:
        self._ran += len(result.wrote)
        if "cutouts" in result.wrote:
            self._cut.add(result.rows, result.seconds)
        self._progress("cut", result.rows)
        if self._job.ensemble is None:
            self._close(run, ())
            return
        if "score" not in run.redo:
            self._finish(run)
            return
        run.generation = result.score_generation
        run.shards_left = len(result.shards)
        for index in result.shards:
            self._ready["score"].append(
                Task(
                    f"score/{run.field_id}/{index}",
                    score_shard,
                    {"job": self._job, "field_id": run.field_id, "index": index, "generation": run.generation},
                    "score",
                    run.field_id,
                )
            )
        if run.shards_left == 0:
            self._finish(run)

    def _finish(self, run: FieldRun) -> None:
        self._ready["finish"].append(
            Task(
                f"finish/{run.field_id}",
                finish_field,
                {
                    "job": self._job,
                    "field": run.plan.field,
                    "wanted": {stage.stage: stage.fingerprint for stage in run.plan.stages},
                    "redo": run.redo,
                    "generation": run.generation,
                    "geometry": run.plan.geometry,
                    "neighbours": run.plan.neighbours,
                    "provenance": run.plan.provenance,
                },
                "score" if self._job.maps else "cut",
                run.field_id,
            )
        )

    def _close(self, run: FieldRun, wrote: tuple[str, ...]) -> None:
        self._ran += len(wrote)
        products.clear_failure(self._output, run.field_id)
        del self._runs[run.field_id]
        self._progress("field", 1)

    def _take_error(self, outcome: Outcome, error: BaseException) -> None:
        task = outcome.task
        if isinstance(error, ModelMismatch | ConfigError):
            raise error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ScanAborted(
                f"no space left in {self._output} (at {task.key}); nothing published is lost: "
                "free some space and run the same command, it resumes."
            ) from error
        if outcome.worker_died:
            if isinstance(error, ConnectionError):
                raise ScanAborted("the Dask scheduler is gone; run the same command again, it resumes.") from error
            self._take_death(task)
        elif isinstance(error, OSError) and task.attempt < ATTEMPTS:
            self._retries += 1
            self._submit(replace(task, attempt=task.attempt + 1))
        else:
            self._fail(task, error)

    def _take_death(self, task: Task) -> None:
        self._retries += 1
        if self._alone == task.key:
            self._deaths[task.field_id] += 1
        if self._deaths[task.field_id] >= ATTEMPTS:
            reason = f"killed {ATTEMPTS} workers that did nothing else, at {task.key}; look at its memory or its files."
            self._fail(task, BadSurveyData(reason))
        else:
            self._suspects.append(replace(task, attempt=task.attempt + 1))

    def _fail(self, task: Task, error: BaseException) -> None:
        run = self._runs.pop(task.field_id)
        mine = _stages_of(task, run)
        wrote = [stage for stage in mine if self._published(run, stage)]
        self._ran += len(wrote)
        # The fingerprint of the stage that failed, and of none before it, changes when what was wrong is mended.
        stage = next((stage for stage in mine if stage not in wrote), mine[-1])
        expected = isinstance(error, LensscanError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        trace = None if expected else "".join(traceback.format_exception(error))
        self._failures[task.field_id] = Failure(task.field_id, stage, reason, trace)
        again = not isinstance(error, BadSurveyData)
        products.record_failure(self._output, task.field_id, stage, run.plan.fingerprint(stage), reason, again=again)
        self._progress("failed", 1)

    def _published(self, run: FieldRun, stage: str) -> bool:
        """Whether this run has published a stage, so that a failure is of a later one."""
        live = products.live_manifest(self._output, run.field_id, stage)
        wanted = run.plan.fingerprint(stage)
        return live is not None and live.fingerprint == wanted and live.place != run.before.get(stage)


def _stages_of(task: Task, run: FieldRun) -> tuple[str, ...]:
    """The stages that a task has to write, one of which is to blame for its failure."""
    within: dict[Any, tuple[str, ...]] = {
        cut_field: ("masks", "detect", "cutouts"),
        score_shard: ("score",),
        finish_field: ("score", "candidates"),
    }
    return tuple(stage for stage in within[task.function] if stage in run.redo) or within[task.function][:1]


def _failure_of(plan: FieldPlan) -> Failure:
    stage = next((stage.stage for stage in plan.stages if stage.state == "failed"), "masks")
    return Failure(plan.field.field_id, stage, plan.reason or "failed before")
