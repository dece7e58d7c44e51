"""The command `calibrate`: fits written beside, never into packages; a scan's candidates by another ensemble."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from typer.testing import CliRunner, Result

from pipeline.io import products
from pipeline.models.ensemble import load_ensemble
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.run import run_scan, status
from workflows.setup import open_scan


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, words), "--json"])


def told(result: Result) -> str:
    assert result.exit_code == 2, result.output
    return str(json.loads(result.stdout)["error"])


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lens = np.arange(600) < 200
    columns = {f"logit_{name}": rng.normal(0, 1, 600) + 3 * lens for name in ("one", "two")}
    pq.write_table(pa.table({"label": lens, **columns}), tmp_path / "sample.parquet")
    return tmp_path / "sample.parquet"


def test_every_rule_is_compared_and_written_beside_and_packages_keep_their_bytes(project: Path, sample: Path):
    before = tree(project / "one") | tree(project / "two")
    result = call(
        project / "ensemble.toml", "--scores", sample, "--rule", "all", "--folds", 2, "--out", project / "new"
    )
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert len(values["ensembles"]) == 7
    assert {line["name"] for line in values["comparison"]} > {"stacking", "rank", "one"}
    assert tree(project / "one") | tree(project / "two") == before
    for path in values["ensembles"]:
        assert load_ensemble(path).names == ("one", "two")


def test_apply_redoes_candidates_alone_and_the_scan_goes_back(project: Path, sample: Path):
    scan, out = project / "scan.toml", project / "out put"
    run_scan(open_scan(str(scan)), ClusterConfig(kind="serial"), quiet=True)
    before = tree(out)
    call(project / "ensemble.toml", "--scores", sample, "--rule", "stacking", "--folds", 2, "--out", project / "new")
    stacked = project / "new" / "stacking.toml"
    result = call(stacked, "--apply", scan, "--prior", 0.2)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["fields"], values["ran"], values["waiting"], values["failures"]) == (3, 3, [], [])
    after = tree(out)
    untouched = {name for name in before if not name.startswith("candidates/") and "/candidates." not in name}
    assert {name: after[name] for name in untouched if not name.startswith("runs/")} == {
        name: before[name] for name in untouched if not name.startswith("runs/")
    }
    ensemble = load_ensemble(stacked)
    for field, path in products.live_files(out, "candidates", "scores.parquet").items():
        table = pq.read_table(path)
        assert table["ood"].null_count == len(table)
        score = products.live_manifest(out, field, "score")
        assert score is not None
        parts = pa.concat_tables(pq.read_table(part) for part in sorted((out / score.place).glob("part-*.parquet")))
        order = {objid: row for row, objid in enumerate(parts["objid"].to_pylist())}
        rows = [order[objid] for objid in table["objid"].to_pylist()]
        raw = np.full(len(rows), ensemble.combination.intercept or 0.0)
        for member in ensemble.members:
            own = member.calibration
            logits = parts[f"logit_{member.name}"].to_numpy()[rows].astype(float)
            ratio = own.slope * logits + own.offset - np.log(own.prior / (1 - own.prior))
            raw += (ensemble.combination.coefficients or {})[member.name] * ratio
        own = ensemble.calibration
        assert own is not None
        odds = own.slope * raw + own.offset + np.log(0.2 / 0.8) - np.log(own.prior / (1 - own.prior))
        np.testing.assert_allclose(table["score"].to_numpy(), expit(odds), rtol=1e-5, atol=1e-30)
    manifest = products.live_manifest(out, "F0", "candidates")
    assert manifest is not None
    assert manifest.provenance["config"]["ensemble"] == str(stacked)
    assert manifest.provenance["config"]["candidates"]["prior"] == 0.2
    again = json.loads(call(stacked, "--apply", scan, "--prior", 0.2).stdout)
    assert (again["fields"], again["ran"]) == (3, 0)
    rows = status(open_scan(str(scan)))
    assert {str(row["state"]) for row in rows if row["stage"] == "candidates"} == {"stale"}
    assert run_scan(open_scan(str(scan)), ClusterConfig(kind="serial"), quiet=True).summary.ran == 3


def test_a_survey_calibrates_on_its_own_detections(project: Path):
    scan = project / "scan.toml"
    run_scan(open_scan(str(scan)), ClusterConfig(kind="serial"), quiet=True)
    result = call(project / "ensemble.toml", "--scan", scan, "--prior", 0.05, "--out", project / "own")
    if result.exit_code == 2:
        assert "Scan more fields" in told(result)
        return
    values = json.loads(result.stdout)
    assert set(values["shifts"]) == {"one", "two", "ensemble"}
    assert call(values["ensembles"][0], "--apply", scan).exit_code == 0


def test_an_unscanned_or_foreign_output_is_told_to_scan_first(project: Path, sample: Path):
    scan = project / "scan.toml"
    assert "`lensscan scan`" in told(call(project / "ensemble.toml", "--apply", scan))
    assert "no file" in told(call(project / "ensemble.toml", "--scan", project / "nowhere.toml"))
    assert "no scan.json" in told(call(project / "ensemble.toml", "--scan", project / "one"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to calibrate on"),
        (("--scores", "SAMPLE", "--rule", "best"), "there are all, mean_log_odds"),
        (("--scores", "SAMPLE", "--method", "isotonic"), "platt and beta"),
        (("--scores", "SAMPLE", "--weigh", "0"), "between 0 and 1"),
        (("--scores", "SAMPLE", "--familiarity"), "needs pixels"),
        (("--labels", "SAMPLE"), "--labels go with --scores"),
        (("--apply", "scan.toml", "--scores", "SAMPLE"), "leave --scores out"),
        (("--pools", "nothing-*.npz"), "no pool matches"),
    ],
)
def test_options_that_make_no_sense_are_refused(project: Path, sample: Path, words: tuple[str, ...], message: str):
    given = [str(sample) if word == "SAMPLE" else word for word in words]
    assert message in told(call(project / "ensemble.toml", *given))


def test_one_class_and_too_few_are_refused_with_their_numbers(project: Path, sample: Path):
    table = pq.read_table(sample)
    pq.write_table(table.slice(0, 200), project / "one-class.parquet")
    assert "200 lenses and 0 others" in told(call(project / "ensemble.toml", "--scores", project / "one-class.parquet"))
    pq.write_table(table.slice(195, 100), project / "few.parquet")
    assert "5 lenses and 95 others" in told(call(project / "ensemble.toml", "--scores", project / "few.parquet"))
