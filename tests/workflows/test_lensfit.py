"""The command `lensfit`: lens parameters of a scan's candidates, whoever made the scan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.errors import ConfigError, ModelMismatch, QueryError
from pipeline.scan_config import ScoreConfig, VetConfig
from pipeline.schema_lenses import parameter_names
from tests.workflows.conftest import write_measurer, write_project
from tests.workflows.test_parameters import SECTION
from workflows import lensfit_measure
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.lensfit import lensfit_catalogue, lensfit_text
from workflows.run import run_scan
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a scan in `out put` whose ensemble gives no lens parameters, and a network that does."""
    folder = tmp_path_factory.mktemp("lensfit")
    write_project(folder)
    write_measurer(folder, 5)
    config = (folder / "scan.toml").read_text()
    (folder / "scan.toml").write_text(config.replace("max_fraction = 1.0", "max_fraction = 0.3"))
    assert not run_scan(open_scan(str(folder / "scan.toml")), SERIAL, quiet=True).failures
    return folder


def measure(scanned: Path, target: Path, out: str = "out put", **options: object) -> pa.Table:
    lensfit_catalogue(scanned / out, package=str(scanned / "measurer"), output=target, **options)  # type: ignore[arg-type]
    return pq.read_table(target)


def test_every_candidate_has_a_row_best_first_and_samples_beside(scanned: Path, tmp_path: Path) -> None:
    table = measure(scanned, tmp_path / "lenses.parquet", samples=16)
    candidates = query(scanned / "out put")
    assert [table[name].to_pylist() for name in ("field_id", "objid", "score")] == [
        candidates[name].to_pylist() for name in ("field_id", "objid", "score")
    ]
    drawn = pq.read_table(tmp_path / "lenses-samples.parquet")
    by_key = {(row["field_id"], row["objid"]): row for row in drawn.to_pylist()}
    assert len(by_key) == len(table)
    for row in table.to_pylist():
        mine = by_key[row["field_id"], row["objid"]]
        for name in parameter_names():
            assert len(mine[name]) == 16
            assert row[name] == pytest.approx(np.mean(mine[name]), rel=1e-5, abs=1e-6)
            assert row[f"{name}_std"] == pytest.approx(np.std(mine[name]), rel=1e-3, abs=1e-6)


def test_they_are_what_a_scan_with_the_network_in_its_ensemble_has_in_its_catalogue(
    scanned: Path, tmp_path: Path
) -> None:
    (scanned / "measuring.toml").write_text((scanned / "ensemble.toml").read_text() + SECTION)
    config = (scanned / "scan.toml").read_text().replace('"ensemble.toml"', '"measuring.toml"')
    (scanned / "measuring-scan.toml").write_text(config)
    assert not run_scan(open_scan(str(scanned / "measuring-scan.toml"), str(tmp_path / "scan")), SERIAL).failures
    found = measure(scanned, tmp_path / "lenses.parquet", samples=32)
    catalogue = query(tmp_path / "scan")
    for name in ("theta_E", "theta_E_std", "mass_e1", "shear_2_std", "source_y"):
        np.testing.assert_allclose(found[name].to_numpy(), catalogue[name].to_numpy(), rtol=1e-5, atol=1e-6)
    assert found["theta_E_trusted"].to_pylist() == catalogue["theta_E_trusted"].to_pylist()


def test_duckdb_reads_both_tables(scanned: Path, tmp_path: Path) -> None:
    table = measure(scanned, tmp_path / "lenses.parquet", top=3)
    joined = duckdb.sql(
        f"SELECT l.theta_E, list_avg(s.theta_E) AS mean FROM '{tmp_path}/lenses.parquet' l "
        f"JOIN '{tmp_path}/lenses-samples.parquet' s USING (field_id, objid, method)"
    ).to_arrow_table()
    assert len(joined) == len(table) == 3
    np.testing.assert_allclose(joined["mean"].to_numpy(), joined["theta_E"].to_numpy(), rtol=1e-5)


def test_conditions_choose_rows(scanned: Path, tmp_path: Path) -> None:
    every = query(scanned / "out put")
    middle = float(np.median(every["score"].to_numpy()))
    above = measure(scanned, tmp_path / "a.parquet", where=f"score > {middle}", fields=["F1"])
    assert 0 < len(above) == sum(row["field_id"] == "F1" and row["score"] > middle for row in every.to_pylist())
    best = measure(scanned, tmp_path / "b.parquet", top=2)
    assert best["objid"].to_pylist() == every["objid"].to_pylist()[:2]
    other = query(scanned / "out put", all=True)
    unlisted = next(one for one in other["objid"].to_pylist() if one not in set(every["objid"].to_pylist()))
    assert set(measure(scanned, tmp_path / "c.parquet", objid=[str(unlisted)])["objid"].to_pylist()) == {unlisted}


