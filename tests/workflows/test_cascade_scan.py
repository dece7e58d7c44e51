"""A scan behind gates: nothing is lost from the tables, and what was stopped is told from what can't be scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.errors import ModelMismatch
from pipeline.flags import VetFlag
from pipeline.io import products
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.run import ScanOutcome, run_scan
from workflows.setup import open_scan

STOPPED = np.uint32(VetFlag.STOPPED_BY_GATE)


def scan(project: Path) -> ScanOutcome:
    return run_scan(open_scan(str(project / "scan.toml")), ClusterConfig(kind="serial"), quiet=True)


def tables(project: Path, name: str) -> dict[str, pa.Table]:
    return {
        field: pq.read_table(path)
        for field, path in sorted(products.live_files(project / "out put", "candidates", name).items())
    }


def logits(project: Path, column: str) -> np.ndarray:
    parts = sorted((project / "out put" / "score").rglob("part-*.parquet"))
    return np.concatenate([pq.read_table(path)[column].to_numpy() for path in parts])


@pytest.fixture
def gated(project: Path, edit: Callable[[Path, str, str], None]) -> Path:
    """The project after a scan without gates, with a gate that stops about half of what it found."""
    scan(project)
    threshold = float(np.nanmedian(logits(project, "logit_one")))
    gate = f"""
[cascade]
loss = 0.001
prior = 1e-4
floor = 1e-4
n_candidates = 10
passed = 0.5

[[cascade.gates]]
package = "one"
weights = [1.0]
threshold = {threshold}
calibration = {{ slope = 1.0, offset = 0.0, prior = 0.5, n_lenses = 1, n_others = 1, fitted_on = "nothing" }}
"""
    with (project / "ensemble.toml").open("a", encoding="utf-8") as stream:
        stream.write(gate)
    edit(project / "scan.toml", "[score]", "[score]\ncascade = true")
    return project


def test_every_detection_keeps_its_row_and_stopped_ones_say_so(gated: Path):
    before = tables(gated, "scores.parquet")
    summary = scan(gated).summary
    assert summary.detections == summary.cutouts == summary.scored
    after = tables(gated, "scores.parquet")
    stopped = 0
    for field, table in after.items():
        assert table["objid"].equals(before[field]["objid"])
        flagged = (table["vet_flags"].to_numpy() & STOPPED) != 0
        stopped += int(flagged.sum())
        for column in ("score", "score_std", "score_one", "score_two"):
            assert table[column].filter(pa.array(flagged)).null_count == flagged.sum()
            np.testing.assert_allclose(
                table[column].to_numpy()[~flagged], before[field][column].to_numpy()[~flagged], rtol=1e-3, atol=1e-6
            )
        known = np.isfinite(table["gate_score"].to_numpy())
        assert known[flagged].all()
        assert ((table["score"].to_numpy() > 0) | flagged | ~known).all()
    assert 0 < stopped < summary.scored
    assert summary.stopped == stopped
    nulls = sum(table["score"].null_count for table in after.values())
    assert summary.unscorable == nulls - stopped
    assert not any(
        (table["vet_flags"].to_numpy() & STOPPED).any() for table in tables(gated, "candidates.parquet").values()
    )


def test_a_scan_behind_gates_repeats_to_the_same_bytes_and_another_threshold_scores_again(
    gated: Path, edit: Callable[[Path, str, str], None]
):
    scan(gated)
    parts = {path.name: path.read_bytes() for path in sorted((gated / "out put" / "score").rglob("part-*.parquet"))}
    assert scan(gated).summary.ran == 0
    text = (gated / "ensemble.toml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("threshold"))
    edit(gated / "ensemble.toml", line, "threshold = -1e9")
    again = scan(gated)
    assert again.summary.ran == 6
    assert again.summary.stopped == 0
    edit(gated / "ensemble.toml", "threshold = -1e9", line)
    scan(gated)
    live = sorted((gated / "out put" / "score").rglob("part-*.parquet"))
    assert {path.name: path.read_bytes() for path in live} == parts


def test_gates_that_are_not_there_stop_a_scan_before_it_starts(project: Path, edit: Callable[[Path, str, str], None]):
    edit(project / "scan.toml", "[score]", "[score]\ncascade = true")
    with pytest.raises(ModelMismatch, match="has no cascade"):
        scan(project)
    assert not (project / "out put" / "masks").exists()


def test_a_scan_behind_gates_calibrates_nothing(gated: Path):
    scan(gated)
    words = ["calibrate", str(gated / "ensemble.toml"), "--scan", str(gated / "scan.toml"), "--prior", "0.05", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "score.cascade = false" in json.loads(result.stdout)["error"]
