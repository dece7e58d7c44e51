"""A scan whose ensemble has a member beside the rule: a column more, and no other byte of the catalogue moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io import products
from tests.workflows.conftest import write_member
from workflows.cluster import ClusterConfig
from workflows.run import run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
MEMBER = '[[members]]\npackage = "odd"\nweight = 0\n'


@pytest.fixture
def beside(project: Path, edit: Callable[[Path, str, str], None]) -> Path:
    """The project with a wild network between the two members."""
    write_member(project, "odd", 9, gain=6.0)
    edit(project / "ensemble.toml", '[[members]]\npackage = "two"', MEMBER + '[[members]]\npackage = "two"')
    edit(project / "scan.toml", "max_fraction = 1.0", "max_fraction = 0.3")
    return project


def scan(project: Path, out: str | None = None) -> None:
    outcome = run_scan(open_scan(str(project / "scan.toml"), out), SERIAL, quiet=True)
    assert not outcome.failures


def table(output: Path, name: str) -> pa.Table:
    files = products.live_files(output, "candidates", name)
    return pa.concat_tables([pq.read_table(files[field]) for field in sorted(files)])


def stale(project: Path) -> set[str]:
    return {row["stage"] for row in status(open_scan(str(project / "scan.toml"))) if row["state"] == "stale"}


def test_every_other_column_has_the_values_of_a_scan_without_it(
    beside: Path, edit: Callable[[Path, str, str], None]
) -> None:
    scan(beside, str(beside / "with"))
    edit(beside / "ensemble.toml", MEMBER, "")
    scan(beside, str(beside / "without"))
    for name in ("scores.parquet", "candidates.parquet"):
        found, expected = table(beside / "with", name), table(beside / "without", name)
        assert found["score_odd"].null_count == 0
        assert len(set(found["score_odd"].to_pylist())) > 1
        assert found.drop(["score_odd"]).equals(expected)
    assert found.schema.field("score_odd").metadata[b"description"] == b"calibrated score of member odd"


def test_to_take_a_member_out_of_the_rule_redoes_candidates_and_another_beside_it_redoes_scores(
    beside: Path, edit: Callable[[Path, str, str], None]
) -> None:
    scan(beside)
    assert stale(beside) == set()
    edit(beside / "ensemble.toml", 'package = "two"', 'package = "two"\nweight = 0')
    assert stale(beside) == {"candidates"}
    edit(beside / "ensemble.toml", 'package = "two"\nweight = 0', 'package = "two"')
    write_member(beside, "odd", 10, gain=6.0)
    assert stale(beside) == {"score", "candidates"}