def test_cutouts_that_were_not_kept_are_cut_again_from_the_survey(scanned: Path, tmp_path: Path) -> None:
    config = (scanned / "scan.toml").read_text().replace("chunk = 4", 'chunk = 4\nkeep = "none"')
    (scanned / "bare.toml").write_text(config)
    out = str(tmp_path / "bare")
    assert not run_scan(open_scan(str(scanned / "bare.toml"), out), SERIAL, quiet=True).failures
    with pytest.raises(ConfigError, match=r"did not keep the cutouts of F0.*--scan"):
        measure(scanned, tmp_path / "none.parquet", out=out)
    assert not list(tmp_path.glob("*none*"))
    again = measure(scanned, tmp_path / "again.parquet", out=out, scan=str(scanned / "bare.toml"))
    kept = measure(scanned, tmp_path / "kept.parquet")
    assert again.equals(kept)
    other = (scanned / "scan.toml").read_text().replace("mini-scan", "other-scan")
    (scanned / "other.toml").write_text(other)
    with pytest.raises(ConfigError, match="give the config of that scan as --scan"):
        measure(scanned, tmp_path / "other.parquet", scan=str(scanned / "other.toml"))


def test_what_makes_no_sense_is_refused_with_the_next_step(scanned: Path, tmp_path: Path) -> None:
    keys = {"package": str(scanned / "measurer"), "output": tmp_path / "x.parquet"}
    for wrong, told in (
        ({"fit": "mcmc"}, "there are map and nuts"),
        ({"samples": 1}, "from 2 to 100,000"),
        ({"output": tmp_path / "x.txt"}, "give a suffix of"),
        ({"objid": ["lens"]}, "not a whole number"),
        ({"output": scanned / "out put" / "x.parquet"}, "--output .* would write into"),
        ({"pictures": scanned / "out put" / "seen"}, "--pictures .* would write into"),
    ):
        with pytest.raises(ConfigError, match=told):
            lensfit_catalogue(scanned / "out put", **{**keys, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ModelMismatch, match="gives no lens parameters"):
        lensfit_catalogue(scanned / "out put", **{**keys, "package": str(scanned / "one")})
    with pytest.raises(QueryError, match="no candidate fulfils"):
        lensfit_catalogue(scanned / "out put", "score > 2", **keys)
    assert not list(tmp_path.iterdir())
    assert not (scanned / "out put" / "seen").exists()


def test_a_scan_of_another_machines_device_is_measured_on_this_one(
    scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = measure(scanned, tmp_path / "here.parquet", top=2)
    monkeypatch.setattr(lensfit_measure, "_asked_of", lambda *given: (ScoreConfig(device="cuda"), VetConfig()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert measure(scanned, tmp_path / "there.parquet", top=2).equals(expected)


def test_the_command_prints_the_first_rows_or_one_object(scanned: Path, tmp_path: Path) -> None:
    given = ["lensfit", str(scanned / "out put"), "--package", str(scanned / "measurer"), "--top", "4"]
    given += ["--output", str(tmp_path / "lenses.csv"), "--samples", "8"]
    answer = CliRunner().invoke(app, [*given, "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["objects"], told["measured"], len(told["rows"])) == (4, 4, 4)
    assert told["rows"][0]["objid"] == str(query(scanned / "out put", top=1)["objid"][0])
    text = CliRunner().invoke(app, given)
    first = told["rows"][0]
    assert f"{first['theta_E']:.2f} ± {first['theta_E_std']:.2f}" in text.stdout
    assert "4 of 4 measured" in text.stdout
    assert (tmp_path / "lenses.csv").read_text().count("\n") == 5


def test_a_row_without_parameters_is_told_so() -> None:
    from workflows.lensfit import LensfitResult

    names = [*parameter_names(), *(f"{name}_std" for name in parameter_names())]
    row = {"objid": "1", "field_id": "F", "score": None, "method": "network", "theta_E_trusted": None}
    result = LensfitResult("a", "b", 1, 0, 0, 0, 0, 0, 0.1, ({**row, **dict.fromkeys(names)},))
    assert "not measured" in lensfit_text(result)
