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

from pipeline.errors import ModelMismatch
from pipeline.io import cutout_store, products
from pipeline.models.ensemble import load_ensemble
from pipeline.models.posterior import base_samples
from pipeline.scan.field_scan import scan_field
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.schema import catalogue_parameters
from tests.workflows.conftest import write_ensemble, write_member
from workflows.cluster import ClusterConfig
from workflows.explain import explain_row, explain_text
from workflows.field_tables import scored_table
from workflows.run import ScanOutcome, run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]
SECTION = '\n[parameters]\npackage = "measurer"\nsamples = 32\n'
NAMES = tuple(column.name for column in catalogue_parameters())


def write_measurer(folder: Path, seed: int) -> None:
    write_member(folder, "measurer", seed, architecture="lensnet", size=32, kept=4, hidden=16, context=8, flow=1)


@pytest.fixture
def measured(project: Path, edit: Edit) -> Path:
    """The project with an ensemble that gives lens parameters; three tenths of the detections are candidates."""
    write_measurer(project, 5)
    with (project / "ensemble.toml").open("a") as stream:
        stream.write(SECTION)
    edit(project / "scan.toml", "max_fraction = 1.0", "max_fraction = 0.3")
    return project


def scan(project: Path, out: str | None = None, cluster: ClusterConfig = SERIAL) -> ScanOutcome:
    outcome = run_scan(open_scan(str(project / "scan.toml"), out), cluster, quiet=True)
    assert not outcome.failures
    return outcome


def table(output: Path, name: str, field: str = "F1") -> pa.Table:
    return pq.read_table(products.live_files(output, "candidates", name)[field])


def states(project: Path) -> set[str]:
    return {row["stage"] for row in status(open_scan(str(project / "scan.toml"))) if row["state"] == "stale"}


def test_candidates_have_parameters_and_other_rows_have_nulls(measured: Path) -> None:
    scan(measured)
    candidates, scores = (table(measured / "out put", f"{name}.parquet") for name in ("candidates", "scores"))
    assert 0 < len(candidates) < len(scores)
    for name in NAMES:
        assert candidates[name].null_count == 0
        assert scores[name].null_count == len(scores) - len(candidates)
        assert not pa.compute.any(pa.compute.is_nan(scores[name])).as_py() if name != "theta_E_trusted" else True
    assert len(set(candidates["theta_E"].to_pylist())) == len(candidates)
    assert candidates.schema.field("theta_E").metadata[b"unit"] == b"arcsec"


