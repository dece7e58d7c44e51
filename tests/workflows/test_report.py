"""What `lensscan report` brings together: the ensemble's files, grades, known lenses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.stamps import Stamp
from pipeline.errors import ConfigError, GradeError, QueryError
from pipeline.geometry import Footprint, Footprints
from pipeline.inspector.grades import open_grades
from pipeline.inspector.identity import catalogue_identity, grades_folder
from pipeline.inspector.planted import Planted, PlantedItem, save_planted
from pipeline.io import products
from pipeline.io.footprints import write_footprints
from pipeline.io.tables import build_table, write_table
from pipeline.schema import Column
from tests.catalogue.conftest import make_table, publish_field
from workflows.catalogue import scan_report
from workflows.report_ensemble import report_ensemble
from workflows.report_truth import judged_of, known_of

FOUR = ("ra", "dec", "x", "y")


def scan_of(output: Path, ensemble: str | None, packages: dict[str, str] | None = None) -> Path:
    """A scan of one field with four candidates, by an ensemble."""
    table = make_table("f", [1, 2, 3, 4], [10.0, 10.1, 10.2, 10.3], [0.0] * 4, [0.9, 0.7, 0.5, 0.1])
    publish_field(output, "f", table, table)
    manifest = products.live_manifest(output, "f", "candidates")
    assert manifest is not None
    generation = manifest.place.rpartition("/")[2]
    products.publish(
        output,
        field_id="f",
        stage="candidates",
        fingerprint="f1",
        generation=generation,
        rows=4,
        provenance={"config": {"scan_id": "test", "ensemble": ensemble}, "packages": packages or {}},
        counts=dict(manifest.counts),
        amend=True,
    )
    return output


def place(output: Path) -> None:
    """Say where the field and its detections are: pixels of an arc second, (0, 0) at ra 10.5, dec -0.5."""
    centre = np.radians([10.15, 0.0])
    known = Footprints(["f"])
    vector = (float(np.cos(centre[0])), float(np.sin(centre[0])), 0.0)
    known.put(0, Footprint("f", (3600, 2520), 1.0, vector, 0.011, f"{1:032x}"))
    write_footprints(output, np.array([f"{1:032x}".encode()], "S32"), known)
    ra, dec = np.array([10.0, 10.1, 10.2, 10.3, 10.15]), np.array([0.0, 0.0, 0.0, 0.0, 0.3])
    columns = [Column("objid", pa.int64(), "", "", "id"), *(Column(name, pa.float64(), "", "", "") for name in FOUR)]
    generation = products.new_generation(output, "detect", "f", "d1")
    values = {"ra": ra, "dec": dec, "x": (10.5 - ra) * 3600, "y": (dec + 0.5) * 3600}
    table = build_table(columns, {"objid": np.arange(1, 6), **values})
    write_table(output / products.generation_place("detect", "f", generation) / "detections.parquet", table)
    told = {"rows": 5, "provenance": {}}
    products.publish(output, field_id="f", stage="detect", fingerprint="d1", generation=generation, **told)


def test_a_shipped_ensemble_is_found_by_the_name_that_the_products_have(tmp_path: Path) -> None:
    found = report_ensemble(scan_of(tmp_path / "out", "ground"))
    assert found.calibration is not None
    own, *members = found.calibration.fits
    assert (own.name, own.method, own.prior, own.error) == ("ground (weighted)", "beta", 0.01, None)
    assert len(members) == 5
    assert all(fit.error is not None and 0 < fit.error < 0.1 for fit in members)
    assert found.maps is not None
    assert found.calibration.note == ""


def test_other_weights_than_those_that_scored_are_told_and_draw_no_maps(tmp_path: Path) -> None:
    found = report_ensemble(scan_of(tmp_path / "out", "ground", {"ground_unet": "0" * 64, "ground_resnet": "1" * 64}))
    assert found.maps is None
    assert "ground_unet" in found.told
    assert found.calibration is not None
    assert "ground_resnet" in found.calibration.note


def test_an_ensemble_of_which_only_a_relative_path_is_known_is_asked_for(tmp_path: Path) -> None:
    found = report_ensemble(scan_of(tmp_path / "out", "../mine.toml"))
    assert found.maps is None
    assert found.calibration is not None
    assert "--ensemble FILE" in found.calibration.note
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        report_ensemble(tmp_path / "out", "nowhere.toml")


def test_a_scan_without_an_ensemble_has_no_calibration(tmp_path: Path) -> None:
    assert report_ensemble(scan_of(tmp_path / "out", None)).calibration is None


def test_maps_are_drawn_of_stamps_of_any_size_and_none_where_a_band_is_missing(tmp_path: Path) -> None:
    found = report_ensemble(scan_of(tmp_path / "out", "ground"))
    assert found.maps is not None
    rng = np.random.default_rng(0)

    def stamp(bands: tuple[str, ...], side: int) -> Stamp:
        image = rng.normal(0, 1, (len(bands), side, side)).astype(np.float32)
        return Stamp(image, np.zeros(image.shape, np.uint32), bands, 0.3, np.ones_like(image))

    first, none, other = found.maps([stamp(("g", "r", "i"), 64), stamp(("r",), 64), stamp(("g", "r", "i"), 80)])
    assert none is None
    assert first is not None
    assert other is not None
    assert [part.shape for part in (*first, *other)] == [(64, 64)] * 2 + [(80, 80)] * 2
    assert np.nanmin(first[0]) >= 0
    assert np.nanmax(first[0]) <= 1


def test_grades_beside_the_scan_are_counted_without_what_was_planted(tmp_path: Path) -> None:
    output = scan_of(tmp_path / "out", None)
    assert judged_of(output) is None
    identity = catalogue_identity(output)
    known = {("f", objid) for objid in (1, 2, 3, 4)}
    with open_grades(grades_folder(output), catalogue_identity=identity, known=known) as grades:
        save_planted(grades_folder(output), Planted((PlantedItem("f", 4, "lens", "lenses.csv", 0),)))
        grades.grade("ann", "f", 4, "A")
        for objid, letter in ((1, "A"), (2, "X"), (3, "B")):
            grades.grade("ann", "f", objid, letter)
        grades.grade("bob", "f", 2, "X")
    judged = judged_of(output)
    assert judged is not None
    assert dict(judged.lens) == {("f", 1): True, ("f", 2): False, ("f", 3): True}
    assert "2 people" in judged.by
    text = scan_report(output, tmp_path / "page.html").read_text()
    assert "3 objects graded by 2 people" in text


def test_a_folder_that_holds_no_grades_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    output = scan_of(tmp_path / "out", None)
    with pytest.raises(GradeError):
        judged_of(output, tmp_path)


def test_known_lenses_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    output = scan_of(tmp_path / "out", None)
    place(output)
    lenses = tmp_path / "lenses.csv"
    lenses.write_text(
        "name,ra,dec,grading\n<i>one</i>,10.0,0.0,confident\ntwo,10.3,0.0,confident\nfar,200,50,probable\n"
    )
    known = known_of(output, str(lenses))
    assert known.systems == 3
    assert known.detected == 2
    assert known.scored == 2
    best = next(row for row in known.rows if row.grade == "all" and row.threshold == 0.5)
    assert (best.recovered, best.scored) == (1, 2)
    text = scan_report(output, tmp_path / "page.html", known=str(lenses)).read_text()
    assert "lenses.csv: 3 systems" in text
    with pytest.raises(QueryError):
        known_of(output, str(tmp_path / "none.csv"))
