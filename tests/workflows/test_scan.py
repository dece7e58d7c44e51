"""A scan from configuration to catalogue: resumed, rerun, disturbed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError, ModelMismatch, ProductMismatch
from pipeline.io import products
from pipeline.models.ensemble import load_ensemble
from pipeline.scan.field_scan import scan_field
from workflows.cluster import ClusterConfig
from workflows.field_tables import scored_table
from workflows.run import ScanOutcome, run_field, run_scan, status
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]


def scan(project: Path, out: str | None = None, **options: object) -> ScanOutcome:
    setup = open_scan(str(project / "scan.toml"), out)
    return run_scan(setup, SERIAL, quiet=True, **options)  # type: ignore[arg-type]


def states(project: Path) -> dict[tuple[str, str], str]:
    rows = status(open_scan(str(project / "scan.toml")))
    return {(str(row["field"]), str(row["stage"])): str(row["state"]) for row in rows}


def tree(root: Path) -> dict[str, bytes]:
    """Every file of an output with its bytes, run records left out."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if not name.startswith("runs/")}


def catalogue(root: Path) -> dict[str, bytes]:
    """The live catalogue, wherever its generations lie."""
    return {
        f"{field}/{name}": path.read_bytes()
        for name in ("candidates.parquet", "scores.parquet")
        for field, path in products.live_files(root, "candidates", name).items()
    }


def test_a_scan_conserves_every_detection_and_a_second_one_does_nothing(project: Path) -> None:
    first = scan(project).summary
    assert (first.fields, first.done, first.failed, first.ran) == (3, 3, 0, 15)
    assert first.detections == first.cutouts == first.scored > 60
    before = tree(project / "out put")
    second = scan(project).summary
    assert second.ran == 0
    assert second.candidates == first.candidates
    assert tree(project / "out put") == before
    assert set(states(project).values()) == {"done"}


def test_objects_in_an_overlap_are_primary_once(project: Path) -> None:
    scan(project)
    files = products.live_files(project / "out put", "candidates", "scores.parquet")
    tables = {name: pq.read_table(path) for name, path in files.items()}
    rows = [table.select(["ra", "dec", "is_primary"]).to_pandas() for table in tables.values()]
    counted = 0
    for left, right in pairwise(rows):
        for _, row in left.iterrows():
            near = right[(abs(right.ra - row.ra) < 0.2 / 3600) & (abs(right.dec - row.dec) < 0.2 / 3600)]
            if len(near) == 1:
                counted += 1
                assert bool(row.is_primary) + bool(near.is_primary.iloc[0]) == 1
    assert counted > 10
    primary = [table.filter(table["is_primary"])["objid"].to_pylist() for table in tables.values()]
    ids = [objid for part in primary for objid in part]
    assert len(ids) == len(set(ids))


def test_a_cluster_gives_the_bytes_of_the_serial_executor(project: Path) -> None:
    scan(project, out=str(project / "serial"))
    setup = open_scan(str(project / "scan.toml"), str(project / "cluster"))
    outcome = run_scan(setup, ClusterConfig(workers=2), quiet=True)
    assert not outcome.failures
    assert catalogue(project / "cluster") == catalogue(project / "serial")


def test_the_line_in_memory_gives_the_rows_of_the_scan(project: Path) -> None:
    scan(project)
    setup = open_scan(str(project / "scan.toml"))
    fields = {field.field_id: field for field in setup.survey.fields()}
    others = [setup.survey.geometry(fields[name]) for name in ("F0", "F2")]
    assert setup.ensemble_path is not None
    image = setup.survey.open(fields["F1"], setup.config.bands)
    rows = scan_field(image, load_ensemble(setup.ensemble_path), setup.config, neighbours=others)
    table = pq.read_table(products.live_files(setup.output, "candidates", "scores.parquet")["F1"])
    assert scored_table(rows, setup.config.bands, rows.members).drop(["survey", "release"]).to_pylist() == (
        table.drop(["survey", "release"]).to_pylist()
    )


def test_rerun_of_one_field_leaves_others_untouched(project: Path) -> None:
    scan(project)
    out = project / "out put"
    before = {name: data for name, data in tree(out).items() if "F1" not in name}
    rows = catalogue(out)
    outcome = run_field(open_scan(str(project / "scan.toml")), SERIAL, "F1", quiet=True)
    assert outcome.summary.ran == 5
    assert outcome.difference is not None
    assert (outcome.difference.new, outcome.difference.gone, outcome.difference.changed) == (0, 0, 0)
    assert {name: data for name, data in tree(out).items() if "F1" not in name} == before
    assert catalogue(out) == rows
    assert set(states(project).values()) == {"done"}


def test_rerun_from_a_stage_keeps_the_stages_before(project: Path) -> None:
    scan(project)
    out = project / "out put"
    kept = {name: data for name, data in tree(out).items() if name.startswith(("masks/", "detect/", "cutouts/"))}
    outcome = run_field(open_scan(str(project / "scan.toml")), SERIAL, "F1", first_stage="score", quiet=True)
    assert outcome.summary.ran == 2
    assert {name: data for name, data in tree(out).items() if name in kept} == kept


