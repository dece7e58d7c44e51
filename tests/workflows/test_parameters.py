"""A scan whose ensemble gives lens parameters of its candidates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io.votable import parse_single_table

from pipeline.catalogue.publish import publish
from pipeline.catalogue.query import query
from pipeline.catalogue.report import write_report
from pipeline.errors import ModelMismatch
from pipeline.inspector.facts import opinion_facts
from pipeline.io import cutout_store, products
from pipeline.io.exports import votable_bytes
from pipeline.models.ensemble import load_ensemble
from pipeline.models.posterior import base_samples
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.schema_lenses import TRUSTED, catalogue_parameters
from tests.workflows.conftest import write_ensemble, write_measurer, write_project
from workflows.cluster import ClusterConfig
from workflows.explain import explain_row, explain_text
from workflows.run import ScanOutcome, run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]
SECTION = '\n[parameters]\npackage = "measurer"\nsamples = 32\n'
NAMES = tuple(column.name for column in catalogue_parameters())


def write_measured(folder: Path) -> None:
    """The project with an ensemble that gives lens parameters; three tenths of the detections are candidates."""
    write_measurer(folder, 5)
    with (folder / "ensemble.toml").open("a") as stream:
        stream.write(SECTION)
    config = (folder / "scan.toml").read_text()
    (folder / "scan.toml").write_text(config.replace("max_fraction = 1.0", "max_fraction = 0.3"))


@pytest.fixture
def measured(project: Path) -> Path:
    """The project, to be changed and scanned."""
    write_measured(project)
    return project


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its scan in `out put`, to be read alone."""
    folder = tmp_path_factory.mktemp("parameters")
    write_project(folder)
    write_measured(folder)
    scan(folder)
    return folder


def scan(project: Path, out: str | None = None, config: str = "scan.toml") -> ScanOutcome:
    outcome = run_scan(open_scan(str(project / config), out), SERIAL, quiet=True)
    assert not outcome.failures
    return outcome


def table(output: Path, name: str, field: str = "F1") -> pa.Table:
    return pq.read_table(products.live_files(output, "candidates", name)[field])


def states(project: Path) -> set[str]:
    return {row["stage"] for row in status(open_scan(str(project / "scan.toml"))) if row["state"] == "stale"}


def test_candidates_have_parameters_and_other_rows_have_nulls(scanned: Path) -> None:
    candidates, scores = (table(scanned / "out put", f"{name}.parquet") for name in ("candidates", "scores"))
    assert 0 < len(candidates) < len(scores)
    for name in NAMES:
        assert candidates[name].null_count == 0
        assert scores[name].null_count == len(scores) - len(candidates)
    assert len(set(candidates["theta_E"].to_pylist())) == len(candidates)
    assert not any(np.isnan(scores[name].drop_null().to_numpy()).any() for name in NAMES if name != TRUSTED.name)
    assert candidates.schema.field("theta_E").metadata[b"unit"] == b"arcsec"


