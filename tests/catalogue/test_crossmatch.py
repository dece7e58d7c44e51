"""Known lenses against a scan: marks, what became of each, duplicates, edges of the sky, what could not be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.wcs import WCS

from pipeline.catalogue.crossmatch import KnownLenses, choose, crossmatch, mark_known, systems
from pipeline.catalogue.crossmatch_tables import known_table, recovered_plot
from pipeline.catalogue.field_shape import field_shape
from pipeline.catalogue.recovered import ALL, State, recovered, state_counts
from pipeline.catalogue.region import Cone
from pipeline.errors import ProductMismatch, QueryError
from pipeline.flags import VetFlag
from pipeline.geometry import FieldGeometry, Footprints, depth, to_sky
from pipeline.io import products
from pipeline.io.footprints import write_footprints
from pipeline.io.tables import write_table

ARCSEC = 1 / 3600
SIDE = 600


def lenses(*entries: tuple[str, float, float, str], reference: str = "", kind: str = "galaxy") -> KnownLenses:
    columns = [np.array([entry[index] for entry in entries], object) for index in (0, 3)]
    ra, dec = (np.array([entry[index] for entry in entries], float) for index in (1, 2))
    same = [np.array([text] * len(entries), object) for text in (kind, reference)]
    return KnownLenses(columns[0], ra, dec, columns[1], *same, path="known.csv")


def geometry(field_id: str, ra: float, dec: float) -> FieldGeometry:
    """600 pixels of 1 arcsec a side: ten arcminutes, turned by 30 degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [SIDE / 2 + 0.5, SIDE / 2 + 0.5]
    turn = np.radians(30)
    wcs.wcs.cd = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * ARCSEC
    return FieldGeometry(field_id, (SIDE, SIDE), wcs)


