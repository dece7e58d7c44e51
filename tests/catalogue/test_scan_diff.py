"""Two scans compared: what is new, gone and moved, by how much, and why; what can't be known is said so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.scan_diff import ScanDifference, scan_diff
from pipeline.catalogue.scan_diff_changes import field_changes
from pipeline.catalogue.scan_diff_plot import ScorePlot
from pipeline.errors import ProductMismatch, QueryError
from pipeline.flags import VetFlag
from pipeline.io import products
from pipeline.io.tables import write_table
from tests.catalogue.scans import MadeScan

ARCSEC = 1 / 3600
NAN = float("nan")


@pytest.fixture
def made(make_table: Callable[..., pa.Table]) -> MadeScan:
    """Candidates 1 and 2 at 0.9 and 0.5, and detection 3 at 0.05 below the floor of 0.1."""
    return MadeScan(make_table)


class Compare:
    """Writes two scans and compares them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, first: MadeScan, second: MadeScan, **options: object
    ) -> tuple[ScanDifference, list[dict[str, object]]]:
        tables: list[pa.Table] = []
        places = first.write(self.folder / "a"), second.write(self.folder / "b")
        result = scan_diff(*places, keep=tables.append, **options)  # type: ignore[arg-type]
        rows = [row for table in tables for row in table.to_pylist()]
        return result, sorted(rows, key=lambda row: row["objid_b"] or row["objid_a"])


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    return Compare(tmp_path)


def shifted(score: float, prior: tuple[float, float]) -> float:
    """A probability at another prior, by the odds that it adds to the prior's."""
    odds = [p / (1 - p) for p in prior]
    evidence = score / (1 - score) / odds[0]
    return evidence * odds[1] / (1 + evidence * odds[1])


def test_one_scan_twice_is_the_same_and_no_table_of_scores_is_opened(made: MadeScan, tmp_path: Path) -> None:
    places = made.write(tmp_path / "a"), made.write(tmp_path / "b")
    for place in places:
        next(place.glob("candidates/**/scores.parquet")).write_bytes(b"nobody reads this")
    result = scan_diff(*places)
    assert (result.in_state("same"), dict(result.counts), dict(result.reasons)) == (1, {"same": 2}, {})


def test_other_fingerprints_over_equal_rows_are_no_difference(made: MadeScan, compare: Compare) -> None:
    result, rows = compare(made, made.but(versions={"masks": "2"}))
    assert rows == []
    assert (result.in_state("compared"), result.counts["same"]) == (1, 2)


def test_new_and_gone_rows_show_their_score_below_the_other_floor(made: MadeScan, compare: Compare) -> None:
    result, rows = compare(made, made.but(score=(0.9, 0.04, 0.6), versions={"candidates": "2"}))
    told = [(row["objid_b"], row["kind"], row["score_a"], row["score_b"]) for row in rows]
    assert told == [(2, "gone", 0.5, pytest.approx(0.04)), (3, "new", pytest.approx(0.05), pytest.approx(0.6))]
    assert [row["score_change"] for row in rows] == [pytest.approx(-0.46), pytest.approx(0.55)]
    assert (result.counts["new"], result.counts["gone"], result.counts["same"]) == (1, 1, 1)


def test_a_score_that_moved_as_the_prior_says_moved_by_the_prior(made: MadeScan, compare: Compare) -> None:
    prior = (0.02, 0.01)
    second = made.but(
        score=tuple(shifted(score, prior) for score in made.score),
        config={"candidates": {"prior": prior[1], "floor": 0.1}},
        versions={"candidates": "2"},
    )
    result, rows = compare(made.but(config={"candidates": {"prior": prior[0], "floor": 0.1}}), second)
    assert [(row["kind"], row["reason"]) for row in rows] == [("moved", "prior"), ("moved", "prior")]
    assert dict(result.changes) == {"candidates.prior: 0.02 → 0.01": 1}
    assert rows[0]["score_b"] == pytest.approx(0.8167, abs=1e-4)  # odds 9 times (0.01/0.99) / (0.02/0.98)