def test_they_are_mean_and_spread_of_samples_that_the_network_gives_of_the_cutout_alone(measured: Path) -> None:
    scan(measured)
    output = measured / "out put"
    row = table(output, "candidates.parquet").to_pylist()[2]
    manifest = products.live_manifest(output, "F1", "cutouts")
    assert manifest is not None
    store = cutout_store.open_store(output / manifest.place)
    stamps = cutout_store.read(store, row["row"], row["row"] + 1)
    ensemble = load_ensemble(measured / "ensemble.toml")
    assert ensemble.fitter is not None
    package = ensemble.fitter.package
    given = Cutouts(stamps.image, stamps.ivar, stamps.mask, store.bands, store.pixel_scale)
    config = open_scan(str(measured / "scan.toml")).config.score
    (batch,) = batches(given, np.arange(1), 1)
    with torch.inference_mode():
        (channels,) = Prepared(batch, given, config).views(package.card, 1)
        samples = package.network.head.sample(package.network.embed(channels), base_samples(32, 1))[0].double()
    got = [(row[name], row[f"{name}_std"]) for name in NAMES if f"{name}_std" in NAMES]
    expected = torch.stack([samples.mean(0), samples.std(0, correction=0)], 1)[: len(got)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_without_the_section_the_tables_keep_their_bytes(measured: Path, edit: Edit) -> None:
    scan(measured, str(measured / "with"))
    edit(measured / "ensemble.toml", SECTION, "")
    scan(measured, str(measured / "without"))
    for name in ("scores.parquet", "candidates.parquet"):
        found, expected = table(measured / "with", name), table(measured / "without", name)
        assert found.drop(list(NAMES)).equals(expected)
        assert not set(NAMES) & set(expected.column_names)


def test_a_cluster_gives_the_bytes_of_the_serial_executor_and_the_line_in_memory_its_rows(measured: Path) -> None:
    scan(measured, str(measured / "serial"))
    scan(measured, str(measured / "cluster"), ClusterConfig(workers=2))
    for name in ("candidates.parquet", "scores.parquet"):
        one, other = (products.live_files(measured / where, "candidates", name) for where in ("serial", "cluster"))
        assert {field: path.read_bytes() for field, path in one.items()} == {
            field: path.read_bytes() for field, path in other.items()
        }
    setup = open_scan(str(measured / "scan.toml"), str(measured / "serial"))
    fields = {field.field_id: field for field in setup.survey.fields()}
    others = [setup.survey.geometry(fields[name]) for name in ("F0", "F2")]
    assert setup.ensemble_path is not None
    image = setup.survey.open(fields["F1"], setup.config.bands)
    rows = scan_field(image, load_ensemble(setup.ensemble_path), setup.config, neighbours=others)
    written = scored_table(rows, setup.config.bands, rows.members).drop(["survey", "release"])
    assert written.to_pylist() == table(measured / "serial", "scores.parquet").drop(["survey", "release"]).to_pylist()


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


def test_cutouts_that_do_not_stay_are_fitted_before_they_go(measured: Path, edit: Edit) -> None:
    scan(measured, str(measured / "all"))
    edit(measured / "scan.toml", "chunk = 4", 'chunk = 4\nkeep = "none"')
    scan(measured, str(measured / "none"))
    for name in NAMES:
        one, other = (table(measured / where, "candidates.parquet")[name] for where in ("all", "none"))
        assert one.equals(other)


def test_a_stamp_unlike_the_training_or_a_lens_beyond_it_is_not_trusted(measured: Path) -> None:
    scan(measured)
    rows = table(measured / "out put", "candidates.parquet")
    assert all(rows["theta_E_trusted"].to_pylist())
    middle = float(np.median(rows["theta_E"].to_numpy()))
    ensemble = load_ensemble(measured / "ensemble.toml")
    assert ensemble.fitter is not None
    network = ensemble.fitter.package.network
    network.head.support[1, 0] = middle
    from pipeline.models.publish import save_package

    package = ensemble.fitter.package
    save_package(measured / "measurer", package.card, network, package.calibration)
    scan(measured)
    after = table(measured / "out put", "candidates.parquet")
    trusted = dict(zip(after["theta_E"].to_pylist(), after["theta_E_trusted"].to_pylist(), strict=True))
    assert not any(trusted[value] for value in trusted if value > middle)
    assert len(set(trusted.values())) == 2 or not any(trusted.values())


def test_an_ensemble_that_names_a_plain_classifier_is_refused(measured: Path, edit: Edit) -> None:
    edit(measured / "ensemble.toml", 'package = "measurer"', 'package = "one/../one"')
    with pytest.raises(ModelMismatch, match="gives no lens parameters"):
        load_ensemble(measured / "ensemble.toml")


def test_one_that_needs_another_band_stops_the_scan_before_it_starts(measured: Path, edit: Edit) -> None:
    edit(measured / "measurer" / "model.toml", '"i"', '"z"')
    with pytest.raises(ModelMismatch, match=r"'measurer' needs bands g, r, z; the data have g, r, i: z is missing"):
        open_scan(str(measured / "scan.toml"))


def test_manifests_name_its_weights_and_explain_tells_what_it_found(measured: Path) -> None:
    scan(measured)
    (manifest, *_) = sorted((measured / "out put" / "manifests" / "F1").glob("candidates.*.json"))
    assert set(json.loads(manifest.read_text())["provenance"]["packages"]) == {"one", "two", "measurer"}
    row = table(measured / "out put", "candidates.parquet").to_pylist()[0]
    write_ensemble(measured / "plain.toml")
    found = explain_row(
        measured / "out put",
        str(row["objid"]),
        field="F1",
        ensemble=str(measured / "plain.toml"),
        output=measured / "row.png",
    )
    assert f"Einstein radius {row['theta_E']:.2f} ± {row['theta_E_std']:.2f} arcsec" in explain_text(found)
