"""The page of scans in every state, and of scans whose names are hostile."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.observed import Judged
from pipeline.catalogue.proportion import share
from pipeline.catalogue.report import gather, write_report
from pipeline.catalogue.report_facts import CalibrationFacts, CalibrationFit, FieldTable, ObservedRow, ReportFacts
from pipeline.catalogue.report_page import page
from pipeline.catalogue.report_plots import reliability
from pipeline.catalogue.report_sky import MOST_DRAWN, SHARES, STATES, _shares, coverage
from pipeline.geometry import Footprint, Footprints
from pipeline.io import ownership, products
from pipeline.io.footprints import write_footprints
from tests.catalogue.test_report import Page, stamp

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.\x00"


def footprints(output: Path, ids: list[str]) -> None:
    """Square fields of half a degree along a circle of declination."""
    known = Footprints(ids)
    for number, name in enumerate(ids):
        a, d = np.radians([10 + 0.5 * number, -20])
        centre = (np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d))
        known.put(number, Footprint(name, (1800, 1800), 1.0, centre, 0.006, f"{number:032x}"))
    write_footprints(output, np.array([f"{number:032x}".encode() for number in range(len(ids))], "S32"), known)


def written(output: Path, **options: object) -> str:
    target = output.parent / "page.html"
    write_report(output, target, **options)
    text = target.read_text()
    Page(text)
    return text


def test_no_script_may_run_and_nothing_may_be_loaded(scan: Path) -> None:
    text = written(scan)
    assert "default-src &#x27;none&#x27;" in text
    assert "<script" not in text
    assert not re.search(r"\son\w+=", text)
    assert not re.search(r"https?://|url\((?!#)|@import", text)


def test_hostile_names_reasons_and_notes_stay_text(
    tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]
) -> None:
    output = tmp_path / "out"
    ownership.claim(output, EVIL, EVIL, EVIL)
    table = make_table("f", [1, 2], [10.0, 10.1], [0.0, 0.1], [0.9, 0.2], [0, 1])
    evil = pa.array([EVIL] * 2).cast(table.schema.field("field_id").type)
    table = table.set_column(table.schema.get_field_index("field_id"), table.schema.field("field_id"), evil)
    publish_field(output, EVIL, table, table)
    products.record_failure(output, EVIL + "2", "masks", "0", EVIL, again=True)
    generation = products.new_generation(output, "masks", EVIL, "m")
    told = {"rows": 0, "provenance": {"config": {EVIL: EVIL}}, "notes": [EVIL]}
    products.publish(output, field_id=EVIL, stage="masks", fingerprint="m", generation=generation, **told)
    footprints(output, [EVIL, EVIL + "2"])
    fit = CalibrationFit(EVIL, EVIL, 0.01, 1, 2, EVIL, 0.1, EVIL)
    text = written(
        output,
        stamp=lambda *row: stamp((EVIL, "r", "i")),
        calibration=CalibrationFacts(EVIL, (fit,), EVIL),
        judged=Judged({(EVIL, 1): True}, EVIL),
        maps_told=EVIL,
    )
    assert "<script" not in text
    assert "<img src=x" not in text
    assert text.count("&lt;script&gt;") > 10
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert "\x00" not in text


def test_a_name_that_is_no_unicode_does_not_stop_the_page(tmp_path: Path) -> None:
    ownership.claim(tmp_path / "out", "x", "sky", "dr1")
    ids = ("caf\udce9",)
    one, blank = np.zeros((1, 5), np.uint8), np.full(1, np.nan)
    fields = FieldTable(ids, one, np.zeros(1, bool), np.full((1, 6), -1), *[blank] * 5)
    assert b"caf\\udce9" in page(ReportFacts("x", "sky", "dr1", fields)).encode()


def test_long_names_and_reasons_are_cut(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ownership.claim(output, "x", "sky", "dr1")
    products.record_failure(output, "f" * 100, "masks", "0", "r" * 100_000, again=False)
    text = written(output)
    assert len(text) < 40_000
    assert "f" * 79 + "…" in text


def test_a_scan_that_has_only_been_planned_shows_where_it_will_look(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ownership.claim(output, "x", "sky", "dr1")
    footprints(output, ["a", "b"])
    text = written(output)
    assert "not begun 2" in text
    assert "No scores" in text
    assert "a: not begun" in text


def test_a_scan_without_an_ensemble_is_done_with_its_cutouts(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ownership.claim(output, "x", "sky", "dr1")
    for field_id, stages in (("a", ("masks", "detect", "cutouts")), ("b", ("masks", "detect"))):
        for stage in stages:
            generation = products.new_generation(output, stage, field_id, "1")
            told = {"rows": 0, "provenance": {"config": {"scan_id": "x"}}}
            products.publish(output, field_id=field_id, stage=stage, fingerprint="1", generation=generation, **told)
    facts = gather(output)
    assert facts.fields.finished.tolist() == [True, False]
    assert "<dt>done</dt><dd>1</dd>" in page(facts)


def test_a_scan_of_which_every_field_failed_tells_the_reasons_once_each(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ownership.claim(output, "x", "sky", "dr1")
    ids = [f"f{number:03d}" for number in range(300)]
    footprints(output, ids)
    for number, field_id in enumerate(ids):
        reason = f"no header in {field_id}.fits" if number % 3 else "disk full"
        products.record_failure(output, field_id, "cutouts", "0", reason, again=number % 3 == 0)
    text = written(output)
    assert "300 fields failed. 100 of them may succeed as they are." in text
    assert "no header in (field).fits" in text
    assert text.count("no header in (field).fits") == 1
    assert "failed 300" in text
    assert "Drift" not in text
    assert "100 more: <code>lensscan status" in text


def test_fields_without_coverage_are_a_success(
    tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]
) -> None:
    output = tmp_path / "out"
    publish_field(output, "a", make_table("a", [], [], [], []), make_table("a", [], [], [], []))
    text = written(output)
    assert "No detection has a score" in text
    assert "Quarantine" not in text


def test_one_field_is_held_against_none(scan: Path, tmp_path: Path, make_table, publish_field) -> None:
    table = make_table("a", list(range(50)), [10.0] * 50, [0.0] * 50, list(np.linspace(0.01, 0.9, 50)))
    publish_field(tmp_path / "one", "a", table, table)
    text = written(tmp_path / "one")
    assert "One field has no other to be held against." in text


def test_a_field_that_departs_is_told_with_what_differs(tmp_path: Path, make_table, publish_field) -> None:
    rng = np.random.default_rng(2)
    for number in range(12):
        n = 400
        score = 10 ** (rng.normal(-5, 0.5, n) + (0.9 if number == 4 else 0))
        if number == 4:
            score[:200] = np.nan
        field_id = f"f{number:02d}"
        table = make_table(
            field_id, list(range(n)), list(10 + rng.uniform(0, 1, n)), list(rng.uniform(0, 1, n)), list(score)
        )
        publish_field(tmp_path / "out", field_id, table, table.slice(0, 0))
    text = written(tmp_path / "out")
    assert "<b>1</b> of 12 fields depart from the survey." in text
    assert "no score 50 % (usual 0 %)" in text
    assert "<bdi>f04</bdi> <small>drifts</small>" in text
    rows = re.findall(r"<bdi>(f\d\d)</bdi>", text[text.index('id="fields"') :])
    assert rows[0] == "f04"


@pytest.mark.parametrize("n", [MOST_DRAWN - 1, 100_000])
def test_a_page_of_many_fields_is_bounded(n: int) -> None:
    rng = np.random.default_rng(0)
    states = np.ones((n, 5), np.uint8)
    states[::7, 3:] = 0
    states[::50, 2] = 2
    fields = FieldTable(
        tuple(f"field-{number:06d}" for number in range(n)),
        states,
        np.zeros(n, bool),
        rng.integers(0, 1000, (n, 6)),
        rng.uniform(0, 360, n),
        np.degrees(np.arcsin(rng.uniform(-0.9, 0.5, n))),
        np.full(n, 0.4),
        np.full(n, 0.4),
        np.zeros(n),
    )
    text = page(ReportFacts("x", "sky", "dr1", fields))
    Page(text)
    assert len(text) < 700_000
    assert f"all {n:,}" in text
    assert text.count("<bdi>field-") == 200


def test_fields_have_the_colour_of_their_density_in_the_key() -> None:
    n = 3
    counts = np.zeros((n, 6), np.int64)
    counts[:, -1] = [10, 19, 31]
    side = np.full(n, 0.123)
    ra = np.arange(n) * 0.2
    states = np.ones((n, 5), np.uint8)
    fields = FieldTable(("a", "b", "c"), states, np.zeros(n, bool), counts, ra, ra, side, side, 0 * ra)
    text = coverage(fields)
    density = text[text.index("Candidates a square degree</figcaption>") :]
    drawn = re.findall(r'<path class="(d\d)" d="[^"]*"><title>(\w)', density)
    assert sorted(drawn) == [("d3", "a"), ("d4", "b"), ("d5", "c")]
    assert re.findall(r'<span class="(d\d)">([^<]+)', density) == [("d3", "661"), ("d4", "1,260"), ("d5", "2,050")]


def test_a_cell_of_many_fields_tells_how_many_are_done_and_hides_not_that_some_fail() -> None:
    done, waiting, failed, empty = (STATES.index(name) for name in ("done", "not begun", "failed", "no coverage"))
    cells = [
        [waiting] * 3,
        [done] + [waiting] * 3,
        [done, waiting],
        [done] * 3 + [waiting],
        [done] * 9 + [empty],
        [done] * 19 + [failed],
        [done] * 8 + [failed],
    ]
    state = np.array([kind for cell in cells for kind in cell])
    at = np.repeat(np.arange(len(cells)), [len(cell) for cell in cells])
    names = [SHARES[place] for place in _shares(state, at, len(cells))]
    assert names == [*SHARES[:5], "more", "over a tenth failed"]


def test_what_people_found_stands_beside_what_the_scores_promise(tmp_path: Path, make_table, publish_field) -> None:
    score = [0.95, 0.92, 0.91, 0.2, 0.6, float("nan")]
    table = make_table("a", [1, 2, 3, 4, 5, 6], [10.0] * 6, [0.0] * 6, score, primary=[True] * 4 + [False, True])
    publish_field(tmp_path / "out", "a", table, table)
    lens = {("a", 1): True, ("a", 2): True, ("a", 3): False, ("a", 4): False, ("a", 5): True, ("a", 6): True}
    lens |= {("a", 99): True, ("elsewhere", 1): True}
    facts = gather(tmp_path / "out", judged=Judged(lens, "two graders"))
    low, high = facts.observed
    assert (low.judged, low.lenses, low.expected) == (1, 0, pytest.approx(0.2))
    assert (high.judged, high.lenses, high.expected) == (3, 2, pytest.approx(2.78))
    text = page(facts)
    assert "two graders" in text
    assert "<td>2.8</td><td>67 %</td>" in text
    assert "Observed share by mean score: 0.2: 0 %, 0.93: 67 %" in text
    assert text.count("<circle") == 2


def test_what_the_card_says_of_calibration_is_shown() -> None:
    one = np.zeros((0, 5), np.uint8)
    none = np.zeros(0)
    fields = FieldTable((), one, none.astype(bool), np.zeros((0, 6), np.int64), *[none] * 5)
    fit = CalibrationFit("cnn", "beta", 0.01, 3880, 12030, "pool-*.npz", 0.0157, "validation")
    facts = ReportFacts(
        "x",
        "sky",
        "dr1",
        fields,
        expected_lenses=20.52,
        primary_scored=1000,
        prior=0.02,
        calibration=CalibrationFacts("ground", (fit,)),
    )
    text = page(facts)
    assert "add up to <b>20.5</b> lenses" in text
    assert "as many would be <b>20</b>" in text
    assert "<td>3,880</td><td>12,030</td><td>0.0157</td>" in text


def test_reliability_is_drawn_on_the_line_where_scores_are_calibrated() -> None:
    rows = tuple(ObservedRow(0, 1, n, k, n * k / n, share(k, n)) for n, k in ((1000, 100), (10, 5), (100, 90)))
    svg = reliability(rows)
    places = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]
    (x0, y0), (x1, y1) = [
        map(float, pair) for pair in re.findall(r"([\d.]+) ([\d.]+)", svg[svg.index('class="even"') :])[:2]
    ]
    for x, y in places:
        assert (x - x0) / (x1 - x0) == pytest.approx((y - y0) / (y1 - y0), abs=2e-3)
    assert places == sorted(places)
    # Nothing found and everything found are on the edges, not beyond.
    edge = reliability((ObservedRow(0, 1, 5, 0, 1e-9, share(0, 5)), ObservedRow(0, 1, 5, 5, 5.0, share(5, 5))))
    assert all(40 <= float(x) <= 300 for x in re.findall(r'cx="([-\d.]+)"', edge))


def test_a_stamp_that_can_not_be_read_leaves_its_place_empty(scan: Path) -> None:
    def broken(*row: object) -> None:
        raise OSError("no such file")

    text = written(scan, stamp=broken)
    assert "Their cutouts were not kept, or are gone." in text


def test_maps_are_outlined_where_they_are_above_one_half(scan: Path) -> None:
    light, artefact = np.zeros((2, 21, 21), np.float32)
    light[10, 5:9] = 0.6
    artefact[3, 3] = 0.5
    facts = gather(
        scan, stamp=lambda *row: stamp(), maps=lambda stamps: [(light, artefact)] + [None] * (len(stamps) - 1)
    )
    first, second, *_ = facts.candidates
    assert sorted(re.findall("M[^M]+", first.light)) == ["M5 10h4", "M5 10v1", "M5 11h4", "M9 10v1"]
    assert first.artefact == ""
    assert second.light == ""
    text = page(facts)
    assert 'class="light"' in text
    assert "lens light above one half" in text
    assert "artefact above one half" not in text
