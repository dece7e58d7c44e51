"""What a scan would read, write and take: work that is left, times rates that a probe or an earlier run measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.io.places import Place
from pipeline.io.run_records import run_records
from pipeline.scan_config import ScanConfig
from workflows.executors import Executor
from workflows.plan import Plan
from workflows.results import ScanResult
from workflows.setup import ScanSetup
from workflows.wanted import pixel_files, stages_of

_SAMPLE = 200
"""Fields whose input files are looked at for their size."""


@dataclass(frozen=True)
class Rates:
    """What the sky holds and what a worker does, `basis` says by whose measure.

    Attributes
    ----------
    density : float, arcmin^-2
        Detections.
    cut : float, s arcmin^2
        Worker seconds of a square arcminute from its files to its cutouts.
    score, finish : float, s
        Worker seconds of an object to its scores, and to its rows in the catalogue.
    bytes_out : float
        Size of the products of an object.
    memory_mb : float
        Largest resident memory of a worker.
    warm_up : float, s
        Until a fresh worker has loaded what it needs.
    """

    density: float
    cut: float
    score: float
    finish: float
    bytes_out: float
    memory_mb: float
    warm_up: float
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """The rates as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Slots:
    """How many tasks run at the same time: of each kind, and of both where the same workers do both."""

    cut: int
    score: int
    workers: int

    @property
    def shared(self) -> bool:
        """Whether cutting and scoring share the workers."""
        return self.cut + self.score > self.workers

    @classmethod
    def of(cls, executor: Executor) -> Slots:
        """As the workers that are there declare."""
        slots = executor.slots()
        return cls(slots.get("cut", 0), slots.get("score", 0), executor.workers())


@dataclass(frozen=True)
class Forecast:
    """Size of the work that is left, or of the work that was done; `basis` says what the numbers rest on.

    `seconds` is wall time from the first task to the last, `device_seconds` worker seconds of scoring, `memory_mb` that
    of all workers.
    """

    fields: int
    area_deg2: float
    objects: int
    bytes_in: int
    bytes_out: int
    memory_mb: float
    device_seconds: float
    seconds: float
    workers: int
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """The forecast as plain values, for JSON."""
        return asdict(self)


def forecast(setup: ScanSetup, plan: Plan, slots: Slots, rates: Rates | None = None) -> Forecast:
    """Forecast what bringing fields to their end takes.

    Parameters
    ----------
    setup : ScanSetup
    plan : Plan
    slots : Slots
    rates : Rates, optional
        What a probe has just measured; else those of the newest record of this output, else `ForecastConfig` stands in.
    """
    rates = rates or last_rates(setup.output) or assumed_rates(setup.config, plan)
    todo, area, area_to_cut, area_to_score = 0, 0.0, 0.0, 0.0
    cutting: list[str] = []
    for field in plan.sketches():
        if field.finished or field.blocked or field.footprint is None:
            continue
        todo += 1
        area += field.footprint.area
        if any(field.states[stage] not in ("done", "empty") for stage in ("masks", "detect", "cutouts")):
            cutting.append(field.field_id)
            area_to_cut += field.footprint.area
        if field.states.get("score") not in (None, "done", "empty"):
            area_to_score += field.footprint.area
    cut_seconds = area_to_cut * rates.cut
    score_seconds = area_to_score * rates.density * rates.score
    finish_seconds = area * rates.density * rates.finish if "candidates" in stages_of(setup.config) else 0.0
    objects = round(area * rates.density)
    return Forecast(
        fields=todo,
        area_deg2=area / 3600.0,
        objects=objects,
        bytes_in=_bytes_in(setup, plan, cutting),
        bytes_out=round(area_to_cut * rates.density * rates.bytes_out),
        memory_mb=rates.memory_mb * slots.workers if todo else 0.0,
        device_seconds=score_seconds,
        seconds=_wall(cut_seconds, score_seconds, finish_seconds, slots) + (rates.warm_up if todo else 0.0),
        workers=slots.workers,
        basis=f"{rates.density:.1f} detections/arcmin2; {rates.basis}",
    )


def actual(result: ScanResult, slots: Slots) -> Forecast:
    """What a run took, in the forecast's terms."""
    return Forecast(
        fields=result.fields,
        area_deg2=result.cut.area / 3600.0,
        objects=max(result.cut.objects, result.scored.objects, result.finished.objects),
        bytes_in=result.bytes_in,
        bytes_out=result.bytes_out,
        memory_mb=result.peak_mb * slots.workers,
        device_seconds=result.scored.seconds,
        seconds=result.seconds,
        workers=slots.workers,
        basis="measured",
    )


def measured_rates(result: ScanResult, *, warm_up: float, basis: str) -> Rates | None:
    """The rates of a run, or None if it cut nothing."""
    cut, scored, finished = result.cut, result.scored, result.finished
    if not cut.area or not cut.objects:
        return None
    return Rates(
        density=cut.objects / cut.area,
        cut=cut.seconds / cut.area,
        score=scored.seconds / scored.objects if scored.objects else 0.0,
        finish=finished.seconds / finished.objects if finished.objects else 0.0,
        bytes_out=result.bytes_out / cut.objects,
        memory_mb=result.peak_mb,
        warm_up=warm_up,
        basis=basis,
    )


def last_rates(output: Place) -> Rates | None:
    """The rates in the newest run record of an output that has any."""
    for record in reversed(run_records(output)):
        if record.get("rates"):
            return Rates(**record["rates"])
    return None


def assumed_rates(config: ScanConfig, plan: Plan) -> Rates:
    """What `ForecastConfig` says, with cutouts as they are in memory."""
    assumed = config.forecast
    scale = next((field.footprint.pixel_scale for field in plan.sketches() if field.footprint), 1.0)
    return Rates(
        density=assumed.density,
        cut=assumed.density / assumed.cut_rate,
        score=1.0 / assumed.score_rate,
        finish=0.0,
        bytes_out=12.0 * len(config.bands) * config.cutouts.stamp_pixels(scale) ** 2,
        memory_mb=config.memory,
        warm_up=0.0,
        basis="all of it assumed",
    )


def _wall(cut: float, score: float, finish: float, slots: Slots) -> float:
    """Wall time of worker seconds: of all together where workers share, else of whoever is the slower."""
    if slots.shared:
        return (cut + score + finish) / max(1, slots.workers)
    return max((cut + finish) / max(1, slots.cut), score / max(1, slots.score))


def _bytes_in(setup: ScanSetup, plan: Plan, names: list[str]) -> int:
    """Size of the input files of the fields named, from that of some spread evenly over them."""
    if not names:
        return 0
    sample = names[:: max(1, len(names) // _SAMPLE)]
    files = [path for field in plan.fields(sample) for path in pixel_files(setup.config, field)]
    sizes = [int(setup.survey.identity(path)[1]) for path in files]
    return round(sum(max(0, size) for size in sizes) * len(names) / len(sample))
