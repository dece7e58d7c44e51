from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from pipeline.io.footprints import NAME, read_footprints
from workflows import headers
from workflows.executors import Outcome, SerialExecutor, Task
from workflows.headers import read_headers
from workflows.setup import open_scan


class TwoWorkers(SerialExecutor):
    """Runs tasks here, says that there are two workers, and fails those that `lost` names."""

    def __init__(self, lost: str = "") -> None:
        super().__init__()
        self.ran: deque[str] = deque()
        self._lost = lost

    def workers(self) -> int:
        return 2

    def submit(self, task: Task) -> None:
        self.ran.append(task.key)
        super().submit(task)

    def next_outcome(self) -> Outcome:
        outcome = super().next_outcome()
        return Outcome(outcome.task, error=OSError("gone")) if outcome.task.field_id == self._lost else outcome


def test_workers_read_the_headers_and_the_plan_opens_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "FIELDS_A_TASK", 1)
    setup = open_scan(str(project / "scan.toml"))
    executor = TwoWorkers()
    read_headers(setup, executor)
    assert sorted(executor.ran) == ["headers/F0", "headers/F1", "headers/F2"]
    by_themselves = [plan.stages for plan in open_scan(str(project / "scan.toml"), str(project / "other")).plan("cpu")]
    monkeypatch.setattr(type(setup.survey), "geometry", lambda *_: pytest.fail("a header was opened"))
    assert [plan.stages for plan in setup.plan("cpu")] == by_themselves
    read_headers(setup, executor)
    assert len(executor.ran) == 3


def test_the_plan_reads_what_no_worker_could(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "FIELDS_A_TASK", 1)
    (project / "survey ü" / "F2" / "F2-g.fits").write_bytes(b"SIMPLE")
    (project / "survey ü" / "F2" / "F2-r.fits").write_bytes(b"SIMPLE")
    (project / "survey ü" / "F2" / "F2-i.fits").write_bytes(b"SIMPLE")
    setup = open_scan(str(project / "scan.toml"))
    read_headers(setup, TwoWorkers(lost="F1"))
    assert set(read_footprints(setup.output).footprints.ids) == {"F0"}
    plan = setup.plan("cpu", remember=True)
    assert [field.states["masks"] for field in plan.sketches()] == ["missing", "missing", "failed"]
    assert set(read_footprints(setup.output).footprints.ids) == {"F0", "F1"}


def test_a_changed_header_is_read_again_and_a_broken_table_made_again(project: Path) -> None:
    setup = open_scan(str(project / "scan.toml"))
    before = setup.plan("cpu", remember=True)[0].fingerprint("candidates")
    assert setup.plan("cpu", remember=True)[0].fingerprint("candidates") == before
    (setup.output / NAME).write_bytes(b"PAR1")
    assert open_scan(str(project / "scan.toml")).plan("cpu", remember=True)[0].fingerprint("candidates") == before
    from astropy.io import fits

    with fits.open(project / "survey ü" / "F1" / "F1-g.fits", mode="update") as hdus:
        hdus[0].header["CRVAL1"] += 0.001
    assert open_scan(str(project / "scan.toml")).plan("cpu")[0].fingerprint("candidates") != before