def test_they_are_mean_and_spread_of_samples_that_the_network_gives_of_the_cutout_alone(scanned: Path) -> None:
    output = scanned / "out put"
    row = table(output, "candidates.parquet").to_pylist()[2]
    manifest = products.live_manifest(output, "F1", "cutouts")
    assert manifest is not None
    store = cutout_store.open_store(output / manifest.place)
    stamps = cutout_store.read(store, row["row"], row["row"] + 1)
    ensemble = load_ensemble(scanned / "ensemble.toml")
    assert ensemble.fitter is not None
    package = ensemble.fitter.package
    given = Cutouts(stamps.image, stamps.ivar, stamps.mask, store.bands, store.pixel_scale)
    config = open_scan(str(scanned / "scan.toml")).config.score
    (batch,) = batches(given, np.arange(1), 1)
    with torch.inference_mode():
        (channels,) = Prepared(batch, given, config).views(package.card, 1)
        samples = package.network.head.sample(package.network.embed(channels), base_samples(32, 1))[0].double()
    got = [(row[name], row[f"{name}_std"]) for name in NAMES if f"{name}_std" in NAMES]
    expected = torch.stack([samples.mean(0), samples.std(0, correction=0)], 1)[: len(got)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_without_the_section_every_other_column_is_the_same(scanned: Path, tmp_path: Path) -> None:
    write_ensemble(scanned / "plain.toml")
    config = (scanned / "scan.toml").read_text().replace("ensemble.toml", "plain.toml")
    (scanned / "plain-scan.toml").write_text(config)
    scan(scanned, str(tmp_path), "plain-scan.toml")
    for name in ("scores.parquet", "candidates.parquet"):
        found, expected = table(scanned / "out put", name), table(tmp_path, name)
        assert found.drop(list(NAMES)).equals(expected)
        assert not set(NAMES) & set(expected.column_names)


def test_cutouts_that_do_not_stay_are_measured_before_they_go(scanned: Path, tmp_path: Path) -> None:
    config = (scanned / "scan.toml").read_text().replace("chunk = 4", 'chunk = 4\nkeep = "none"')
    (scanned / "none.toml").write_text(config)
    scan(scanned, str(tmp_path), "none.toml")
    for name in NAMES:
        one, other = (table(where, "candidates.parquet")[name] for where in (scanned / "out put", tmp_path))
        assert one.equals(other)


def test_other_weights_and_another_number_of_samples_redo_candidates_alone(measured: Path, edit: Edit) -> None:
    scan(measured)
    before = table(measured / "out put", "scores.parquet")
    write_measurer(measured, 6)
    assert states(measured) == {"candidates"}
    assert scan(measured).summary.ran == 3
    after = table(measured / "out put", "scores.parquet")
    assert after["score"].equals(before["score"])
    assert after["theta_E"].to_pylist() != before["theta_E"].to_pylist()
    for old, new in (("samples = 32", "samples = 33"), ("samples = 33", "samples = 32\nbeyond_share = 0.5")):
        edit(measured / "ensemble.toml", old, new)
        assert states(measured) == {"candidates"}


def test_an_ensemble_that_names_a_plain_classifier_is_refused(measured: Path, edit: Edit) -> None:
    edit(measured / "ensemble.toml", 'package = "measurer"', 'package = "one/../one"')
    with pytest.raises(ModelMismatch, match="gives no lens parameters"):
        load_ensemble(measured / "ensemble.toml")


def test_one_that_needs_another_band_stops_the_scan_before_it_starts(measured: Path, edit: Edit) -> None:
    edit(measured / "measurer" / "model.toml", '"i"', '"z"')
    with pytest.raises(ModelMismatch, match=r"'measurer' needs bands g, r, z; the data have g, r, i: z is missing"):
        open_scan(str(measured / "scan.toml"))


def test_manifests_name_its_weights_and_explain_tells_what_it_found(scanned: Path, tmp_path: Path) -> None:
    (manifest, *_) = sorted((scanned / "out put" / "manifests" / "F1").glob("candidates.*.json"))
    assert set(json.loads(manifest.read_text())["provenance"]["packages"]) == {"one", "two", "measurer"}
    row = table(scanned / "out put", "candidates.parquet").to_pylist()[0]
    picture, config = tmp_path / "row.png", str(scanned / "scan.toml")
    found = explain_row(scanned / "out put", str(row["objid"]), field="F1", scan=config, output=picture)
    assert f"Einstein radius {row['theta_E']:.2f} ± {row['theta_E_std']:.2f} arcsec" in explain_text(found)


def test_they_are_asked_for_in_queries_and_leave_with_units(scanned: Path, tmp_path: Path) -> None:
    every = query(scanned / "out put")["theta_E"].to_numpy()
    middle = float(np.median(every))
    assert len(query(scanned / "out put", f"theta_E > {middle} AND theta_E_trusted")) == (every > middle).sum()
    publish(scanned / "out put", tmp_path / "hats")
    published = query(tmp_path / "hats", columns=["theta_E", "shear_1_std", "theta_E_trusted"])
    np.testing.assert_array_equal(published["theta_E"].to_numpy(), every)
    (tmp_path / "lenses.vot").write_bytes(votable_bytes(published))
    told = parse_single_table(tmp_path / "lenses.vot")
    field = told.get_field_by_id("theta_E")
    assert (str(field.unit), field.ucd) == ("arcsec", "phys.angSize;stat.fit.param")
    assert told.array["theta_E_trusted"].all()


def test_report_and_inspector_show_them_with_their_spread(scanned: Path, tmp_path: Path) -> None:
    best = query(scanned / "out put", top=1).to_pylist()[0]
    told = opinion_facts(best, None)
    assert told["parameters"][0] == {
        "name": "theta_E",
        "value": best["theta_E"],
        "std": best["theta_E_std"],
        "unit": "arcsec",
    }
    assert [one["name"] for one in told["parameters"]] == [name for name in NAMES if f"{name}_std" in NAMES]
    assert told["trusted"] is True
    write_report(scanned / "out put", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"Einstein radius {best['theta_E']:.2f} ± {best['theta_E_std']:.2f}″" in text