def test_a_mended_image_changes_only_its_field_and_keeps_the_ids(project: Path) -> None:
    scan(project)
    out = project / "out put"
    ids = set(pq.read_table(products.live_files(out, "detect", "detections.parquet")["F1"])["objid"].to_pylist())
    path = project / "survey ü" / "F1" / "F1-r.fits"
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[:, :120] *= np.float32(1.5)
    assert {key for key, state in states(project).items() if state == "stale"} == {
        ("F1", stage) for stage in ("masks", "detect", "cutouts", "score", "candidates")
    }
    outcome = run_field(open_scan(str(project / "scan.toml")), SERIAL, "F1", quiet=True)
    assert outcome.difference is not None
    assert outcome.difference.changed > 0
    after = set(pq.read_table(products.live_files(out, "detect", "detections.parquet")["F1"])["objid"].to_pylist())
    assert len(ids & after) > 0.9 * len(ids)
    assert set(states(project).values()) == {"done"}


def test_a_changed_comment_redoes_nothing_and_a_floor_redoes_candidates_alone(project: Path, edit: Edit) -> None:
    scan(project)
    config = project / "scan.toml"
    edit(config, "[candidates]", "# words\n[candidates]")
    assert scan(project).summary.ran == 0
    edit(config, "floor = 0.0", "floor = 0.00001")
    assert {state for (_, stage), state in states(project).items() if stage != "candidates"} == {"done"}
    assert scan(project).summary.ran == 3


def test_new_weights_redo_scores_and_keep_cutouts(project: Path, retrain: Callable[[str, int], None]) -> None:
    scan(project)
    out = project / "out put"
    cutouts = {name: data for name, data in tree(out).items() if name.startswith(("cutouts/", "manifests"))}
    rows = catalogue(out)
    retrain("one", 99)
    assert scan(project).summary.ran == 6
    assert all(catalogue(out)[name] != data for name, data in rows.items())
    after = tree(out)
    assert all(after.get(name) == data for name, data in cutouts.items() if "cutouts" in name)


def test_a_rerun_under_a_changed_config_makes_the_others_stale(project: Path, edit: Edit) -> None:
    scan(project)
    edit(project / "scan.toml", "[score]", "[detect]\nthreshold = 6.0\n[score]")
    run_field(open_scan(str(project / "scan.toml")), SERIAL, "F0", quiet=True)
    found = states(project)
    assert {state for (field, _), state in found.items() if field == "F0"} == {"done"}
    assert {field for (field, _), state in found.items() if state == "stale"} == {"F1", "F2"}
    assert scan(project).summary.ran == 8


@pytest.mark.parametrize("broken", ["truncated", "missing"])
def test_one_broken_file_quarantines_its_field_alone(project: Path, broken: str) -> None:
    path = project / "survey ü" / "F1" / "F1-g.fits"
    whole = path.read_bytes()
    if broken == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.unlink()
    outcome = scan(project)
    assert (outcome.summary.done, outcome.summary.failed) == (2, 1)
    assert [failure.field_id for failure in outcome.failures] == ["F1"]
    reasons = [row["reason"] for row in status(open_scan(str(project / "scan.toml"))) if row["state"] == "failed"]
    assert len(reasons) == 1
    assert "F1-g.fits" in str(reasons[0])
    again = scan(project)
    assert (again.summary.ran, again.summary.failed) == (0, 1)
    path.write_bytes(whole)
    mended = scan(project)
    assert (mended.summary.done, mended.summary.failed) == (3, 0)
    assert products.failures(project / "out put") == {}


def test_a_bad_catalogue_is_told_of_the_detections_and_mending_it_is_enough(project: Path, edit: Edit) -> None:
    with (project / "survey ü" / "survey.toml").open("a") as stream:
        stream.write(
            '[catalogue]\nkind = "field"\npath = "{field_id}/objects.csv"\nobjid = "ID"\nra = "RA"\ndec = "DEC"\n'
        )
    edit(project / "scan.toml", "[score]", '[detect]\nmethod = "catalogue"\n[score]')
    for number in range(3):
        rows = f"ID,RA,DEC\n1,{150 - 0.015 * number},2.0\n2,{150 - 0.015 * number},2.001\n"
        (project / "survey ü" / f"F{number}" / "objects.csv").write_text(rows)
    path = project / "survey ü" / "F1" / "objects.csv"
    good = path.read_text()
    path.write_text(good.replace("\n2,", "\n1,"))
    first = scan(project)
    assert [(failure.field_id, failure.stage) for failure in first.failures] == [("F1", "detect")]
    assert first.summary.ran == 5 + 1 + 5, "the masks of the field that failed are written, too"
    (row,) = [row for row in status(open_scan(str(project / "scan.toml"))) if row["state"] == "failed"]
    assert (row["field"], row["stage"]) == ("F1", "detect")
    assert "objects.csv" in str(row["reason"])
    assert scan(project).summary.ran == 0
    path.write_text(good)
    assert (scan(project).summary.ran, states(project)["F1", "candidates"]) == (4, "done")


