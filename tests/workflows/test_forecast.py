from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.io import ownership
from pipeline.io.run_records import run_records
from tests.workflows.conftest import write_mini_survey
from workflows.cluster import ClusterConfig
from workflows.forecast import Rates, Slots, forecast
from workflows.run import plan_report, run_scan
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
RATES = Rates(
    density=10.0, cut=3.0, score=0.2, finish=0.1, bytes_out=1000.0, memory_mb=700.0, warm_up=5.0, basis="by hand"
)
AREA = (240 * 0.3 / 60) ** 2
"""Of a field of the tiny survey, arcmin²."""


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_probe_leaves_the_products_alone_and_the_scan_forecasts_by_its_rates(project: Path) -> None:
    shutil.rmtree(project / "survey ü")
    write_mini_survey(project / "survey ü", fields=6)
    setup = open_scan(str(project / "scan.toml"))
    ownership.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
    (setup.output / "probe" / "left over").mkdir(parents=True)  # by one that was killed
    report = plan_report(open_scan(str(project / "scan.toml")), SERIAL)
    assert {name.split("/")[0] for name in files(setup.output)} == {"scan.json", "footprints.parquet", "runs"}
    assert not (setup.output / "probe").exists()
    (record,) = run_records(setup.output)
    assert record["kind"] == "probe"
    assert "probe of 3 fields" in report.forecast.basis
    outcome = run_scan(open_scan(str(project / "scan.toml")), SERIAL, quiet=True)
    assert outcome.forecast.basis == report.forecast.basis
    assert outcome.actual.fields == 6
    assert outcome.actual.objects == outcome.summary.detections
    assert outcome.forecast.objects == pytest.approx(outcome.actual.objects, rel=0.35)  # 3 fields of a sky of clumps
    assert outcome.forecast.bytes_in == outcome.actual.bytes_in
    assert outcome.forecast.bytes_out == pytest.approx(outcome.actual.bytes_out, rel=0.35)
    assert run_records(setup.output)[-1]["actual"] == outcome.actual.as_dict()


def test_without_a_probe_nothing_is_written_and_rates_are_assumed(project: Path) -> None:
    setup = open_scan(str(project / "scan.toml"))
    report = plan_report(setup, SERIAL, measure=False)
    assert not setup.output.exists()
    assert "all of it assumed" in report.forecast.basis
    assert report.forecast.objects == round(3 * AREA * 8)


def test_workers_that_cut_and_score_share_the_time_and_others_wait_for_the_slower(project: Path) -> None:
    setup = open_scan(str(project / "scan.toml"))
    plan = setup.plan("cpu")
    area = 3 * AREA
    cut, score, finish = area * 3.0, area * 10.0 * 0.2, area * 10.0 * 0.1
    shared = forecast(setup, plan, Slots(cut=2, score=2, workers=2), RATES)
    assert shared.seconds == pytest.approx((cut + score + finish) / 2 + 5.0)
    assert shared.device_seconds == pytest.approx(score)
    assert shared.memory_mb == 1400.0
    apart = forecast(setup, plan, Slots(cut=4, score=2, workers=6), RATES)
    assert apart.seconds == pytest.approx(max((cut + finish) / 4, score / 2) + 5.0)


def test_what_is_done_is_not_forecast_again(project: Path, edit) -> None:
    config = str(project / "scan.toml")
    run_scan(open_scan(config), SERIAL, quiet=True)
    nothing = plan_report(open_scan(config), SERIAL).forecast
    assert (nothing.fields, nothing.objects, nothing.seconds) == (0, 0, 0.0)
    edit(project / "scan.toml", "prior = 0.5", "prior = 0.4")
    setup = open_scan(config)
    rows = forecast(setup, setup.plan("cpu"), Slots(1, 1, 1), RATES)
    assert (rows.bytes_in, rows.bytes_out, rows.device_seconds) == (0, 0, 0.0)
    assert rows.seconds == pytest.approx(3 * AREA * 10.0 * 0.1 + 5.0)