def test_what_the_prior_does_not_explain_is_calibration(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.6, 0.5, 0.05), config={"candidates": {"prior": 0.01, "floor": 0.1}}, versions={"candidates": "2"}
    )
    _, rows = compare(made.but(config={"candidates": {"prior": 0.02, "floor": 0.1}}), second)
    assert rows[0]["reason"] == "calibration+prior"


def test_equal_logits_and_another_score_is_calibration(made: MadeScan, compare: Compare) -> None:
    _, rows = compare(made, made.but(score=(0.8, 0.5, 0.05), versions={"candidates": "2"}))
    assert [(row["objid_a"], row["reason"], row["members_moved"]) for row in rows] == [(1, "calibration", "")]


def test_a_moved_logit_of_a_member_with_other_weights_is_its_weights(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.8, 0.5, 0.05),
        logits={"cnn": (1.0, 2.0, 3.0), "vit": (4.5, 5.0, 6.0)},
        packages={"cnn": "aaa", "vit": "ccc"},
        versions={"score": "2"},
    )
    result, rows = compare(made, second)
    assert [(row["reason"], row["members_moved"]) for row in rows] == [("weights", "vit")]
    assert dict(result.changes) == {"package vit: other weights": 1}


def test_weights_and_a_mask_that_both_moved_a_score_are_both_named(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.8, 0.4, 0.05),
        logits={"cnn": (1.1, 2.0, 3.0), "vit": (4.5, 5.5, 6.0)},
        npix=(40, 0, 0),
        packages={"cnn": "aaa", "vit": "ccc"},
        config={"masks": {"trails": False}},
        versions={"masks": "2", "score": "2"},
    )
    result, rows = compare(made, second)
    # Of the second row only the member with other weights moved, so the mask had no part in it.
    assert [row["reason"] for row in rows] == ["weights+mask", "weights"]
    assert set(result.changes) == {"masks.trails: default → false", "package vit: other weights"}


def test_another_member_is_named(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.8, 0.5, 0.05),
        members=("cnn",),
        logits={"cnn": (1.0, 2.0, 3.0)},
        packages={"cnn": "aaa"},
        versions={"score": "2"},
    )
    result, rows = compare(made, second)
    assert [row["reason"] for row in rows] == ["members"]
    assert "package vit only in A" in result.changes


def test_other_flagged_pixels_are_the_mask(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.8, 0.5, 0.05),
        logits={"cnn": (1.5, 2.0, 3.0), "vit": (4.0, 5.0, 6.0)},
        npix=(40, 0, 0),
        flags=(int(VetFlag.TRAIL_CROSSES), 0, 0),
        config={"masks": {"trails": True}},
        versions={"masks": "2"},
    )
    _, rows = compare(made, second)
    assert [(row["objid_a"], row["reason"]) for row in rows] == [(1, "mask")]
    assert (rows[0]["vet_flags_a"], rows[0]["vet_flags_b"]) == (0, int(VetFlag.TRAIL_CROSSES))


def test_a_stamp_taken_at_another_pixel_or_of_another_size_is_the_cutout(made: MadeScan, compare: Compare) -> None:
    logits = {"cnn": (1.5, 2.0, 3.0), "vit": (4.0, 5.0, 6.0)}
    place = made.but(score=(0.8, 0.5, 0.05), logits=logits, x=(10.6, 20.2, 30.0), versions={"detect": "2"})
    assert [row["reason"] for row in compare(made, place)[1]] == ["cutouts"]
    compare.folder /= "size"
    size = made.but(
        score=(0.8, 0.5, 0.05),
        logits=logits,
        size=40,
        npix=(9, 0, 0),
        config={"cutouts": {"size": "10 arcsec"}},
        versions={"cutouts": "2"},
    )
    assert [row["reason"] for row in compare(made, size)[1]] == ["cutouts"]


def test_other_survey_files_are_the_cutout(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.8, 0.5, 0.05), logits={"cnn": (1.5, 2.0, 3.0), "vit": (4.0, 5.0, 6.0)}, versions={"masks": "2"}
    )
    result, rows = compare(made, second)
    assert [row["reason"] for row in rows] == ["cutouts"]
    assert dict(result.changes) == {"masks: other input files": 1}


