"""Submitting a scan: fields to cut, shards to score, fields to finish; no science here."""

from __future__ import annotations

import errno
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from pipeline.errors import BadSurveyData, ConfigError, LeaseLost, LensscanError, ModelMismatch
from pipeline.io import products
from pipeline.io.places import place
from workflows.deferred import Deferred
from workflows.executors import Executor, Kind, Outcome, Task
from workflows.job import Job
from workflows.plan import FieldPlan
from workflows.results import Failure, ScanAborted, ScanResult
from workflows.suspicion import ALONE, Suspicion
from workflows.task_results import CutResult, FinishResult, ScoreResult, WholeResult

ATTEMPTS = 3
"""How often a task that met an error of the system is tried."""

PENDING = 2
"""Tasks under way for each that can run, so that a worker that ends one finds the next, ..."""

AHEAD = 0.2
"""... and more of short ones, so that this many seconds of work are on their way to it, ..."""

MOST_PENDING = 32
"""... but no more than this."""

BACKLOG = 4
"""Shards for each that can be scored at a time beyond which no field is opened: cutouts must not pile up."""

_STAGES: Mapping[Kind, tuple[str, ...]] = {
    "whole": ("masks", "detect", "cutouts", "score", "candidates"),
    "cut": ("masks", "detect", "cutouts"),
    "score": ("score",),
    "finish": ("score", "candidates"),
}
"""The stages that a task has to write, one of which is to blame for its failure."""


_WHOLE = Deferred("workflows.tasks:scan_field_whole")
_CUT = Deferred("workflows.tasks:cut_field")
_SCORE = Deferred("workflows.tasks:score_shard")
_FINISH = Deferred("workflows.tasks:finish_field")


@dataclass(frozen=True)
class Steps:
    """What the tasks call; arguments and results are those of `workflows.tasks`. Benchmarks put others in."""

    whole: Callable[..., WholeResult] = _WHOLE
    cut: Callable[..., CutResult] = _CUT
    score: Callable[..., ScoreResult] = _SCORE
    finish: Callable[..., FinishResult] = _FINISH


@dataclass
class FieldRun:
    """A field on its way through the scan."""

    plan: FieldPlan
    redo: tuple[str, ...]
    generation: str = ""
    rows: int = 0
    shards_left: int = 0
    before: dict[str, str] = field(default_factory=dict)
    """Place of what is done already and computed again."""

    @property
    def field_id(self) -> str:
        """The field's name."""
        return self.plan.field.field_id


