"""Cutouts that do not stay, codecs, and fields that are done in one task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from pipeline.catalogue.stamps import scan_stamps
from pipeline.errors import ConfigError, ProductMismatch
from pipeline.io import cutout_store, ownership, products
from pipeline.provenance import STAGES
from workflows.cluster import ClusterConfig
from workflows.run import ScanOutcome, run_field, run_scan, status
from workflows.setup import ScanSetup, open_scan
from workflows.task_results import WholeResult
from workflows.tasks import scan_field_whole

SERIAL = ClusterConfig(kind="serial")
Edit = Callable[[Path, str, str], None]

FEW = "floor = 0.0\nprior = 0.5\nmax_fraction = 0.2\n"


@pytest.fixture
def few(project: Path, edit: Edit) -> Path:
    """The project with one row in five a candidate."""
    edit(project / "scan.toml", "floor = 0.0\nprior = 0.5\nmax_fraction = 1.0\n", FEW)
    return project


def setup(project: Path, out: str, cutouts: str = "") -> ScanSetup:
    """The scan with further lines in its section of cutouts."""
    text = (project / "scan.toml").read_text(encoding="utf-8")
    path = project / "variant.toml"
    path.write_text(text.replace("[cutouts]\n", f"[cutouts]\n{cutouts}\n"), encoding="utf-8")
    return open_scan(str(path), str(project / out))


def scan(given: ScanSetup, **options: object) -> ScanOutcome:
    outcome = run_scan(given, SERIAL, quiet=True, **options)  # type: ignore[arg-type]
    assert not outcome.failures
    return outcome


def files(root: Path, name: str) -> dict[str, bytes]:
    return {field: path.read_bytes() for field, path in products.live_files(root, "candidates", name).items()}


def tree(root: Path) -> dict[str, bytes]:
    """Every file of the products and manifests, with its bytes."""
    paths = [path for stage in (*STAGES, "manifests") for path in sorted((root / stage).rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def places(given: ScanSetup) -> dict[str, cutout_store.CutoutStore]:
    live = {name: products.live_manifest(given.output, name, "cutouts") for name in products.listing(given.output)}
    return {name: cutout_store.open_store(given.output / one.place) for name, one in live.items() if one is not None}


def states(given: ScanSetup) -> set[str]:
    return {str(row["state"]) for row in status(given)}


def whole(given: ScanSetup) -> dict[str, WholeResult]:
    """Every field of a scan in one task each."""
    results = {}
    ownership.claim(given.output, given.config.scan_id, given.survey.name, given.survey.release)
    for plan in given.plan("cpu").named(None):
        results[plan.field.field_id] = scan_field_whole(
            given.job(),
            plan.field,
            {stage.stage: stage.fingerprint for stage in plan.stages},
            tuple(stage.stage for stage in plan.stages if stage.state not in ("done", "empty")),
            plan.near,
            plan.provenance or {},
        )
    return results


@pytest.mark.parametrize("keep", ["candidates", "none"])
def test_what_is_kept_changes_no_score_and_no_candidate(few: Path, keep: str) -> None:
    every = setup(few, "all")
    scan(every)
    some = setup(few, "some", f'keep = "{keep}"')
    scan(some)
    for field, path in products.live_files(every.output, "candidates", "scores.parquet").items():
        left = pq.read_table(path)
        right = pq.read_table(products.live_files(some.output, "candidates", "scores.parquet")[field])
        assert left.drop(["shard", "row"]).equals(right.drop(["shard", "row"]))
    if keep == "candidates":
        assert files(some.output, "candidates.parquet") == files(every.output, "candidates.parquet")
    assert states(some) == {"done"}


def test_the_catalogue_points_at_the_cutouts_that_are_there(few: Path) -> None:
    every, some = setup(few, "all"), setup(few, "some", 'keep = "candidates"')
    scan(every)
    some = setup(few, "some", 'keep = "candidates"')
    scan(some)
    stamp, whole_stamp = scan_stamps(some.output), scan_stamps(every.output)
    held = pointed = 0
    for field, path in products.live_files(some.output, "candidates", "scores.parquet").items():
        table = pq.read_table(path)
        candidates = set(
            pq.read_table(products.live_files(some.output, "candidates", "candidates.parquet")[field])[
                "objid"
            ].to_pylist()
        )
        assert {row["objid"] for row in table.to_pylist() if row["row"] is not None} == candidates
        for row in table.to_pylist():
            found = stamp(field, row["objid"], row["row"])
            assert (found is not None) == (row["objid"] in candidates) == (row["shard"] is not None)
            if found is not None:
                expected = whole_stamp(field, row["objid"], row["row"])
                assert expected is not None
                np.testing.assert_array_equal(found.image, expected.image)
                np.testing.assert_array_equal(found.mask, expected.mask)
                pointed += 1
    for store in places(some).values():
        held += len(store.kept or ())
        lacking = next(row for row in range(store.rows) if row not in (store.kept or ()))
        with pytest.raises(ProductMismatch, match="were kept"):
            cutout_store.read(store, lacking, lacking + 1)
    assert held == pointed > 5
    sizes = [sum(len(data) for name, data in tree(one.output).items() if "image/c" in name) for one in (some, every)]
    assert sizes[0] < 0.4 * sizes[1]


@pytest.mark.parametrize("keep", ["candidates", "none"])
def test_a_rerun_from_the_scores_cuts_again_what_was_not_kept(few: Path, keep: str) -> None:
    given = setup(few, "out", f'keep = "{keep}"')
    scan(given)
    before = files(given.output, "scores.parquet")
    kept = {name: store.kept for name, store in places(given).items()}
    outcome = run_field(given, SERIAL, "F1", first_stage="score", quiet=True)
    assert not outcome.failures
    assert outcome.summary.ran == 2
    assert files(given.output, "scores.parquet") == before
    assert {name: store.kept for name, store in places(given).items()} == kept


def test_a_lower_floor_fetches_the_cutouts_of_the_new_candidates(few: Path, edit: Edit) -> None:
    given = setup(few, "out", 'keep = "candidates"')
    scan(given)
    edit(few / "scan.toml", "max_fraction = 0.2", "max_fraction = 0.6")
    wider = setup(few, "out", 'keep = "candidates"')
    assert scan(wider).summary.ran == 3
    fresh = setup(few, "fresh", 'keep = "candidates"')
    scan(fresh)
    assert files(wider.output, "candidates.parquet") == files(fresh.output, "candidates.parquet")
    assert {name: store.kept for name, store in places(wider).items()} == {
        name: store.kept for name, store in places(fresh).items()
    }


def test_asking_for_all_cutouts_later_brings_them_back(few: Path) -> None:
    scan(setup(few, "out", 'keep = "none"'))
    given = setup(few, "out")
    scan(given)
    expected = setup(few, "all")
    scan(expected)
    assert files(given.output, "scores.parquet") == files(expected.output, "scores.parquet")
    for name, store in places(given).items():
        left, right = cutout_store.read(store, 0, store.rows), cutout_store.read(places(expected)[name], 0, store.rows)
        np.testing.assert_array_equal(left.image, right.image)


def test_a_scan_that_stops_before_its_end_goes_on_and_keeps_what_it_should(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setup(few, "out", 'keep = "candidates"')
    write = "workflows.field_tables.write_scored"
    with monkeypatch.context() as patched:
        patched.setattr(write, lambda *arguments: (_ for _ in ()).throw(RuntimeError("stopped")))
        assert len(run_scan(given, SERIAL, quiet=True).failures) == 3
    resumed = run_scan(given, SERIAL, quiet=True, retry_failed=True)
    assert not resumed.failures
    expected = setup(few, "expected", 'keep = "candidates"')
    scan(expected)
    assert files(given.output, "candidates.parquet") == files(expected.output, "candidates.parquet")
    assert {name: store.kept for name, store in places(given).items()} == {
        name: store.kept for name, store in places(expected).items()
    }


@pytest.mark.parametrize("codec", ["lz4", "quantised"])
@pytest.mark.parametrize("keep", ["all", "candidates", "none"])
def test_a_field_in_one_task_has_the_bytes_of_one_in_three(few: Path, keep: str, codec: str) -> None:
    lines = f'keep = "{keep}"\ncodec = "{codec}"'
    split = setup(few, "split", lines)
    scan(split)
    given = setup(few, "whole", lines)
    results = whole(given)
    assert tree(given.output) == tree(split.output)
    for result in results.values():
        assert result.shards == tuple(range(-(-result.rows // 8)))
        assert set(result.wrote) == set(STAGES)
        assert result.seconds >= result.cut_seconds + result.score_seconds
    assert states(given) == {"done"}
    assert {result.wrote for result in whole(given).values()} == {("candidates",)}


def test_a_field_in_one_task_reads_no_cutout_back(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise AssertionError("a shard was read")

    monkeypatch.setattr("pipeline.io.cutout_store._read", forbidden)
    given = setup(few, "whole", 'keep = "candidates"')
    assert all(result.rows > 10 for result in whole(given).values())


def test_a_field_without_coverage_is_an_empty_success_in_one_task_too(few: Path) -> None:
    for band in "gri":
        with fits.open(few / "survey ü" / "F2" / f"F2-{band}.fits", mode="update") as hdus:
            hdus[0].data[:] = np.nan
    split, given = setup(few, "split", 'keep = "candidates"'), setup(few, "whole", 'keep = "candidates"')
    scan(split)
    assert whole(given)["F2"].rows == 0
    assert tree(given.output) == tree(split.output)


def test_scores_from_quantised_cutouts_are_close_to_those_from_whole_ones(few: Path) -> None:
    plain = setup(few, "plain")
    scan(plain)
    coarse = setup(few, "coarse", 'codec = "quantised"')
    scan(coarse)
    parts = products.live_files(plain.output, "score", "part-00000.parquet")
    assert len(parts) == 3
    for field, path in parts.items():
        left = pq.read_table(path)
        right = pq.read_table(products.live_files(coarse.output, "score", "part-00000.parquet")[field])
        for name in ("logit_one", "logit_two"):
            one, other = left[name].to_numpy(), right[name].to_numpy()
            # A step is a sixteenth of the noise, so that its rounding is some fifty times smaller than what is there.
            assert 0 < np.abs(one - other).max() < 0.05 * np.ptp(one)


def test_keeping_some_cutouts_needs_an_ensemble(project: Path, edit: Edit) -> None:
    edit(project / "scan.toml", 'ensemble = "ensemble.toml"\n', "")
    with pytest.raises(ConfigError, match="needs an ensemble"):
        setup(project, "out", 'keep = "candidates"')
