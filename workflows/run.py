"""What `scan`, `field` and `status` do: plan, run under the lease, add up, keep a record."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from distributed import Client

from pipeline.catalogue.diff import TableDifference, difference
from pipeline.errors import ConfigError, ProductMismatch
from pipeline.io import products
from pipeline.io.lease import Lease
from pipeline.io.tables import read_table
from workflows.cluster import ClusterConfig, device_kind, device_kinds, executor_for
from workflows.executors import require_resources
from workflows.forecast import Forecast, forecast
from workflows.plan import FieldPlan, mark_empty, stages_of
from workflows.progress import ScanProgress
from workflows.results import Failure, ScanResult
from workflows.scan import Scan
from workflows.setup import ScanSetup


@dataclass(frozen=True)
class Summary:
    """What a scan or a rerun did, and what the output holds for the fields named.

    Counts describe those fields, whether done now or before; `ran` counts products written by this call, and `notes`
    say what a person should know of fields that went on (`<field>: <text>`).
    """

    fields: int
    done: int
    empty: int
    failed: int
    ran: int
    detections: int
    cutouts: int
    scored: int
    unscorable: int
    candidates: int
    catalogue: str
    seconds: float
    notes: tuple[str, ...] = ()
    stopped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ScanOutcome:
    """A summary with the fields that failed and the forecast made before."""

    summary: Summary
    failures: tuple[Failure, ...]
    forecast: Forecast


@dataclass(frozen=True)
class FieldOutcome:
    """A rerun's summary with what changed against the catalogue before."""

    summary: Summary
    failures: tuple[Failure, ...]
    difference: TableDifference | None

    def as_dict(self) -> dict[str, Any]:
        """The summary with `new`, `gone` and `changed`, for JSON; null where the field failed."""
        change = self.difference
        counts = {
            "new": change.new if change else None,
            "gone": change.gone if change else None,
            "changed": change.changed if change else None,
        }
        return {**self.summary.as_dict(), **counts}


@dataclass(frozen=True)
class PlanReport:
    """What a scan would do.

    Attributes
    ----------
    states : mapping
        Stage -> state -> number of fields.
    products : tuple of dict
        One a field and stage: `field, stage, fingerprint, state`.
    forecast : Forecast
    """

    states: dict[str, dict[str, int]]
    products: tuple[dict[str, str], ...]
    forecast: Forecast

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {"stages": self.states, "products": list(self.products), "forecast": self.forecast.as_dict()}


def plan_report(setup: ScanSetup, cluster: ClusterConfig, fields: Sequence[str] | None = None) -> PlanReport:
    """Compare the output with what the scan wants; starts no cluster and writes nothing."""
    chosen = setup.plan(local_device(setup)).named(fields)
    rows = tuple(
        {"field": plan.field.field_id, "stage": one.stage, "fingerprint": one.fingerprint, "state": one.state}
        for plan in chosen
        for one in plan.stages
    )
    states = {
        stage: dict(Counter(row["state"] for row in rows if row["stage"] == stage)) for stage in stages_of(setup.config)
    }
    workers = 1 if cluster.kind == "serial" else cluster.workers or os.cpu_count() or 1
    return PlanReport(states, rows, forecast(setup, chosen, workers))


def local_device(setup: ScanSetup) -> str:
    """The kind of device that the last run of this output scored on, or else this process's."""
    if setup.ensemble is None:
        return "none"
    for record in reversed(products.run_records(setup.output)):
        if record.get("device"):
            return str(record["device"])
    return device_kind(setup.config.score.device)


