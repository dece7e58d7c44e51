"""What a scan would read, write and take, from its own earlier fields or from configured densities and rates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.io import products
from pipeline.io.places import Place
from pipeline.scan.cutouts import stamp_pixels
from pipeline.scan_config import ForecastConfig
from workflows.plan import FieldPlan, pixel_files, stages_of
from workflows.setup import ScanSetup


@dataclass(frozen=True)
class Forecast:
    """Expected size of the work that is left; `basis` says what the numbers rest on.

    Bytes are uncompressed; `seconds` is wall time with `workers` processes.
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


def forecast(setup: ScanSetup, plans: tuple[FieldPlan, ...], workers: int) -> Forecast:
    """Forecast what bringing `plans` to their end takes.

    The density of detections is measured on the fields of this output that are done, and the rates are those of
    its last run; where there are none, `ForecastConfig` stands in.
    """
    density, rates, basis = _measured(setup.output, plans, setup.config.forecast)
    todo = [plan for plan in plans if not plan.finished and not plan.blocked and plan.geometry is not None]
    area = sum(_area_arcmin2(plan) for plan in todo)
    objects = round(area * density)
    bands = len(setup.config.bands)
    scale = todo[0].geometry.pixel_scale if todo and todo[0].geometry is not None else 1.0
    stamp_bytes = 12 * bands * stamp_pixels(setup.config.cutouts, scale) ** 2
    cut_rate, score_rate = rates
    cutting = any(stage.state != "done" for plan in todo for stage in plan.stages[:3])
    scoring = "score" in stages_of(setup.config)
    device_seconds = objects / score_rate if scoring else 0.0
    total = (objects / cut_rate if cutting else 0.0) + device_seconds
    return Forecast(
        fields=len(todo),
        area_deg2=area / 3600.0,
        objects=objects,
        bytes_in=sum(
            max(0, int(setup.survey.identity(path)[1]))
            for plan in todo
            for path in pixel_files(setup.config, plan.field)
        ),
        bytes_out=objects * stamp_bytes if cutting else 0,
        memory_mb=setup.config.memory * workers,
        device_seconds=device_seconds,
        seconds=total / max(1, workers),
        workers=workers,
        basis=basis,
    )


def _area_arcmin2(plan: FieldPlan) -> float:
    geometry = plan.geometry
    if geometry is None:
        return 0.0
    ny, nx = geometry.shape
    return nx * ny * (geometry.pixel_scale / 60.0) ** 2


def _measured(
    output: Place, plans: tuple[FieldPlan, ...], assumed: ForecastConfig
) -> tuple[float, tuple[float, float], str]:
    area, count = 0.0, 0
    for plan in plans:
        done = next((stage for stage in plan.stages if stage.stage == "cutouts"), None)
        if done is None or done.state not in ("done", "empty", "stale"):
            continue
        manifest = products.live_manifest(output, plan.field.field_id, "cutouts")
        if manifest is not None:
            area += _area_arcmin2(plan)
            count += manifest.rows
    density = count / area if area else assumed.density
    run = _last_rates(output)
    basis = f"{density:.1f} detections/arcmin2 " + ("measured on finished fields" if area else "assumed")
    basis += "; rates of the last run" if run else "; assumed rates"
    return density, run or (assumed.cut_rate, assumed.score_rate), basis


def _last_rates(output: Place) -> tuple[float, float] | None:
    """Objects a second and worker (cutting, scoring) of the newest run record that measured both."""
    for record in reversed(products.run_records(output)):
        cut, score = record.get("cut_rate"), record.get("score_rate")
        if cut and score:
            return float(cut), float(score)
    return None
