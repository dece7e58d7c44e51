"""What `scan`, `field` and `status` do: plan, run under the lease, add up, keep a record."""

from __future__ import annotations

import os
import socket
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from distributed import Client
from distributed.comm import CommClosedError

from pipeline.catalogue.diff import difference
from pipeline.errors import ConfigError, ProductMismatch, QueryError
from pipeline.io import ownership, products
from pipeline.io.lease import Lease, LeaseMark
from pipeline.io.run_records import write_run_record
from pipeline.io.tables import read_table
from workflows.cluster import (
    ClusterConfig,
    device_kind,
    device_kinds,
    executor_for,
    refuse_others,
    require_ensemble,
    require_memory,
    require_places,
)
from workflows.executors import Executor, require_resources
from workflows.forecast import Forecast, Rates, Slots, actual, forecast, measured_rates
from workflows.headers import read_headers
from workflows.outcomes import CandidatesOutcome, FieldOutcome, PlanReport, ScanOutcome, Summary
from workflows.plan import Plan, mark_empty
from workflows.probe import probe
from workflows.progress import drive
from workflows.results import ScanAborted, ScanResult
from workflows.settled import recorded_device, settled_plan
from workflows.setup import ScanSetup
from workflows.wanted import stages_of


def plan_report(
    setup: ScanSetup,
    cluster: ClusterConfig,
    fields: Sequence[str] | None = None,
    *,
    measure: bool = True,
    quiet: bool = False,
) -> PlanReport:
    """Compare the output with what the scan wants, and forecast the rest.

    Parameters
    ----------
    setup : ScanSetup
    cluster : ClusterConfig
    fields : sequence of str, optional
        Only these.
    measure : bool
        Start or join the cluster and scan a few fields for the rates; they leave nothing but a record in the output.
        Otherwise nothing is started or written, and rates are those of the last record, or assumed.
    quiet : bool
        Show no progress of that.

    Raises
    ------
    ProductMismatch
        If the probe can't have the output, because another scan owns it or writes it.
    ConfigError
        As `run_scan`.
    """
    # Counted by names: a plan made here would read the headers one by one that the cluster's workers are to read.
    if not measure or len(setup.survey.fields() if fields is None else set(fields)) < 2:
        ownership.require_own(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
        chosen = setup.plan(local_device(setup)).named(fields)
        workers = cluster.processes
        return _report(setup, chosen, forecast(setup, chosen, Slots(workers, workers, workers)))
    with _claimed(setup) as lease, _planned(setup, cluster, fields) as (executor, client, device, chosen):
        require_memory(client, setup.config, chosen)
        rates = None if chosen.finished else probe(setup, executor, chosen, lease, quiet=quiet)
        if rates is not None:
            _write_record(setup, device, {"kind": "probe", "rates": rates.as_dict()})
        return _report(setup, chosen, forecast(setup, chosen, Slots.of(executor), rates))


def _report(setup: ScanSetup, chosen: Plan, expected: Forecast) -> PlanReport:
    counts = {stage: Counter[str]() for stage in stages_of(setup.config)}
    for sketch in chosen.sketches():
        for stage, state in sketch.states.items():
            counts[stage][state] += 1
    return PlanReport({stage: dict(count) for stage, count in counts.items()}, chosen, expected)


def local_device(setup: ScanSetup) -> str:
    """The kind of device that the last run of this output scored on, or else this process's."""
    return recorded_device(setup) or device_kind(setup.config.score.device)


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
    with _claimed(setup) as lease:
        with _planned(setup, cluster, fields, retry_failed=retry_failed) as (executor, client, device, chosen):
            require_memory(client, setup.config, chosen)
            slots = Slots.of(executor)
            expected = forecast(setup, chosen, slots)
            dashboard = client.dashboard_link if client is not None else None
            todo = chosen.where(lambda field: not field.finished)
            result = drive(setup.job(lease), executor, todo, None, quiet, dashboard) if todo else ScanResult()
        summary = _summarise(setup, chosen, result, time.monotonic() - began)
        took = actual(result, slots)
        _record(setup, summary, result, expected, took, device)
        # Only queries' speed rests on it: a scan that is done is not failed by it. Without candidates there is none.
        with suppress(OSError, QueryError):
            _keep_best_together(setup)
    return ScanOutcome(summary, tuple(result.failures), expected, took)


def _keep_best_together(setup: ScanSetup) -> None:
    # Loaded when the scan has ended: whoever submits one needs nothing of a catalogue.
    from pipeline.catalogue.best_index import write_best_index

    write_best_index(setup.output)


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
    with _claimed(setup) as lease:
        with _running(cluster) as (executor, client):
            device = _ready(setup, client)
            plan = setup.plan(device, retry_failed=True).named([field_id])
            require_memory(client, setup.config, plan)
            (chosen,) = plan
            before = _candidates(setup, field_id)
            due = {stage.stage for stage in chosen.stages if stage.state not in ("done", "empty")}
            redo = tuple(stage for stage in stages if stage in due or stages.index(stage) >= stages.index(first_stage))
            slots = Slots.of(executor)
            expected = forecast(setup, plan, slots)
            result = drive(setup.job(lease), executor, plan, {field_id: redo}, quiet, None)
        after = _candidates(setup, field_id)
        summary = _summarise(setup, plan, result, time.monotonic() - began)
        _record(setup, summary, result, expected, actual(result, slots), device)
    changed = difference(before, after) if after is not None and not result.failures else None
    return FieldOutcome(summary, tuple(result.failures), changed)


def run_candidates(setup: ScanSetup, *, quiet: bool = False) -> CandidatesOutcome:
    """Bring the last stage of the fields that have scores up to date, in this process; touch no other field or stage.

    Raises
    ------
    ProductMismatch
        If no field has scores of these members under this config, or the output is another scan's.
    """
    began = time.monotonic()
    with _claimed(setup) as lease:
        device = local_device(setup)
        plan = setup.plan(device)
        before = set(stages_of(setup.config)[:-1])
        ready = plan.where(lambda field: all(field.states[stage] == "done" for stage in before))
        if setup.ensemble is None or not ready:
            raise ProductMismatch(
                f"{setup.output}: no field has up-to-date logits of the members of this ensemble, in its order; "
                f"`lensscan plan` says what is stale, `lensscan scan` with this ensemble makes them."
            )
        with executor_for(ClusterConfig(kind="serial")) as (executor, _):
            slots = Slots.of(executor)
            expected = forecast(setup, ready, slots)
            result = drive(setup.job(lease), executor, ready, None, quiet, None)
        summary = _summarise(setup, ready, result, time.monotonic() - began)
        _record(setup, summary, result, expected, actual(result, slots), device)
    taken = {one.field_id for one in ready.sketches()}
    waiting = tuple(one.field_id for one in plan.sketches() if one.field_id not in taken)
    return CandidatesOutcome(summary, tuple(result.failures), waiting)


def status(setup: ScanSetup) -> list[dict[str, str | None]]:
    """State of every field and stage; reads nothing but manifests and headers.

    Rows of field, stage, state, reason (why it failed), and notes (what is odd about a product that is there, one line
    each).
    """
    rows: list[dict[str, str | None]] = []
    plan = setup.plan(local_device(setup))
    names = (field.field_id for field in plan.sketches())
    manifests = products.live_by_field(setup.output, names, stages_of(setup.config))
    for field, (_, live) in zip(plan, manifests, strict=True):
        marked = mark_empty(field, live)
        noted = products.notes_of(live)
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


@contextmanager
def _claimed(setup: ScanSetup) -> Iterator[LeaseMark]:
    """Hold the output: its own and nobody else's."""
    with Lease(setup.output) as lease:
        ownership.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
        yield lease.mark


@contextmanager
def _running(cluster: ClusterConfig) -> Iterator[tuple[Executor, Client | None]]:
    """The cluster for as long as it is needed; that it goes away before is said without a trace."""
    try:
        with executor_for(cluster) as running:
            yield running
    except (CommClosedError, CancelledError) as error:
        raise ScanAborted(f"the Dask cluster is gone ({error}); run the same command again, it resumes.") from error


@contextmanager
def _planned(
    setup: ScanSetup, cluster: ClusterConfig, fields: Sequence[str] | None, *, retry_failed: bool = False
) -> Iterator[tuple[Executor, Client | None, str, Plan]]:
    """The cluster, the device that scores there, and the plan of the fields; none is started for nothing."""
    settled = settled_plan(setup, cluster, fields, retry_failed=retry_failed)
    with _running(cluster if settled is None else ClusterConfig(kind="serial")) as (executor, client):
        if settled is not None:
            yield executor, client, *settled
            return
        device = _ready(setup, client)
        read_headers(setup, executor)
        yield executor, client, device, setup.plan(device, retry_failed=retry_failed, remember=True).named(fields)


def _ready(setup: ScanSetup, client: Client | None) -> str:
    """Check that the cluster can do what the scan needs, and give the one kind of device that scores.

    Raises
    ------
    ConfigError
        If no worker offers a resource, some worker can't use a place, or the workers' devices differ: their scores
        would, too.
    ModelMismatch
        If a worker that scores can't load the ensemble.
    """
    if client is not None:
        require_resources(client, {"cut", "score"} if setup.ensemble is not None else {"cut"})
        require_places(client, (*setup.files, str(setup.survey.root), str(setup.output)))
    device = "none" if setup.ensemble is None else _device(setup, client)
    if client is not None:
        if setup.ensemble is not None:
            require_ensemble(client, setup.job())
        refuse_others(client, setup.config.score.device, device)
    return device


def _device(setup: ScanSetup, client: Client | None) -> str:
    kinds = device_kinds(client, setup.config.score.device)
    if len(kinds) != 1:
        raise ConfigError(f'workers score on different devices ({", ".join(sorted(kinds))}); set score.device = "cpu".')
    return kinds.pop()


def _candidates(setup: ScanSetup, field_id: str) -> pa.Table | None:
    manifest = products.live_manifest(setup.output, field_id, "candidates")
    if manifest is None or "candidates.parquet" not in manifest.files:
        return None
    return read_table(setup.output / manifest.place / "candidates.parquet")


def _summarise(setup: ScanSetup, chosen: Plan, result: ScanResult, seconds: float) -> Summary:
    """Add up the manifests of the chosen fields."""
    failed = {failure.field_id for failure in result.failures}
    last = stages_of(setup.config)[-1]
    totals: Counter[str] = Counter()
    notes: list[str] = []
    names = [plan.field_id for plan in chosen.sketches()]
    totals["failed"] = sum(name in failed for name in names)
    finished = (name for name in names if name not in failed)
    for name, live in products.live_by_field(setup.output, finished, stages_of(setup.config)):
        end = live.get(last)
        if end is None:
            continue
        totals["empty" if end.empty else "done"] += 1
        totals.update(end.counts)
        notes += [f"{name}: {text}" for _, text in products.notes_of(live)]
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
    setup: ScanSetup, summary: Summary, result: ScanResult, expected: Forecast, took: Forecast, device: str
) -> None:
    """Keep times, host, tracebacks and the forecast beside the products, never in them."""
    if result.ran == 0 and not result.failures:
        return
    rates: Rates | None = measured_rates(result, warm_up=0.0, basis=f"rates of a run over {result.fields} fields")
    values = {
        "kind": "scan",
        "summary": summary.as_dict(),
        "forecast": expected.as_dict(),
        "actual": took.as_dict(),
        "rates": rates.as_dict() if rates is not None else None,
        "retries": result.retries,
        "failures": [asdict(failure) for failure in result.failures],
    }
    _write_record(setup, device, values)


def _write_record(setup: ScanSetup, device: str, values: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    about = {"ended": now.isoformat(timespec="seconds"), "host": socket.gethostname(), "device": device}
    write_run_record(setup.output, f"{now:%Y%m%dT%H%M%S%f}-{os.getpid()}", {**about, **values})