class Sky:
    """A scan's output with fields of a geometry, put together by hand."""

    def __init__(self, output: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]) -> None:
        self.output, self.make_table, self.publish_field = output, make_table, publish_field
        self.fields: list[FieldGeometry] = []

    def detect(self, where: FieldGeometry, ra: np.ndarray, dec: np.ndarray) -> None:
        x, y = where.wcs.all_world2pix(ra, dec, 0)
        generation = products.new_generation(self.output, "detect", where.field_id, "d1")
        table = pa.table({"ra": ra, "dec": dec, "x": x, "y": y})
        write_table(
            self.output / products.generation_place("detect", where.field_id, generation) / "detections.parquet", table
        )
        products.publish(
            self.output,
            field_id=where.field_id,
            stage="detect",
            fingerprint="d1",
            generation=generation,
            rows=len(ra),
            provenance={},
        )

    def add(
        self,
        where: FieldGeometry,
        x: list[float],
        y: list[float],
        score: list[float],
        floor: float = 0.1,
        **more: object,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Detections at pixels, with scores; gives their positions. Objids are 1, 2, ... in this order."""
        ra, dec = to_sky(where.wcs, x, y)
        scores = self.make_table(where.field_id, range(1, len(x) + 1), ra, dec, score, **more)
        self.publish_field(self.output, where.field_id, scores, scores.filter(pa.compute.field("score") >= floor))
        self.detect(where, ra, dec)
        self.remember(where)
        return ra, dec

    def remember(self, where: FieldGeometry) -> None:
        self.fields.append(where)
        footprints = Footprints([one.field_id for one in self.fields])
        for number, one in enumerate(self.fields):
            footprints.put(number, one.footprint())
        names = np.array([f"{number:032x}" for number in range(len(self.fields))], "S32")
        write_footprints(self.output, names, footprints)


@pytest.fixture
def sky(tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]) -> Sky:
    return Sky(tmp_path / "a scan", make_table, publish_field)


def grid() -> tuple[list[float], list[float]]:
    """100 positions over the field, a minute of arc apart, none of them near its middle."""
    x, y = np.meshgrid(np.arange(30, 600, 60.0), np.arange(30, 600, 60.0))
    return x.ravel().tolist(), y.ravel().tolist()


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 0.0), (0.0, 20.0), (359.99, -60.0), (120.0, 89.95), (45.0, -89.99)])
def test_a_field_is_where_its_wcs_says_wherever_it_lies(ra: float, dec: float) -> None:
    where = geometry("F", ra, dec)
    x, y = (np.array(values) for values in grid())
    shape = field_shape(*to_sky(where.wcs, x, y), x, y, where.footprint())
    assert shape is not None
    random = np.random.default_rng(1)
    places = to_sky(where.wcs, random.uniform(-300, 900, 2000), random.uniform(-300, 900, 2000))
    assert shape.inside(*places).tolist() == (depth(where, *places) >= 0).tolist()


def test_without_a_remembered_header_a_field_reaches_as_far_as_its_detections() -> None:
    where = geometry("F", 10.0, 0.0)
    x, y = (np.array(values) for values in grid())
    shape = field_shape(*to_sky(where.wcs, x, y), x, y, None)
    assert shape is not None
    inside = shape.inside(*to_sky(where.wcs, [30.0, 300.0, 570.0, 660.0, -60.0], [30.0, 300.0, 570.0, 300.0, 300.0]))
    assert inside.tolist() == [True, True, True, False, False]


def test_every_fate_of_a_known_lens_is_told_apart(sky: Sky) -> None:
    where = geometry("A/1", 10.0, 0.0)
    x, y = grid()
    score = [0.9, 0.05, float("nan"), *[0.02] * 97]
    ra, dec = sky.add(where, x, y, score)
    corner = to_sky(where.wcs, 0.0, 0.0)
    other = geometry("B", 10.5, 0.0)
    sky.remember(other)  # planned, and not yet scanned
    known = lenses(
        ("candidate", ra[0] + 0.5 * ARCSEC, dec[0], "A"),
        ("below floor", ra[1], dec[1] + 1.9 * ARCSEC, "A"),
        ("no score", ra[2], dec[2], "B"),
        ("not detected", *to_sky(where.wcs, 300.0, 300.0), "B"),
        ("at the corner", float(corner[0]), float(corner[1]), "B"),
        ("outside", *to_sky(where.wcs, 300.0, 602.0), "B"),
        ("not scanned", 10.5, 0.0, "B"),
    )
    result = crossmatch(sky.output, known)
    states = dict(zip(known.name, [State(code) for code in result.state], strict=True))
    assert states == {
        "candidate": State.CANDIDATE,
        "below floor": State.BELOW_FLOOR,
        "no score": State.NO_SCORE,
        "not detected": State.NOT_DETECTED,
        "at the corner": State.NOT_DETECTED,
        "outside": State.OUTSIDE,
        "not scanned": State.NOT_SCANNED,
    }
    assert result.separation[:3] == pytest.approx([0.5, 1.9, 0.0], abs=1e-6)
    assert result.objid[:3].tolist() == [1, 2, 3]
    assert (result.rows, result.marked, result.new, result.unfinished) == (1, 1, 0, 1)


def test_a_hole_in_a_field_is_no_coverage(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = (np.array(values) for values in grid())
    kept = np.hypot(x - 300, y - 300) > 200
    sky.add(where, x[kept].tolist(), y[kept].tolist(), [0.5] * int(kept.sum()))
    known = lenses(
        ("in the hole", *map(float, to_sky(where.wcs, 300.0, 300.0)), ""),
        ("beside it", *map(float, to_sky(where.wcs, 60.0, 60.0)), ""),
    )
    result = crossmatch(sky.output, known)
    assert [State(code) for code in result.state] == [State.NO_COVERAGE, State.NOT_DETECTED]
    assert [row.covered for row in recovered(result.state, result.score, ["", ""], [0.1]) if row.grade == ALL] == [1]


def test_a_lens_just_outside_a_field_whose_row_is_marked_is_found(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    sky.add(where, [*x, 599.0, 0.0], [*y, 300.0, 0.0], [*[0.01] * 100, 0.8, 0.7])
    known = lenses(
        ("at the side", *map(float, to_sky(where.wcs, 600.9, 300.0)), "A"),  # the field ends at 599.5; 1.9 arcsec away
        ("at the corner", *map(float, to_sky(where.wcs, -1.3, -1.3)), "A"),  # 1.84 arcsec away
        ("by nothing", *map(float, to_sky(where.wcs, 600.9, 100.0)), "A"),
    )
    result = crossmatch(sky.output, known)
    assert [State(code) for code in result.state] == [State.CANDIDATE, State.CANDIDATE, State.OUTSIDE]
    assert result.separation[:2] == pytest.approx([1.9, 1.3 * np.sqrt(2)], abs=0.01)
    assert (result.marked, result.by_chance) == (2, 0.0)


def test_lenses_at_ra_0_and_at_the_pole_are_matched(sky: Sky) -> None:
    x, y = grid()
    for field_id, ra, dec in (("zero", 0.0, 0.0), ("pole", 0.0, 89.99)):
        sky.add(geometry(field_id, ra, dec), [*x, 299.5], [*y, 299.5], [*[0.01] * 100, 0.8])
    known = lenses(("zero", 359.9999, 0.0, "A"), ("pole", 180.0, 89.9902, "A"), ("east of 0", 0.0003, 0.0, "A"))
    result = crossmatch(sky.output, known)
    # The middles of the fields lie at (0, 0) and (0, 89.99): 0.36 arcsec, past the pole 71.28, and 1.08 arcsec away.
    assert result.separation[0] == pytest.approx(0.36, abs=1e-3)
    assert State(result.state[1]) == State.NOT_DETECTED
    assert len(result.known) == 2  # both at ra 0 are one system, 1.44 arcsec apart
    assert result.known.aliases[0] == "east of 0"


def test_entries_for_one_lens_count_once_with_the_best_grade() -> None:
    once = systems(
        lenses(
            ("a", 10.0, 0.0, "probable"),
            ("b", 10.0 + 1.5 * ARCSEC, 0.0, "confident"),
            ("c", 10.0 + 3 * ARCSEC, 0.0, "probable"),
            ("d", 20.0, 0.0, "probable"),
        ),
        2.0,
    )
    assert once.lenses.name.tolist() == ["b", "d"]
    assert once.entries.tolist() == [3, 1]
    assert once.aliases.tolist() == ["a|c", ""]


def test_two_candidates_near_one_lens_are_both_marked_and_count_once(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    ra, dec = sky.add(where, [*x, 300.0, 301.0], [*y, 300.0, 300.0], [*[0.01] * 100, 0.3, 0.6])
    marked: list[pa.Table] = []
    result = crossmatch(sky.output, lenses(("it", ra[100], dec[100], "A")), keep=marked.append)
    assert marked[0]["known_name"].to_pylist() == ["it", "it"]
    assert (result.marked, int(result.objid[0]), float(result.score[0])) == (2, 102, pytest.approx(0.6))


def test_of_two_copies_in_an_overlap_the_primary_one_counts(sky: Sky) -> None:
    x, y = grid()
    first, second = geometry("A", 10.0, 0.0), geometry("B", 10.0, 0.0)
    sky.add(first, [*x, 300.0], [*y, 300.0], [*[0.01] * 100, 0.9], primary=[True] * 100 + [False])
    ra, dec = sky.add(second, [*x, 300.0], [*y, 300.0], [*[0.01] * 100, 0.4])
    fresh: list[pa.Table] = []
    result = crossmatch(sky.output, lenses(("it", ra[100], dec[100], "A")), keep_new=fresh.append, min_score=0.2)
    assert (result.field_id[0], bool(result.is_primary[0]), result.marked, result.new) == ("B", True, 2, 0)


def test_new_ones_are_primary_above_the_threshold_and_in_no_list(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    ra, dec = sky.add(where, x, y, [0.9, 0.8, 0.7, 0.5, 0.4, *[0.01] * 95], primary=[True, True, False, *[True] * 97])
    fresh: list[pa.Table] = []
    result = crossmatch(sky.output, lenses(("it", ra[0], dec[0], "A")), keep_new=fresh.append, min_score=0.5)
    assert sorted(fresh[0]["objid"].to_pylist()) == [2, 4]
    assert (result.rows, result.new) == (5, 2)


def test_marks_replace_older_ones_and_keep_other_flags(make_table: Callable[..., pa.Table]) -> None:
    table = make_table("A", [1, 2], [10.0, 20.0], [0.0, 0.0], [0.9, 0.8], [2 | VetFlag.KNOWN_LENS, 4])
    marked = mark_known(mark_known(table, lenses(("x", 10.0, 0.0, "A"))), lenses(("<b>y</b>", 20.0, 0.0, "")))
    assert marked["objid"].to_pylist() == table["objid"].to_pylist()
    marked = marked.sort_by("objid")
    assert marked["vet_flags"].to_pylist() == [2, 4 | VetFlag.KNOWN_LENS]
    assert marked["known_name"].to_pylist() == [None, "<b>y</b>"]
    assert marked["known_grade"].to_pylist() == [None, None]
    assert marked["known_separation"].to_pylist() == [None, 0.0]
    assert marked.schema.field("known_separation").metadata[b"unit"] == b"arcsec"
    assert marked.column_names.count("known_name") == 1


def test_marking_with_an_empty_list_marks_nothing(make_table: Callable[..., pa.Table]) -> None:
    table = make_table("A", [1], [10.0], [0.0], [0.9], [0])
    marked = mark_known(table, lenses().select(np.zeros(0, bool)))
    assert marked["vet_flags"].to_pylist() == [0]
    assert marked["known_name"].null_count == 1


def test_recovered_shares_are_of_what_could_be_seen_with_wilsons_interval() -> None:
    state = np.array([State.CANDIDATE] * 3 + [State.BELOW_FLOOR, State.NOT_DETECTED] + [State.OUTSIDE] * 5, np.int8)
    score = np.array([0.9, 0.5, 0.3, 0.01, *[np.nan] * 6])
    grades = ["A", "A", "B", "B", "A", *["C"] * 5]
    rows = {(row.grade, row.threshold): row for row in recovered(state, score, grades, [0.5])}
    every = rows[ALL, 0.5]
    assert (every.recovered, every.covered, every.scored) == (2, 5, 4)
    # Wilson at z = 1: (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) for p = 2/5, n = 5.
    half = np.sqrt(0.4 * 0.6 / 5 + 1 / 100) / 1.2
    assert every.of_covered == pytest.approx((0.4, 0.5 / 1.2 - half, 0.5 / 1.2 + half))
    assert (rows["A", 0.5].recovered, rows["A", 0.5].covered) == (2, 3)
    assert rows["C", 0.5].of_covered is None
    assert state_counts(state, grades)["C"][State.OUTSIDE] == 5


def test_a_share_of_all_or_none_lies_in_its_own_interval() -> None:
    for count in (1, 5, 26, 49):
        state = np.full(count, State.CANDIDATE, np.int8)
        for share in (row.of_covered for row in recovered(state, np.full(count, 0.5), [""] * count, [0.1, 0.9])):
            assert share is not None
            assert share[1] <= share[0] <= share[2]


def test_exported_rows_alone_tell_no_footprint_and_a_region_does(sky: Sky, tmp_path: Path) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    ra, dec = sky.add(where, x, y, [0.9, *[0.01] * 99])
    table = sky.make_table("A", [1], ra[:1], dec[:1], [0.9])
    write_table(tmp_path / "t.parquet", table)
    known = lenses(("a", ra[0], dec[0], ""), ("b", ra[50], dec[50], ""), ("c", 50.0, 0.0, ""))
    bare = crossmatch(tmp_path / "t.parquet", known)
    assert [State(code) for code in bare.state] == [State.CANDIDATE, State.UNKNOWN, State.UNKNOWN]
    # One of three was found, and nobody knows whether the others could have been.
    assert {row.of_covered for row in recovered(bare.state, bare.score, [""] * 3)} == {None}
    assert b"no known lens lies where" in recovered_plot(bare)
    told = crossmatch(tmp_path / "t.parquet", known, region=Cone(10.0, 0.0, 0.5))
    shares = recovered(told.state, told.score, [""] * 3, [0.5])[0]
    assert shares.of_covered is not None
    assert (shares.of_covered[0], shares.of_scored) == (0.5, None)
    assert [State(code) for code in told.state] == [State.CANDIDATE, State.NOT_LISTED, State.OUTSIDE]
    with pytest.raises(QueryError, match="not a scan's output"):
        crossmatch(tmp_path / "t.parquet", known, every=True)


def test_a_chance_match_is_expected_where_candidates_crowd(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = np.meshgrid(np.arange(200, 400, 2.0), np.arange(200, 400, 2.0))
    sky.add(where, x.ravel().tolist(), y.ravel().tolist(), [0.9] * x.size)
    middle = to_sky(where.wcs, 300.0, 300.0)
    result = crossmatch(sky.output, lenses(("it", float(middle[0]), float(middle[1]), "")))
    assert result.by_chance == 1.0


def test_a_half_written_table_is_named(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    ra, dec = sky.add(where, x, y, [0.9] * 100)
    broken = next(sky.output.glob("candidates/A/*/candidates.parquet"))
    broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(ProductMismatch, match=r"candidates\.parquet: not a readable Parquet file"):
        crossmatch(sky.output, lenses(("it", ra[0], dec[0], "")))


def test_a_scan_without_any_catalogue_leaves_every_lens_unscanned(sky: Sky, publish_field: Callable[..., None]) -> None:
    from pipeline.io import ownership

    sky.output.mkdir()
    ownership.claim(sky.output, "test", "sky", "dr1")
    sky.remember(geometry("A", 10.0, 0.0))
    result = crossmatch(sky.output, lenses(("it", 10.0, 0.0, "")))
    assert (State(result.state[0]), result.fields, result.unfinished) == (State.NOT_SCANNED, 1, 1)


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), 4000.0])
def test_a_radius_that_is_none_is_refused(scan: Path, radius: float) -> None:
    with pytest.raises(QueryError, match="radius"):
        crossmatch(scan, lenses(("it", 10.0, 0.0, "")), radius=radius)


def test_entries_are_chosen_by_grade_kind_and_reference() -> None:
    known = lenses(("a", 1.0, 0.0, "confident"), ("b", 2.0, 0.0, "probable"), reference="X et al. (2020) - arXiv:1")
    assert choose(known, grades=["Confident"]).name.tolist() == ["a"]
    assert choose(known, kinds=["galaxy"]).name.tolist() == ["a", "b"]
    assert choose(known, references=["x et al"]).name.tolist() == ["a", "b"]
    assert choose(known, without_references=["ARXIV:1"]).name.tolist() == []
    with pytest.raises(QueryError, match="no entry has the grade 'D'; there are 'confident', 'probable'"):
        choose(known, grades=["D"])


def test_lists_of_clusters_are_left_out_unless_asked_for() -> None:
    clusters = lenses(("NSCS", 1.0, 0.0, "probable"), reference="Lopes et al. (2004) - doi:10.1086/423038")
    both = "Lopes et al. (2004) - doi:10.1086/423038 | Huang et al. (2021) - arXiv:2005.04730"
    assert len(choose(clusters)) == 0
    assert len(choose(clusters, cluster_lists=True)) == 1
    assert len(choose(lenses(("NSCS", 1.0, 0.0, "probable"), reference=both))) == 1


def test_the_table_of_known_lenses_has_nulls_where_nothing_was_found(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    ra, dec = sky.add(where, x, y, [0.9] * 100)
    known = lenses(
        ("it", ra[0], dec[0], "A"), ("gone", *map(float, to_sky(where.wcs, 300.0, 300.0)), "A"), ("far", 99, 0, "")
    )
    result = crossmatch(sky.output, known)
    table = known_table(result)
    assert table["state"].to_pylist() == ["candidate", "not detected"]
    assert table["objid"].to_pylist() == [1, None]
    assert table["vet_flags"].to_pylist() == [int(VetFlag.KNOWN_LENS), None]
    assert table["separation"].to_pylist() == [pytest.approx(0.0, abs=1e-6), None]
    assert len(known_table(result, outside=True)) == 3


def test_the_plot_escapes_grades_and_counts_what_is_covered(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    ra, dec = sky.add(where, x, y, [0.9] * 100)
    known = lenses(("it", ra[0], dec[0], "<script>alert(1)</script>"), ("that", ra[1], dec[1], "B"))
    text = recovered_plot(crossmatch(sky.output, known)).decode()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "all (2)" in text


def test_the_plot_of_nothing_is_a_frame(sky: Sky) -> None:
    where = geometry("A", 10.0, 0.0)
    x, y = grid()
    sky.add(where, x, y, [0.9] * 100)
    assert b"no known lens lies where the scan is known to have looked" in recovered_plot(
        crossmatch(sky.output, lenses(("far", 99.0, 0.0, "")))
    )