def test_other_logits_of_the_same_weights_and_stamps_are_how_they_were_scored(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(0.89, 0.5, 0.05),
        logits={"cnn": (1.01, 2.0, 3.0), "vit": (4.0, 5.0, 6.0)},
        config={"score": {"dtype": "bfloat16"}},
        versions={"score": "2"},
    )
    assert [row["reason"] for row in compare(made, second)[1]] == ["scoring"]


def test_logits_of_other_detections_than_the_catalogue_has_say_nothing(made: MadeScan, tmp_path: Path) -> None:
    # A field that is being redone: its logits are new, its catalogue is not yet.
    first, second = (
        made.write(tmp_path / "a"),
        made.but(score=(0.8, 0.5, 0.05), versions={"score": "2"}).write(tmp_path / "b"),
    )
    part = next(second.glob("score/**/part-00000.parquet"))
    write_table(part, pa.table({"objid": [1, 2, 7], "logit_cnn": [1.0] * 3, "logit_vit": [4.0] * 3}))
    tables: list[pa.Table] = []
    scan_diff(first, second, keep=tables.append)
    assert [(row["reason"], row["members_moved"]) for row in tables[0].to_pylist()] == [("unknown", None)]


def test_a_score_that_a_gate_took_away_is_the_gate(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        score=(NAN, 0.5, 0.05),
        logits={"cnn": (1.0, 2.0, 3.0), "vit": (NAN, 5.0, 6.0)},
        flags=(int(VetFlag.STOPPED_BY_GATE), 0, 0),
        config={"score": {"cascade": True}},
        versions={"score": "2"},
    )
    _, rows = compare(made, second)
    assert [(row["kind"], row["score_b"], row["score_change"]) for row in rows] == [("gone", None, None)]
    assert "gate" in str(rows[0]["reason"]).split("+")


def test_a_floor_makes_candidates_without_a_score_that_moved(made: MadeScan, compare: Compare) -> None:
    result, rows = compare(made, made.but(floor=0.01, versions={"candidates": "2"}))
    assert [(row["objid_b"], row["kind"], row["reason"], row["score_change"]) for row in rows] == [
        (3, "new", "floor", 0.0)
    ]
    assert dict(result.changes) == {"candidates.floor: 0.1 → 0.01": 1}


def test_what_only_one_scan_detected_is_detection_and_the_mask_where_that_changed(
    made: MadeScan, compare: Compare
) -> None:
    fewer = {
        "objid": (2, 3),
        "ra": (10.01, 10.02),
        "dec": (0.0, 0.0),
        "score": (0.5, 0.05),
        "flags": (0, 0),
        "npix": (0, 0),
    }
    fewer |= {"x": (20.0, 30.0), "logits": {"cnn": (2.0, 3.0), "vit": (5.0, 6.0)}}
    by_threshold = made.but(**fewer, config={"detect": {"threshold": 9}}, versions={"detect": "2"})
    _, rows = compare(made, by_threshold)
    assert [(row["objid_a"], row["objid_b"], row["kind"], row["reason"]) for row in rows] == [
        (1, None, "gone", "detection")
    ]
    compare.folder /= "mask"
    by_mask = made.but(**fewer, config={"masks": {"edge": "9 arcsec"}}, versions={"masks": "2"})
    assert [row["reason"] for row in compare(made, by_mask)[1]] == ["mask+detection"]


def test_a_field_that_lost_its_coverage_loses_its_candidates_for_that(made: MadeScan, compare: Compare) -> None:
    _, rows = compare(made, made.but(empty=True, versions={"masks": "2"}))
    assert [(row["objid_a"], row["kind"], row["reason"]) for row in rows] == [
        (1, "gone", "coverage"),
        (2, "gone", "coverage"),
    ]


def test_flags_alone_change_by_the_rules_of_vetting(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        flags=(int(VetFlag.SEAM), 0, 0), config={"vet": {"crossing_pix": 3}}, versions={"candidates": "2"}
    )
    _, rows = compare(made, second)
    assert [(row["kind"], row["reason"]) for row in rows] == [("reflagged", "vetting")]


def test_flags_that_nothing_explains_are_unknown(made: MadeScan, compare: Compare) -> None:
    _, rows = compare(made, made.but(flags=(int(VetFlag.SEAM), 0, 0), versions={"candidates": "2"}))
    assert [(row["kind"], row["reason"]) for row in rows] == [("reflagged", "unknown")]


