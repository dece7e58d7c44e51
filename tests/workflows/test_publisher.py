from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import LeaseLost
from pipeline.io import ownership, products
from pipeline.io.lease import Lease
from tests.workflows.test_faults import Misbehaving
from workflows.publisher import Publisher
from workflows.results import ScanAborted
from workflows.scan import Scan
from workflows.setup import open_scan


def publisher(project: Path, lease) -> Publisher:
    job = open_scan(str(project / "scan.toml")).job(lease)
    return Publisher(job, "F0", {"masks": "f" * 64}, {})


def test_a_task_that_outlives_its_process_publishes_and_removes_nothing(project: Path) -> None:
    output = open_scan(str(project / "scan.toml")).output
    with Lease(output) as first:
        mine = publisher(project, first.mark)
        (mine.begin("masks") / "file").write_text("complete")
    with pytest.raises(LeaseLost, match="held by another process"):
        mine.publish("masks", rows=0)
    with Lease(output) as second:
        heir = publisher(project, second.mark)
        folder = heir.begin("masks")
        for act in (lambda: mine.publish("masks", rows=0), lambda: mine.sweep(("masks",))):
            with pytest.raises(LeaseLost):
                act()
        assert folder.is_dir()
        heir.publish("masks", rows=0)
    assert products.live_manifest(output, "F0", "masks").place == str(folder.relative_to(output))


def test_a_scan_whose_output_was_taken_over_stops(project: Path) -> None:
    setup = open_scan(str(project / "scan.toml"))
    with Lease(setup.output) as lease:
        ownership.claim(setup.output, setup.config.scan_id, setup.survey.name, setup.survey.release)
        job = setup.job(replace(lease.mark, token="of one before"))
        with pytest.raises(ScanAborted, match="Look who runs there"):
            Scan(job, Misbehaving(lambda task, time: None)).run(setup.plan("cpu"))
    assert products.listing(setup.output) == {}