class Scan:
    """Drives fields through their stages.

    Strategy: futures, bounded in number, and fields opened one by one as there is room, so that neither a hundred
    thousand fields nor their cutouts pile up. Where every worker both cuts and scores, a field is one task, and its
    cutouts make no trip through the disk. Elsewhere, and for the last fields, which would leave workers idle, cutting
    is one task a field; when it is done, scoring is one task a shard; when the last shard is done, one task publishes
    the scores and writes the catalogue rows. Tasks that finish a field go first. Arguments are ids, paths and frozen
    configs and results a few bytes; pixels go from worker to disk. What becomes of tasks whose worker dies is
    `Suspicion`'s to say.
    """

    def __init__(
        self,
        job: Job,
        executor: Executor,
        *,
        on_progress: Callable[[str, int], None] = lambda what, amount: None,
        steps: Steps | None = None,
    ) -> None:
        self._job = job
        self._output = place(job.output)
        self._executor = executor
        self._progress = on_progress
        self._steps = steps or Steps()
        self._ready: dict[Kind, deque[Task]] = {"finish": deque(), "score": deque(), "cut": deque(), "whole": deque()}
        self._ahead: deque[FieldRun] = deque()
        self._suspicion = Suspicion()
        self._in_flight: Counter[Kind] = Counter()
        self._seconds: dict[Kind, float] = {}
        """How long a task of a kind takes, the latest counting most."""
        self._runs: dict[str, FieldRun] = {}
        self._failed: set[str] = set()
        self._noted: set[str] = set()
        """Fields of which an earlier call has noted a failure."""
        self._errors: Counter[str] = Counter()
        self.result = ScanResult()

    def run(self, plans: Iterable[FieldPlan], redo: Mapping[str, Sequence[str]] | None = None) -> ScanResult:
        """Bring fields to their end.

        Parameters
        ----------
        plans : iterable of FieldPlan
            Taken one by one as there is room for another field.
        redo : mapping, optional
            field_id -> stages to compute whatever is there; by default, the stages that are not done.

        Raises
        ------
        ScanAborted
            If the disk is full, the cluster is gone, or another process has taken the output over.
        ModelMismatch, ConfigError
            If a task finds that the scan as a whole is wrong.
        """
        began = time.monotonic()
        self._noted = set(products.failures(self._output))
        waiting = self._to_do(plans, redo)
        while True:
            self._feed(waiting)
            if not self._in_flight.total():
                break
            outcome = self._executor.next_outcome()
            self._in_flight[outcome.task.kind] -= 1
            self.result.peak_mb = max(self.result.peak_mb, outcome.peak_mb)
            if outcome.error is None:
                before = self._seconds.get(outcome.task.kind, outcome.seconds)
                self._seconds[outcome.task.kind] = 0.9 * before + 0.1 * outcome.seconds
            self._take(outcome)
        self.result.seconds = time.monotonic() - began
        return self.result

    def _to_do(self, plans: Iterable[FieldPlan], redo: Mapping[str, Sequence[str]] | None) -> Iterator[FieldRun]:
        """Fields with something to do; those that have failed before, or are done, are told of and passed over."""
        for plan in plans:
            if plan.blocked and not redo:
                self._failed.add(plan.field.field_id)
                self.result.failures.append(_failure_of(plan))
                self._progress("failed", 1)
                continue
            stages = (redo or {}).get(plan.field.field_id) or [
                stage.stage for stage in plan.stages if stage.state not in ("done", "empty")
            ]
            if stages:
                yield FieldRun(plan, tuple(stages), before=self._places(plan, stages))
            else:
                self._progress("field", 1)

    def _places(self, plan: FieldPlan, stages: Sequence[str]) -> dict[str, str]:
        again = [stage.stage for stage in plan.stages if stage.stage in stages and stage.state in ("done", "empty")]
        live = {stage: products.live_manifest(self._output, plan.field.field_id, stage) for stage in again}
        return {stage: manifest.place for stage, manifest in live.items() if manifest is not None}

    def _feed(self, waiting: Iterator[FieldRun]) -> None:
        """Submit what may be submitted; something is under way afterwards unless all is done."""
        if self._suspicion:
            if not self._in_flight.total():
                self._submit(self._suspicion.next_alone())
            return
        self._suspicion.company()
        slots = self._executor.slots()
        self._feed_ready(slots)
        while self._look_ahead(waiting):
            kind = self._way(self._ahead[0], slots)
            backlog = 0 if kind == "whole" else len(self._ready["score"])
            if not self._room(kind, slots) or backlog > BACKLOG * slots.get("score", 0):
                break
            self._open(self._ahead.popleft(), kind)
            self._feed_ready(slots)

    def _look_ahead(self, waiting: Iterator[FieldRun]) -> bool:
        """Have as many fields in sight as there are workers, and one; whether there is any."""
        self._ahead.extend(islice(waiting, max(0, self._executor.workers() + 1 - len(self._ahead))))
        return bool(self._ahead)

    def _way(self, run: FieldRun, slots: Mapping[str, int]) -> Kind:
        """By which task a field begins."""
        if not {"masks", "detect", "cutouts", "score"} & set(run.redo):
            return "finish"
        alike = slots.get("both", 0) == slots.get("cut", 0) == slots.get("score", 0)
        workers = self._executor.workers()
        enough = workers == 1 or len(self._ahead) > workers
        return "whole" if self._job.ensemble is not None and alike and enough else "cut"

    def _feed_ready(self, slots: Mapping[str, int]) -> None:
        for kind, queue in self._ready.items():
            while queue and self._room(kind, slots):
                task = queue.popleft()
                if task.field_id not in self._failed:
                    self._submit(task)

    def _room(self, kind: Kind, slots: Mapping[str, int]) -> bool:
        resource = {"score": "score", "whole": "both"}.get(kind, "cut")
        seconds = self._seconds.get(kind)
        pending = PENDING if seconds is None else min(MOST_PENDING, PENDING + int(AHEAD / max(seconds, 1e-3)))
        return self._in_flight[kind] < max(1, pending * slots.get(resource, 0))

    def _submit(self, task: Task) -> None:
        self._in_flight[task.kind] += 1
        self._executor.submit(task)

    def _open(self, run: FieldRun, kind: Kind) -> None:
        self._runs[run.field_id] = run
        if kind == "finish":
            self._finish(run)
        elif kind == "whole":
            arguments = {**self._about(run), "near": run.plan.near}
            self._queue(run, kind, self._steps.whole, arguments, ("cut", "score"))
        else:
            self._queue(run, kind, self._steps.cut, self._about(run), ("cut",))

    def _about(self, run: FieldRun) -> dict[str, Any]:
        """What every task on a whole field is told."""
        return {
            "job": self._job,
            "field": run.plan.field,
            "wanted": {stage.stage: stage.fingerprint for stage in run.plan.stages},
            "redo": run.redo,
            "provenance": run.plan.provenance,
        }

    def _queue(
        self,
        run: FieldRun,
        kind: Kind,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        resources: tuple[str, ...],
        part: str = "",
    ) -> None:
        self._ready[kind].append(
            Task(f"{kind}/{run.field_id}{part}", kind, function, arguments, resources, run.field_id)
        )

    def _take(self, outcome: Outcome) -> None:
        task = outcome.task
        if task.field_id in self._failed:
            return
        if outcome.error is not None:
            self._take_error(outcome, outcome.error)
            return
        run = self._runs[task.field_id]
        if task.kind == "whole":
            self._after_whole(run, outcome.value)
        elif task.kind == "cut":
            self._after_cut(run, outcome.value)
        elif task.kind == "score":
            self.result.scored.add(outcome.value.rows, outcome.value.seconds)
            self._progress("scored", outcome.value.rows)
            run.shards_left -= 1
            if run.shards_left == 0:
                self._finish(run)
        else:
            self.result.finished.add(outcome.value.rows, outcome.value.seconds)
            self.result.bytes_out += outcome.value.bytes_out
            self._close(run, outcome.value.wrote)

    def _after_whole(self, run: FieldRun, result: WholeResult) -> None:
        if "cutouts" in run.redo:
            self.result.cut.add(result.rows, result.cut_seconds, run.plan.area)
        if "score" in run.redo:
            self.result.scored.add(result.rows, result.score_seconds)
            self._progress("scored", result.rows)
        self.result.finished.add(result.rows, result.seconds - result.cut_seconds - result.score_seconds)
        self.result.bytes_in += result.bytes_in
        self.result.bytes_out += result.bytes_out
        self._progress("cut", result.rows)
        self._close(run, result.wrote)

    def _after_cut(self, run: FieldRun, result: CutResult) -> None:
        self.result.ran += len(result.wrote)
        run.rows = result.rows
        if "cutouts" in result.wrote:
            self.result.cut.add(result.rows, result.seconds, run.plan.area)
        self.result.bytes_in += result.bytes_in
        self.result.bytes_out += result.bytes_out
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
            arguments = {"job": self._job, "field_id": run.field_id, "index": index, "generation": run.generation}
            self._queue(run, "score", self._steps.score, arguments, ("score",), f"/{index}")
        if run.shards_left == 0:
            self._finish(run)

    def _finish(self, run: FieldRun) -> None:
        arguments = {**self._about(run), "near": run.plan.near, "generation": run.generation}
        needed = "score" if self._job.measures or self._job.config.score.embeddings else "cut"
        self._queue(run, "finish", self._steps.finish, arguments, (needed,))

    def _close(self, run: FieldRun, wrote: tuple[str, ...]) -> None:
        self.result.ran += len(wrote)
        self.result.fields += 1
        if run.field_id in self._noted:
            products.clear_failure(self._output, run.field_id)
        del self._runs[run.field_id]
        self._progress("field", 1)

    def _take_error(self, outcome: Outcome, error: BaseException) -> None:
        task = outcome.task
        if isinstance(error, ModelMismatch | ConfigError):
            raise error
        if isinstance(error, LeaseLost):
            raise ScanAborted(f"{error} Look who runs there before you run the same command again.") from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ScanAborted(
                f"no space left in {self._output} (at {task.key}); nothing published is lost: "
                "free some space and run the same command, it resumes."
            ) from error
        if outcome.worker_died:
            if isinstance(error, ConnectionError):
                raise ScanAborted("the Dask scheduler is gone; run the same command again, it resumes.") from error
            self._take_death(task)
            return
        self._errors[task.key] += 1
        if isinstance(error, OSError) and self._errors[task.key] < ATTEMPTS:
            self.result.retries += 1
            self._submit(replace(task, attempt=task.attempt + 1))
        else:
            self._fail(task, error)

    def _take_death(self, task: Task) -> None:
        self.result.retries += 1
        again = self._suspicion.died(task)
        if self._suspicion.convicted(task):
            reason = f"killed {ALONE} workers that did nothing else, at {task.key}; look at its memory or its files."
            self._suspicion.release(task.field_id)
            self._fail(task, BadSurveyData(reason))
        elif again is not None:
            self._submit(again)

    def _fail(self, task: Task, error: BaseException) -> None:
        run = self._runs.pop(task.field_id)
        mine = tuple(stage for stage in _STAGES[task.kind] if stage in run.redo) or _STAGES[task.kind][:1]
        wrote = [stage for stage in mine if self._published(run, stage)]
        self.result.ran += len(wrote)
        # The fingerprint of the stage that failed, and of none before it, changes when what was wrong is mended.
        stage = next((stage for stage in mine if stage not in wrote), mine[-1])
        expected = isinstance(error, LensscanError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        trace = None if expected else "".join(traceback.format_exception(error))
        self._failed.add(task.field_id)
        self.result.failures.append(Failure(task.field_id, stage, reason, trace))
        again = not isinstance(error, BadSurveyData)
        products.record_failure(self._output, task.field_id, stage, run.plan.fingerprint(stage), reason, again=again)
        self._progress("failed", 1)

    def _published(self, run: FieldRun, stage: str) -> bool:
        """Whether this run has published a stage, so that a failure is of a later one."""
        live = products.live_manifest(self._output, run.field_id, stage)
        wanted = run.plan.fingerprint(stage)
        return live is not None and live.fingerprint == wanted and live.place != run.before.get(stage)


def _failure_of(plan: FieldPlan) -> Failure:
    stage = next((stage.stage for stage in plan.stages if stage.state == "failed"), "masks")
    return Failure(plan.field.field_id, stage, plan.reason or "failed before")