def test_detections_of_other_ids_are_one_object_within_the_radius(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        objid=(2**60 + 1, 12, 13),
        ra=(10.0 + 0.4 * ARCSEC, 10.01 + 0.6 * ARCSEC, 10.02),
        score=(0.8, 0.5, 0.05),
        versions={"detect": "2"},
    )
    _, rows = compare(made, second)
    assert [(row["objid_a"], row["objid_b"], row["kind"]) for row in rows] == [
        (2, None, "gone"),
        (None, 12, "new"),
        (1, 2**60 + 1, "moved"),
    ]
    assert rows[2]["separation"] == pytest.approx(0.4, abs=1e-6)
    compare.folder /= "wider"
    assert [row["kind"] for row in compare(made, second, radius=1.0)[1]] == ["moved"]


def test_of_two_detections_near_one_the_nearer_is_the_same_object(made: MadeScan, compare: Compare) -> None:
    second = made.but(
        objid=(11, 12, 13), ra=(10.0 + 0.3 * ARCSEC, 10.0 - 0.1 * ARCSEC, 10.02), versions={"detect": "2"}
    )
    _, rows = compare(made, second)
    assert [(row["objid_a"], row["objid_b"], row["kind"]) for row in rows] == [
        (2, None, "gone"),
        (None, 11, "new"),
        (1, 12, "moved"),
    ]


def test_ids_of_another_release_mean_nothing(made: MadeScan, compare: Compare) -> None:
    swapped = made.but(objid=(2, 1, 3), score=(0.9, 0.5, 0.05), release="dr2", versions={"masks": "2"})
    result, rows = compare(made, swapped)
    assert rows == []
    assert result.counts["same"] == 2


def test_two_surveys_are_refused_with_what_to_do_instead(made: MadeScan, compare: Compare) -> None:
    with pytest.raises(ProductMismatch, match=r"'sky'.*'other'.*lensscan crossmatch"):
        compare(made, made.but(survey="other"))


def test_a_field_that_a_scan_has_not_finished_is_neither_new_nor_gone(made: MadeScan, tmp_path: Path) -> None:
    places = made.write(tmp_path / "a"), made.write(tmp_path / "b")
    made.but(field_id="B").write(places[0])
    products.record_failure(places[1], "C", "masks", "f", "no file", again=False)
    result = scan_diff(*places)
    assert {one.field_id: one.state for one in result.fields} == {"A/1": "same", "B": "only a", "C": "in neither"}
    assert result.fields[1].counts == {"rows": 2}
    assert (result.counts["gone"], result.counts["same"]) == (0, 2)


def test_exported_rows_tell_less_of_why(made: MadeScan, tmp_path: Path) -> None:
    table = made.make_table("F", [1, 2, 3], [10.0, 10.01, 10.02], [0.0] * 3, [0.9, 0.5, 0.3], members=("cnn",))
    other = made.make_table("F", [1, 2, 4], [10.0, 10.01, 10.5], [0.0] * 3, [0.8, 0.5, 0.3], members=("cnn",))
    write_table(tmp_path / "a.parquet", table)
    write_table(tmp_path / "b.parquet", other)
    tables: list[pa.Table] = []
    result = scan_diff(tmp_path / "a.parquet", tmp_path / "b.parquet", keep=tables.append)
    told = {(row["objid_a"], row["objid_b"]): (row["kind"], row["reason"]) for row in tables[0].to_pylist()}
    assert told == {(1, 1): ("moved", "unknown"), (3, None): ("gone", "unknown"), (None, 4): ("new", "unknown")}
    assert tables[0]["members_moved"].null_count == 3
    assert result.counts["same"] == 1
    with pytest.raises(QueryError, match="two scans' outputs only"):
        scan_diff(tmp_path / "a.parquet", tmp_path / "b.parquet", every=True)