def test_a_rerun_that_fails_names_the_stage_that_it_did_not_reach(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(project)
    rows = catalogue(project / "out put")

    def broken(*arguments: object, **options: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("workflows.field_cutting._detect", broken)
    outcome = run_field(open_scan(str(project / "scan.toml")), SERIAL, "F1", quiet=True)
    assert [failure.stage for failure in outcome.failures] == ["detect"]
    assert outcome.summary.ran == 1
    assert catalogue(project / "out put") == rows


def test_a_field_without_coverage_is_an_empty_success(project: Path) -> None:
    for band in "gri":
        with fits.open(project / "survey ü" / "F2" / f"F2-{band}.fits", mode="update") as hdus:
            hdus[0].data[:] = np.nan
    outcome = scan(project)
    assert (outcome.summary.done, outcome.summary.empty, outcome.summary.failed) == (2, 1, 0)
    assert states(project)["F2", "candidates"] == "empty"
    assert len(pq.read_table(products.live_files(project / "out put", "candidates", "scores.parquet")["F2"])) == 0
    assert scan(project).summary.ran == 0


def test_a_field_without_detections_is_done_with_zero_rows(project: Path, edit: Edit) -> None:
    edit(project / "scan.toml", "[score]", "[detect]\nthreshold = 1e6\n[score]")
    summary = scan(project).summary
    assert (summary.done, summary.failed, summary.detections, summary.scored) == (3, 0, 0, 0)
    assert scan(project).summary.ran == 0


@pytest.mark.slow
def test_a_killed_scan_resumes_to_the_bytes_of_an_undisturbed_one(project: Path) -> None:
    scan(project, out=str(project / "undisturbed"))
    out = project / "disturbed"
    code = (
        "import sys; from workflows.setup import open_scan; from workflows.run import run_scan;"
        "from workflows.cluster import ClusterConfig;"
        "run_scan(open_scan(sys.argv[1], sys.argv[2]), ClusterConfig(kind='serial'), quiet=True)"
    )
    for marks in (2, 8):
        process = subprocess.Popen([sys.executable, "-c", code, str(project / "scan.toml"), str(out)])
        deadline = time.monotonic() + 120
        while len(list(out.glob("manifests/*/*.json"))) < marks and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    outcome = run_scan(open_scan(str(project / "scan.toml"), str(out)), SERIAL, quiet=True)
    assert outcome.summary.done == 3
    assert catalogue(out) == catalogue(project / "undisturbed")


def test_a_half_finished_run_is_taken_up_where_it_stopped(project: Path) -> None:
    scan(project)
    out = project / "out put"
    rows = catalogue(out)
    score = products.live_manifest(out, "F0", "score")
    assert score is not None
    parts = sorted((out / score.place).glob("part-*.parquet"))
    assert len(parts) > 2
    kept = parts[0].stat().st_mtime_ns
    parts[1].unlink()
    for stage in ("score", "candidates"):
        for path in (out / "manifests" / "F0").glob(f"{stage}.*.json"):
            path.unlink()
    assert scan(project).summary.ran == 2
    assert parts[0].stat().st_mtime_ns == kept
    assert catalogue(out) == rows


def test_an_output_of_another_scan_and_an_unknown_field_stop_before_anything_runs(project: Path, edit: Edit) -> None:
    scan(project)
    with pytest.raises(ConfigError, match="'F9'"):
        scan(project, fields=["F9"])
    with pytest.raises(ConfigError, match="no field is named"):
        scan(project, fields=[])
    edit(project / "scan.toml", "mini-scan", "other-scan")
    before = tree(project / "out put")
    with pytest.raises(ProductMismatch, match="belongs to another scan"):
        scan(project)
    assert tree(project / "out put") == before


def test_without_an_ensemble_the_scan_stops_after_the_cutouts(project: Path, edit: Edit) -> None:
    edit(project / "scan.toml", 'ensemble = "ensemble.toml"', "")
    summary = scan(project).summary
    assert (summary.done, summary.ran, summary.scored) == (3, 9, 0)
    assert summary.cutouts == summary.detections > 60
    assert scan(project).summary.ran == 0


def test_an_ensemble_that_needs_another_band_names_what_fits(project: Path, edit: Edit) -> None:
    edit(project / "scan.toml", 'bands = ["g", "r", "i"]', 'bands = ["g", "r"]')
    with pytest.raises(ModelMismatch, match="i is missing"):
        scan(project)


def test_lost_rows_are_never_published(project: Path) -> None:
    scan(project)
    out = project / "out put"
    score = products.live_manifest(out, "F0", "score")
    assert score is not None
    shutil.copy(out / score.place / "part-00000.parquet", out / score.place / "part-00001.parquet")
    outcome = run_field(open_scan(str(project / "scan.toml")), SERIAL, "F0", first_stage="candidates", quiet=True)
    assert len(outcome.failures) == 1
    assert "rerun the field" in outcome.failures[0].reason