def run_scan(
    setup: ScanSetup,
    cluster: ClusterConfig,
    *,
    fields: Sequence[str] | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> ScanOutcome:
    """Bring a survey's fields to their end; what is done already stays.

    Parameters
    ----------
    setup : ScanSetup
    cluster : ClusterConfig
    fields : sequence of str, optional
        Only these.
    retry_failed : bool
        Try quarantined fields again.
    quiet : bool
        Show no progress.

    Raises
    ------
    ProductMismatch
        If the output is another scan's, or another process writes it.
    ConfigError, ModelMismatch
        If the cluster lacks a resource, mixes devices, or a field named does not exist.
    ScanAborted
        If the disk is full or the cluster is gone.
    """
    began = time.monotonic()
    with _claimed(setup):
        with executor_for(cluster) as (executor, client):
            if client is not None:
                require_resources(client, {"cut", "score"} if setup.ensemble is not None else {"cut"})
            device = _device(setup, client)
            plan = setup.plan(device, retry_failed=retry_failed)
            chosen = plan.named(fields)
            expected = forecast(setup, chosen, executor.workers())
            dashboard = client.dashboard_link if client is not None else None
            if all(field.finished for field in chosen):
                result = ScanResult()
            else:
                result = _drive(setup, executor, chosen, None, quiet, dashboard)
        summary = _summarise(setup, chosen, result, time.monotonic() - began)
        _record(setup, summary, result, expected, executor.workers(), device)
    return ScanOutcome(summary, tuple(result.failures), expected)


def run_field(
    setup: ScanSetup, cluster: ClusterConfig, field_id: str, *, first_stage: str = "masks", quiet: bool = False
) -> FieldOutcome:
    """Compute one field again from a stage on, whatever is there, and compare its candidates with those before.

    Every other field keeps its bytes. Parameters and errors as `run_scan`.

    Raises
    ------
    ConfigError
        If the scan has no such stage.
    """
    began = time.monotonic()
    stages = stages_of(setup.config)
    if first_stage not in stages:
        raise ConfigError(f"no stage {first_stage!r} in this scan; stages: {', '.join(stages)}")
    with _claimed(setup):
        with executor_for(cluster) as (executor, client):
            device = _device(setup, client)
            plan = setup.plan(device, retry_failed=True)
            (chosen,) = plan.named([field_id])
            before = _candidates(setup, field_id)
            due = {stage.stage for stage in chosen.stages if stage.state not in ("done", "empty")}
            redo = tuple(stage for stage in stages if stage in due or stages.index(stage) >= stages.index(first_stage))
            expected = forecast(setup, (chosen,), executor.workers())
            result = _drive(setup, executor, (chosen,), {field_id: redo}, quiet, None)
        after = _candidates(setup, field_id)
        summary = _summarise(setup, (chosen,), result, time.monotonic() - began)
        _record(setup, summary, result, expected, executor.workers(), device)
    changed = difference(before, after) if after is not None and not result.failures else None
    return FieldOutcome(summary, tuple(result.failures), changed)


@dataclass(frozen=True)
class CandidatesOutcome:
    """A summary of the fields that have scores, the failures among them, and the fields that need a scan first."""

    summary: Summary
    failures: tuple[Failure, ...]
    waiting: tuple[str, ...]


def run_candidates(setup: ScanSetup, *, quiet: bool = False) -> CandidatesOutcome:
    """Bring the last stage of the fields that have scores up to date, in this process; touch no other field or stage.

    Raises
    ------
    ProductMismatch
        If no field has scores of these members under this config, or the output is another scan's.
    """
    began = time.monotonic()
    with _claimed(setup):
        device = local_device(setup)
        plan = setup.plan(device)
        before = set(stages_of(setup.config)[:-1])
        ready = tuple(
            one for one in plan.fields if all(stage.state == "done" for stage in one.stages if stage.stage in before)
        )
        if setup.ensemble is None or not ready:
            raise ProductMismatch(
                f"{setup.output}: no field has up-to-date logits of the members of this ensemble, in its order; "
                f"`lensscan plan` says what is stale, `lensscan scan` with this ensemble makes them."
            )
        with executor_for(ClusterConfig(kind="serial")) as (executor, _):
            expected = forecast(setup, ready, executor.workers())
            result = _drive(setup, executor, ready, None, quiet, None)
        summary = _summarise(setup, ready, result, time.monotonic() - began)
        _record(setup, summary, result, expected, 1, device)
    waiting = tuple(one.field.field_id for one in plan.fields if one not in ready)
    return CandidatesOutcome(summary, tuple(result.failures), waiting)


def status(setup: ScanSetup) -> list[dict[str, str | None]]:
    """State of every field and stage; reads nothing but manifests and headers.

    Rows of field, stage, state, reason (why it failed), and notes (what is odd about a product that is there, one line
    each).
    """
    rows: list[dict[str, str | None]] = []
    for field in setup.plan(local_device(setup)).fields:
        marked = mark_empty(setup.output, field)
        noted = products.notes_of(setup.output, field.field.field_id, stages_of(setup.config))
        rows += [
            {
                "field": field.field.field_id,
                "stage": stage.stage,
                "state": stage.state,
                "reason": field.reason if stage.state == "failed" else None,
                "notes": "\n".join(text for made, text in noted if made == stage.stage) or None,
            }
            for stage in marked.stages
        ]
    return rows


def _drive(
    setup: ScanSetup,
    executor: Any,
    chosen: Sequence[FieldPlan],
    redo: dict[str, tuple[str, ...]] | None,
    quiet: bool,
    dashboard: str | None,
) -> ScanResult:
    if quiet:
        return Scan(setup.job(), executor).run(chosen, redo)
    with ScanProgress(len(chosen), dashboard) as progress:
        return Scan(setup.job(), executor, on_progress=progress.advance).run(chosen, redo)


@contextmanager
def _claimed(setup: ScanSetup) -> Iterator[None]:
    """Hold the output: its own and nobody else's."""
    with Lease(setup.output):
        products.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
        yield


def _device(setup: ScanSetup, client: Client | None) -> str:
    """The one kind of device that scores.

    Raises
    ------
    ConfigError
        If the workers differ: their scores would, too.
    """
    if setup.ensemble is None:
        return "none"
    kinds = device_kinds(client, setup.config.score.device)
    if len(kinds) != 1:
        raise ConfigError(f'workers score on different devices ({", ".join(sorted(kinds))}); set score.device = "cpu".')
    return kinds.pop()


def _candidates(setup: ScanSetup, field_id: str) -> pa.Table | None:
    manifest = products.live_manifest(setup.output, field_id, "candidates")
    if manifest is None or "candidates.parquet" not in manifest.files:
        return None
    return read_table(setup.output / manifest.place / "candidates.parquet")


def _summarise(setup: ScanSetup, chosen: Sequence[FieldPlan], result: ScanResult, seconds: float) -> Summary:
    """Add up the manifests of the chosen fields."""
    failed = {failure.field_id for failure in result.failures}
    last = stages_of(setup.config)[-1]
    totals: Counter[str] = Counter()
    notes: list[str] = []
    for plan in chosen:
        name = plan.field.field_id
        if name in failed:
            totals["failed"] += 1
            continue
        end = products.live_manifest(setup.output, name, last)
        if end is None:
            continue
        totals["empty" if end.empty else "done"] += 1
        totals.update(end.counts)
        notes += [f"{name}: {text}" for _, text in products.notes_of(setup.output, name, stages_of(setup.config))]
    return Summary(
        fields=len(chosen),
        done=totals["done"],
        empty=totals["empty"],
        failed=totals["failed"],
        ran=result.ran,
        detections=totals["detections"],
        cutouts=totals["cutouts"],
        scored=totals["scored"],
        unscorable=totals["unscorable"],
        candidates=totals["candidates"],
        catalogue=str(setup.output),
        seconds=round(seconds, 2),
        notes=tuple(notes),
        stopped=totals["stopped"],
    )


def _record(
    setup: ScanSetup, summary: Summary, result: ScanResult, expected: Forecast, workers: int, device: str
) -> None:
    """Keep times, host, tracebacks and the forecast beside the products, never in them."""
    if result.ran == 0 and not result.failures:
        return
    now = datetime.now(UTC)
    products.write_run_record(
        setup.output,
        f"{now:%Y%m%dT%H%M%S}-{os.getpid()}",
        {
            "ended": now.isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "device": device,
            "summary": summary.as_dict(),
            "forecast": expected.as_dict(),
            "retries": result.retries,
            "cut_rate": result.cut.per_second,
            "score_rate": result.scored.per_second,
            "peak_mb": round(result.peak_mb),
            "workers": workers,
            "failures": [asdict(failure) for failure in result.failures],
        },
    )