def test_a_scan_and_its_export_differ_in_nothing(made: MadeScan, tmp_path: Path) -> None:
    scanned = made.write(tmp_path / "a")
    exported = next(scanned.glob("candidates/**/candidates.parquet")).read_bytes()
    (tmp_path / "b.parquet").write_bytes(exported)
    result = scan_diff(scanned, tmp_path / "b.parquet")
    assert (result.counts["same"], result.counts["new"], result.counts["gone"]) == (2, 0, 0)


def test_every_detection_is_compared_where_asked_for(made: MadeScan, compare: Compare) -> None:
    second = made.but(score=(0.9, 0.5, 0.02), versions={"candidates": "2"})
    result, rows = compare(made, second, every=True)
    assert [(row["objid_a"], row["kind"], row["candidate_a"]) for row in rows] == [(3, "moved", True)]
    assert result.counts["same"] == 2


def test_a_change_within_the_tolerance_is_none(made: MadeScan, compare: Compare) -> None:
    second = made.but(score=(0.9 + 5e-5, 0.5, 0.05), versions={"candidates": "2"})
    assert compare(made, second)[1] == []
    compare.folder /= "finer"
    assert len(compare(made, second, tolerance=1e-5)[1]) == 1


def test_a_half_written_product_is_named(made: MadeScan, compare: Compare, tmp_path: Path) -> None:
    first, second = made.write(tmp_path / "a"), made.but(versions={"score": "2"}).write(tmp_path / "b")
    broken = next(second.glob("score/**/part-00000.parquet"))
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ProductMismatch, match=r"part-00000\.parquet: not a readable Parquet file"):
        scan_diff(first, second)


def test_an_id_that_stands_twice_is_refused(made: MadeScan, compare: Compare) -> None:
    with pytest.raises(ProductMismatch, match="objid 1 stands twice"):
        compare(made, made.but(objid=(1, 1, 3), versions={"candidates": "2"}))


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"radius": NAN}, {"tolerance": -1.0}, {"tolerance": NAN}])
def test_a_radius_or_tolerance_that_is_none_is_refused(
    made: MadeScan, tmp_path: Path, options: dict[str, float]
) -> None:
    place = made.write(tmp_path / "a")
    with pytest.raises(QueryError, match="radius"):
        scan_diff(place, place, **options)  # type: ignore[arg-type]


def test_settings_that_are_not_said_are_defaults_and_false_is_a_value(made: MadeScan, tmp_path: Path) -> None:
    first = made.write(tmp_path / "a")
    second = made.but(config={"masks": {"gaps": False}}, versions={"masks": "2"}).write(tmp_path / "b")
    live = [
        {stage: products.live_manifest(place, "A/1", stage) for stage in ("masks", "score", "candidates")}
        for place in (first, second)
    ]
    changes = field_changes(*live)  # type: ignore[arg-type]
    assert changes.told() == ("masks.gaps: default → false",)


def test_the_plot_has_new_and_gone_at_its_margins_and_escapes_names(made: MadeScan, tmp_path: Path) -> None:
    gone = made.but(objid=(2, 3, 4), ra=(10.01, 10.02, 10.9), score=(0.5, 0.05, 0.7), versions={"detect": "2"})
    plot = ScorePlot()
    scan_diff(made.write(tmp_path / "a"), gone.write(tmp_path / "b"), keep=plot.keep, look=plot.look)
    text = plot.svg("<a>", "b & c").decode()
    assert "<a>" not in text
    assert "b &amp; c" in text
    assert "new 1" in text
    assert "gone 1" in text
    # The strips are 30 wide: what A lacks is at 66 + 15 from the left, what B lacks 15 above the bottom at 640 - 76.
    assert "M81.0 " in text
    assert " 549.0h0" in text


def test_the_plot_of_no_difference_is_a_frame() -> None:
    assert b"no difference" in ScorePlot().svg("a", "b")


def test_the_plot_keeps_the_largest_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.catalogue import scan_diff_plot

    monkeypatch.setattr(scan_diff_plot, "MOST_DOTS", 2)
    plot = ScorePlot()
    for change in (0.1, 0.3, 0.2):
        row = {"score_a": np.array([0.5]), "score_b": np.array([0.5 + change]), "kind": ["moved"]}
        plot.keep(pa.table(row))
    text = plot.svg("a", "b").decode()
    assert "moved 3 (2 shown)" in text
    assert text.count("h0") == 2
