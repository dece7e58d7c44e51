"""Dying workers, errors of the system and a full disk, played by an executor that misbehaves on purpose."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.errors import BadSurveyData
from pipeline.field import Field
from pipeline.geometry import FieldGeometry
from pipeline.io import ownership, products
from workflows import field_finish
from workflows.executors import Outcome, SerialExecutor, Task
from workflows.job import Job
from workflows.plan import FieldPlan
from workflows.results import ScanAborted, ScanResult
from workflows.scan import Scan
from workflows.setup import open_scan
from workflows.suspicion import ALONE, IN_COMPANY


class Misbehaving(SerialExecutor):
    """Runs tasks, except where `trouble` gives another outcome; several tasks are under way at once.

    Its workers cut or score, unless a field is to begin with a task that does both, "whole".
    """

    def __init__(self, trouble: Callable[[Task, int], Outcome | None], first: str = "cut") -> None:
        super().__init__()
        self._first = first
        self._trouble = trouble
        self.under_way = 0
        self.sent: list[str] = []
        self.seen: Counter[str] = Counter()
        self.company: dict[str, list[int]] = {}

    def slots(self) -> Mapping[str, int]:
        return {"cut": 3, "score": 3, "both": 3 if self._first == "whole" else 0}

    def submit(self, task: Task) -> None:
        self.under_way += 1
        self.sent.append(task.key)
        super().submit(task)

    def next_outcome(self) -> Outcome:
        task = self._queue[0]
        self.seen[task.key] += 1
        self.company.setdefault(task.key, []).append(self.under_way)
        outcome = self._trouble(task, self.seen[task.key])
        if outcome is None:
            outcome = super().next_outcome()
        else:
            self._queue.popleft()
        self.under_way -= 1
        return outcome


def died(task: Task) -> Outcome:
    return Outcome(task, error=RuntimeError("worker died"), worker_died=True)


def drive(project: Path, executor: Misbehaving) -> tuple[ScanResult, list[FieldPlan]]:
    setup = open_scan(str(project / "scan.toml"))
    ownership.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
    result = Scan(setup.job(), executor).run(setup.plan("cpu"))
    return result, list(setup.plan("cpu"))


@pytest.fixture(params=["cut", "whole"])
def first(request: pytest.FixtureRequest) -> str:
    """The kind of task that a field begins with."""
    return str(request.param)


def test_a_field_that_kills_every_worker_is_quarantined_and_its_neighbours_finish(project: Path, first: str) -> None:
    poison = f"{first}/F1"
    executor = Misbehaving(lambda task, time: died(task) if task.key == poison else None, first)
    result, after = drive(project, executor)
    assert [failure.field_id for failure in result.failures] == ["F1"]
    assert "killed 3 workers" in result.failures[0].reason
    assert [plan.finished for plan in after] == [True, False, True]
    assert len(executor.company[poison]) == IN_COMPANY + ALONE, "the deaths are bounded"
    assert executor.company[poison][-ALONE:] == [1, 1, 1], "a suspect runs alone"
    assert after[1].blocked


@pytest.mark.parametrize("times", [1, 2, 4])
def test_workers_that_are_taken_away_again_and_again_count_against_nobody(
    project: Path, times: int, first: str
) -> None:
    executor = Misbehaving(lambda task, time: died(task) if time <= times else None, first)
    result, after = drive(project, executor)
    assert result.failures == []
    assert all(plan.finished for plan in after)


def test_one_death_does_not_empty_the_cluster(project: Path) -> None:
    executor = Misbehaving(lambda task, time: died(task) if task.key == "cut/F0" and time == 1 else None)
    drive(project, executor)
    assert executor.company["cut/F0"][1] > 1, "sent again at once, in company"


def test_fields_are_opened_as_there_is_room(project: Path) -> None:
    setup = open_scan(str(project / "scan.toml"))
    ownership.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
    executor = Misbehaving(lambda task, time: None)
    executor.slots = lambda: {"cut": 1, "score": 1}  # type: ignore[method-assign]
    executor.next_outcome = lambda: pytest.fail(f"{executor.sent} were sent")  # type: ignore[method-assign]
    with pytest.raises(pytest.fail.Exception, match=r"\['cut/F0', 'cut/F1'\] were sent"):
        Scan(setup.job(), executor).run(setup.plan("cpu"))


def test_a_field_is_one_task_where_workers_do_both_but_the_last_ones_are_shared_out(project: Path) -> None:
    executor = Misbehaving(lambda task, time: None, "whole")
    executor.workers = lambda: 2  # type: ignore[method-assign]
    drive(project, executor)
    begun = [key for key in executor.sent if key.startswith(("whole", "cut"))]
    assert begun == ["whole/F0", "cut/F1", "cut/F2"]
    assert [key for key in executor.sent if key.endswith("F0")] == ["whole/F0"]


def test_an_error_of_the_system_is_tried_again_three_times(project: Path) -> None:
    def flaky(task: Task, time: int) -> Outcome | None:
        return Outcome(task, error=OSError(errno.EIO, "bad luck")) if task.key == "cut/F0" and time < 3 else None

    result, _ = drive(project, Misbehaving(flaky))
    assert (result.failures, result.retries) == ([], 2)


def test_a_lasting_error_of_the_system_fails_the_field_but_the_next_scan_tries_it_again(project: Path) -> None:
    def broken(task: Task, time: int) -> Outcome | None:
        return Outcome(task, error=OSError(errno.EIO, "bad disk")) if task.field_id == "F0" else None

    result, after = drive(project, Misbehaving(broken))
    assert [failure.reason for failure in result.failures] == ["OSError: [Errno 5] bad disk"]
    assert (after[0].reason, after[0].blocked) == ("OSError: [Errno 5] bad disk", False)
    healed, _ = drive(project, Misbehaving(lambda task, time: None))
    assert healed.failures == []
    assert products.failures(project / "out put") == {}


def test_a_full_disk_stops_the_scan_and_loses_nothing(project: Path) -> None:
    def full(task: Task, time: int) -> Outcome | None:
        return Outcome(task, error=OSError(errno.ENOSPC, "full")) if task.key == "finish/F1" else None

    with pytest.raises(ScanAborted, match="no space left"):
        drive(project, Misbehaving(full))
    result, after = drive(project, Misbehaving(lambda task, time: None))
    assert result.failures == []
    assert all(plan.finished for plan in after)


def test_an_unexpected_error_keeps_its_traceback(project: Path) -> None:
    def bug(task: Task, time: int) -> Outcome | None:
        if task.key != "score/F2/0":
            return None
        try:
            raise KeyError("a bug")
        except KeyError as error:
            return Outcome(task, error=error)

    result, _ = drive(project, Misbehaving(bug))
    (failure,) = result.failures
    assert (failure.field_id, failure.stage) == ("F2", "score")
    assert "raise KeyError" in str(failure.trace)


def test_a_neighbour_whose_file_goes_while_the_scan_runs_is_not_held_against_the_field(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = field_finish.geometry_of, [True]

    def vanished(job: Job, field: Field) -> FieldGeometry:
        if field.field_id == "F1" and broken[0]:
            raise BadSurveyData("F1-g.fits: no such file")
        return real(job, field)

    monkeypatch.setattr(field_finish, "geometry_of", vanished)
    result, after = drive(project, Misbehaving(lambda task, time: None))
    assert [failure.reason for failure in result.failures if failure.field_id == "F0"] == [
        "OSError: [Errno 116] neighbour F1 has changed since the scan began: F1-g.fits: no such file"
    ]
    assert not after[0].blocked
    broken[0] = False
    healed, _ = drive(project, Misbehaving(lambda task, time: None))
    assert {failure.field_id for failure in healed.failures} == {"F1"}  # which is not tried before its file changes
