"""What needs no cluster starts none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.io.footprints import NAME, read_footprints
from workflows import settled
from workflows.cluster import ClusterConfig
from workflows.run import plan_report, run_scan
from workflows.setup import ScanSetup, open_scan

Edit = Callable[[Path, str, str], None]
SERIAL = ClusterConfig(kind="serial")
NOWHERE = ClusterConfig.model_validate({"kind": "address", "address": "tcp://127.0.0.1:1", "wait": "1 s"})
"""A scheduler that cannot be reached: whoever asks for it fails."""


def opened(project: Path) -> ScanSetup:
    return open_scan(str(project / "scan.toml"))


def test_a_finished_output_is_planned_and_scanned_without_a_cluster(project: Path) -> None:
    done = run_scan(opened(project), SERIAL, quiet=True).summary
    report = plan_report(opened(project), NOWHERE)
    assert {stage: set(counts) for stage, counts in report.states.items()} == {
        stage: {"done"} for stage in ("masks", "detect", "cutouts", "score", "candidates")
    }
    assert (report.forecast.fields, report.forecast.seconds) == (0, 0.0)
    again = run_scan(opened(project), NOWHERE, quiet=True)
    assert (again.summary.ran, again.summary.done, again.actual.fields) == (0, 3, 0)
    assert again.summary.candidates == done.candidates


def test_fields_that_are_done_need_no_cluster_and_others_do(project: Path) -> None:
    run_scan(opened(project), SERIAL, fields=["F0", "F2"], quiet=True)
    assert run_scan(opened(project), NOWHERE, fields=["F2"], quiet=True).summary.done == 1
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1"):
        run_scan(opened(project), NOWHERE, quiet=True)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1"):
        plan_report(opened(project), NOWHERE)


def test_what_is_quarantined_needs_a_cluster_only_when_it_is_tried_again(project: Path) -> None:
    (project / "survey ü" / "F1" / "F1-r.fits").write_bytes(b"SIMPLE")
    first = run_scan(opened(project), SERIAL, quiet=True)
    again = run_scan(opened(project), NOWHERE, quiet=True)
    assert [failure.field_id for failure in first.failures] == ["F1"]
    assert [(one.field_id, one.reason) for one in again.failures] == [("F1", first.failures[0].reason)]
    assert (again.summary.done, again.summary.failed) == (2, 1)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1"):
        run_scan(opened(project), NOWHERE, retry_failed=True, quiet=True)


def test_a_changed_config_an_unknown_device_or_many_unknown_headers_need_a_cluster(
    project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_scan(opened(project), SERIAL, quiet=True)
    assert settled.settled_plan(opened(project), NOWHERE, None) is not None
    assert settled.settled_plan(opened(project), ClusterConfig(kind="gpus"), None) is None
    (project / "out put" / NAME).unlink()
    with monkeypatch.context() as few:
        few.setattr(settled, "FIELDS_A_TASK", 1)
        assert settled.settled_plan(opened(project), NOWHERE, None) is None
    assert settled.settled_plan(opened(project), NOWHERE, None) is not None
    assert len(read_footprints(project / "out put").identities) == 3
    edit(project / "scan.toml", "floor = 0.0", "floor = 0.1")
    assert settled.settled_plan(opened(project), NOWHERE, None) is None
    edit(project / "scan.toml", "floor = 0.1", "floor = 0.0")
    for record in (project / "out put" / "runs").iterdir():
        record.unlink()
    assert settled.settled_plan(opened(project), NOWHERE, None) is None
