"""A scan whose ensemble draws maps of its candidates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ModelMismatch
from pipeline.flags import VetFlag
from pipeline.geometry import separation
from pipeline.io import products
from pipeline.models.ensemble import load_ensemble
from pipeline.scan.field_scan import scan_field
from tests.workflows.conftest import write_ensemble, write_measurer, write_member
from workflows.cluster import ClusterConfig
from workflows.explain import explain_row, explain_text
from workflows.field_tables import scored_table
from workflows.run import ScanOutcome, run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]
MAPS = ("joint_score", "artefact_overlap", "lens_ra", "lens_dec", "arc_area")
PARAMETERS = '\n[parameters]\npackage = "measurer"\nsamples = 32\n'
JOINT = """
[maps]
package = "drawer"
[maps.joint]
intercept = 0.1
score = 0.9
light = -0.2
sides = 1.0
off_centre = -0.5
prior = 0.5
n_lenses = 10
n_others = 10
fitted_on = "nothing"
"""


@pytest.fixture
def mapped(project: Path, edit: Edit) -> Path:
    """The project with an ensemble that draws maps, in which three tenths of the detections are candidates."""
    write_member(project, "drawer", 5, architecture="unet", gain=2.0)
    edit(project / "ensemble.toml", '[[members]]\npackage = "one"', JOINT + '[[members]]\npackage = "one"')
    edit(project / "scan.toml", "max_fraction = 1.0", "max_fraction = 0.3")
    return project


def scan(project: Path, out: str | None = None, cluster: ClusterConfig = SERIAL) -> ScanOutcome:
    return run_scan(open_scan(str(project / "scan.toml"), out), cluster, quiet=True)


def table(project: Path, name: str, field: str = "F1") -> pa.Table:
    return pq.read_table(products.live_files(project, "candidates", name)[field])


def test_candidates_have_maps_and_other_rows_have_nulls(mapped: Path) -> None:
    scan(mapped)
    candidates, scores = (table(mapped / "out put", f"{name}.parquet") for name in ("candidates", "scores"))
    assert 0 < len(candidates) < len(scores)
    for name in ("joint_score", "artefact_overlap", "arc_area"):
        assert candidates[name].null_count == 0
        assert scores[name].null_count == len(scores) - len(candidates)
    assert all(0 <= value <= 1 for value in candidates["artefact_overlap"].to_pylist())


def test_the_lens_lies_on_the_stamp_of_its_candidate(mapped: Path) -> None:
    scan(mapped)
    rows = table(mapped / "out put", "candidates.parquet").to_pandas()
    lit = rows[rows.arc_area > 0]
    assert len(lit) > 0
    assert lit.lens_ra.notna().all()
    apart = separation(lit.ra, lit.dec, lit.lens_ra, lit.lens_dec) * 3600
    assert (apart < 9.6 / 2**0.5 + 0.3).all()
    assert rows[rows.arc_area == 0].lens_ra.isna().all()


def test_artefact_likely_is_told_by_the_overlap(mapped: Path, edit: Edit) -> None:
    scan(mapped)
    overlap = table(mapped / "out put", "candidates.parquet")["artefact_overlap"].to_numpy()
    cut = float(np.median(overlap))
    edit(mapped / "scan.toml", "[candidates]", f"[vet]\nartefact_overlap = {cut}\n[candidates]")
    assert scan(mapped).summary.ran == 3
    after = table(mapped / "out put", "candidates.parquet")
    flagged = (after["vet_flags"].to_numpy() & int(VetFlag.ARTEFACT_LIKELY)) != 0
    np.testing.assert_array_equal(flagged, after["artefact_overlap"].to_numpy() >= np.float32(cut))
    assert 0 < flagged.sum() < len(flagged)


def test_the_joint_score_is_that_of_score_and_map(mapped: Path) -> None:
    scan(mapped)
    rows = table(mapped / "out put", "candidates.parquet")
    joint = load_ensemble(mapped / "ensemble.toml").mapper
    assert joint is not None
    # At a prior of one half the evidence of a score is its log-odds.
    score = np.array([0.2, 0.9], np.float32)
    got = joint.joint_score(score, 0.5, np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 2.0]]))
    expected = 1 / (1 + np.exp(-(0.1 + 0.9 * np.log(score / (1 - score)) + np.array([0.0, -0.2 + 0.5 - 1.0]))))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert rows["joint_score"].to_pylist() != rows["score"].to_pylist()


def test_a_cluster_gives_the_bytes_of_the_serial_executor_and_the_line_in_memory_its_rows(mapped: Path) -> None:
    write_measurer(mapped, 5)
    with (mapped / "ensemble.toml").open("a") as stream:
        stream.write(PARAMETERS)
    scan(mapped, str(mapped / "serial"))
    scan(mapped, str(mapped / "cluster"), ClusterConfig(workers=2))
    for name in ("candidates.parquet", "scores.parquet"):
        one, other = (products.live_files(mapped / where, "candidates", name) for where in ("serial", "cluster"))
        assert {field: path.read_bytes() for field, path in one.items()} == {
            field: path.read_bytes() for field, path in other.items()
        }
    setup = open_scan(str(mapped / "scan.toml"), str(mapped / "serial"))
    fields = {field.field_id: field for field in setup.survey.fields()}
    others = [setup.survey.geometry(fields[name]) for name in ("F0", "F2")]
    assert setup.ensemble_path is not None
    image = setup.survey.open(fields["F1"], setup.config.bands)
    rows = scan_field(image, load_ensemble(setup.ensemble_path), setup.config, neighbours=others)
    written = scored_table(rows, setup.config.bands, rows.members).drop(["survey", "release"])
    expected = table(mapped / "serial", "scores.parquet")
    assert written.to_pylist() == expected.drop(["survey", "release"]).to_pylist()
    assert expected["theta_E"].null_count == expected["arc_area"].null_count < len(expected)


def test_another_drawer_redoes_candidates_alone_and_keeps_scores(mapped: Path) -> None:
    scan(mapped)
    before = table(mapped / "out put", "scores.parquet")
    write_member(mapped, "drawer", 6, architecture="unet", gain=2.0)
    stale = {row["stage"] for row in status(open_scan(str(mapped / "scan.toml"))) if row["state"] == "stale"}
    assert stale == {"candidates"}
    assert scan(mapped).summary.ran == 3
    after = table(mapped / "out put", "scores.parquet")
    assert after["score"].to_pylist() == before["score"].to_pylist()
    assert after["arc_area"].to_pylist() != before["arc_area"].to_pylist()


def test_an_ensemble_that_names_a_plain_classifier_as_its_drawer_is_refused(mapped: Path, edit: Edit) -> None:
    edit(mapped / "ensemble.toml", 'package = "drawer"', 'package = "one/../one"')
    with pytest.raises(ModelMismatch, match="draws no maps"):
        load_ensemble(mapped / "ensemble.toml")


def test_manifests_name_the_drawers_weights(mapped: Path) -> None:
    scan(mapped)
    (manifest, *_) = sorted((mapped / "out put" / "manifests" / "F1").glob("candidates.*.json"))
    packages = json.loads(manifest.read_text())["provenance"]["packages"]
    assert set(packages) == {"one", "two", "drawer"}


def test_explain_draws_the_maps_and_says_what_was_measured_on_them(mapped: Path) -> None:
    scan(mapped)
    rows = table(mapped / "out put", "candidates.parquet").to_pylist()
    row = next(row for row in rows if row["arc_area"] > 0)
    with_maps, without = mapped / "with.png", mapped / "without.png"
    found = explain_row(
        mapped / "out put", str(row["objid"]), field="F1", scan=str(mapped / "scan.toml"), output=with_maps
    )
    assert f"lens light over {row['arc_area']:.3g} arcsec2" in explain_text(found)
    assert "note:" not in explain_text(found)
    write_ensemble(mapped / "plain.toml")
    explain_row(mapped / "out put", str(row["objid"]), field="F1", ensemble=str(mapped / "plain.toml"), output=without)
    assert with_maps.read_bytes() != without.read_bytes()


def test_a_drawer_that_needs_another_band_stops_the_scan_before_it_starts(mapped: Path, edit: Edit) -> None:
    edit(mapped / "drawer" / "model.toml", '"i"', '"z"')
    with pytest.raises(ModelMismatch, match=r"'drawer' needs bands g, r, z; the data have g, r, i: z is missing"):
        open_scan(str(mapped / "scan.toml"))
