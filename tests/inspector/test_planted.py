"""Planted lenses and duds, and graders measured on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue.stamps import scan_stamps
from pipeline.errors import GradeError
from pipeline.inspector.graders import measure, wilson
from pipeline.inspector.history import Grade
from pipeline.inspector.planted import (
    PLANTED_FIELD,
    Planted,
    PlantedItem,
    joined,
    load_planted,
    mix,
    save_planted,
    token,
)
from pipeline.inspector.planted_read import planted_stamps, read_planted
from tests.inspector.conftest import BANDS, SCALE, SIDE, candidates, image, objid, position, write_pool, write_scan


def test_lenses_and_duds_come_from_a_pool_by_its_labels(scan: Path, tmp_path: Path):
    pool = str(write_pool(tmp_path / "pool-0.npz"))
    planted = read_planted(scan, lenses=[pool], duds=[pool])
    assert [item.kind for item in sorted(planted.items, key=lambda item: item.row)] == ["lens", "dud"] * 6
    assert {item.field_id for item in planted.items} == {PLANTED_FIELD}
    assert len({item.objid for item in planted.items}) == 12
    assert all(0 <= item.objid < 2**63 for item in planted.items)
    third = next(item for item in planted.items if item.row == 2)
    assert (third.theta_E, third.magnitude, third.arc_snr) == (pytest.approx(1.2), 19.5, 30)
    dud = next(item for item in planted.items if item.row == 3)
    assert (dud.theta_E, dud.magnitude) == (None, None)
    assert len(read_planted(scan, lenses=[str(tmp_path / "pool-*.npz")], most=2)) == 2


def test_a_planted_stamp_is_cut_to_the_scan_s_size_and_bands(scan: Path, tmp_path: Path):
    pool = write_pool(tmp_path / "pool-0.npz", side=SIDE + 4, bands=("z", "i", "r", "g"))
    planted = read_planted(scan, duds=[str(pool)])
    stamps = planted_stamps(planted, scan, scan_stamps(scan))
    item = min(planted.items, key=lambda item: item.row)
    shown = stamps(*item.key, None)
    assert shown is not None
    with np.load(pool) as archive:
        expected = archive["image"][item.row][[3, 2, 1], 2:-2, 2:-2]
    np.testing.assert_array_equal(shown.image, expected)
    assert (shown.bands, shown.pixel_scale) == (BANDS, SCALE)
    assert shown.ivar is not None
    candidate = stamps("F1", objid(1, 4), 4)
    assert candidate is not None
    np.testing.assert_array_equal(candidate.image, image(1, 4))


def test_a_pool_that_was_written_again_shows_no_other_stamp(scan: Path, tmp_path: Path):
    pool = write_pool(tmp_path / "pool-0.npz")
    planted = read_planted(scan, lenses=[str(pool)])
    write_pool(pool, n=13)
    stamps = planted_stamps(planted, scan, scan_stamps(scan))
    assert [stamps(*item.key, None) for item in planted.items] == [None] * 6
    pool.unlink()
    assert planted_stamps(planted, scan, scan_stamps(scan))(*planted.items[0].key, None) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": SIDE - 1}, "15 px at 0.3 arcsec would be told from the scan's"),
        ({"scale": 0.31}, "would be told from the scan's"),
        ({"bands": ("g", "r")}, "no band i"),
    ],
)
def test_a_pool_that_would_be_told_from_the_scan_s_stamps_is_refused(
    scan: Path, tmp_path: Path, changes: dict[str, Any], message: str
):
    pool = write_pool(tmp_path / "pool-0.npz", **changes)
    with pytest.raises(GradeError, match=message):
        read_planted(scan, lenses=[str(pool)])


def test_rows_of_the_scan_are_planted_by_id(scan: Path, tmp_path: Path):
    table = tmp_path / "known.csv"
    table.write_text(
        f"# duds under masks\nobjid,field_id,theta_E,magnitude\n{objid(0, 3)},F0,1.5,\n{objid(1, 4)},F1,,20.25\n"
        f"{objid(0, 1)},F1,nan,\n"
    )
    planted = read_planted(scan, duds=[str(table)])
    assert planted.by_key.keys() == {("F0", objid(0, 3)), ("F1", objid(1, 4)), ("F1", objid(0, 1))}
    item = planted.by_key["F1", objid(1, 4)]
    assert (item.row, item.theta_E, item.magnitude) == (4, None, 20.25)
    shown = planted_stamps(planted, scan, scan_stamps(scan))("F0", objid(0, 3), None)
    assert shown is not None
    np.testing.assert_array_equal(shown.image, image(0, 3))


def test_an_object_of_several_fields_is_planted_as_its_primary_copy(scan: Path, tmp_path: Path):
    pq.write_table(pa.table({"objid": [objid(0, 0)]}), tmp_path / "known.parquet")
    assert set(read_planted(scan, lenses=[str(tmp_path / "known.parquet")]).by_key) == {("F0", objid(0, 0))}


def test_rows_of_the_scan_are_planted_by_position(scan: Path, tmp_path: Path):
    ra, dec = zip(position(1, 7), position(0, 1), (150.1, 40.0), strict=True)
    near = [value + 0.5 / 3600 for value in dec]
    truth = pa.table({"ra": ra, "dec": near, "theta_E": [1.0, 2.0, 3.0], "lens_mag": [19.0, 20.0, 21.0]})
    pq.write_table(truth, tmp_path / "truth.parquet")
    planted = read_planted(scan, lenses=[str(tmp_path / "truth.parquet")])
    assert {key: item.theta_E for key, item in planted.by_key.items()} == {
        ("F1", objid(1, 7)): 1.0,
        ("F0", objid(0, 1)): 2.0,
    }


def test_what_has_no_kept_cutout_is_not_planted(tmp_path: Path):
    output = write_scan(tmp_path / "scan", kept=range(0, 40, 2))
    table = tmp_path / "known.csv"
    table.write_text(f"objid\n{objid(0, 3)}\n{objid(0, 4)}\n")
    assert set(read_planted(output, duds=[str(table)]).by_key) == {("F0", objid(0, 4))}
    table.write_text(f"objid\n{objid(0, 3)}\n")
    with pytest.raises(GradeError, match="nothing in it to plant as dud"):
        read_planted(output, duds=[str(table)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objid\n5\n", "objid 5 is not in"),
        ("objid,field_id\n{0},F9\n", "of field F9 is not in"),
        ("objid\n1152921504606846977.0\n", "is no 64-bit integer"),
        ("name\nx\n", "needs objid, or ra and dec"),
        ("ra,dec\n1,north\n", "dec 'north' is no number"),
        ("ra,dec\n1,nan\n", "a row has no ra or dec"),
        ("objid,theta_E\n{0},wide\n", "theta_E 'wide' is no number"),
        ("", "needs objid"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(scan: Path, tmp_path: Path, text: str, message: str):
    table = tmp_path / "known.csv"
    table.write_text(text.format(objid(0, 0)))
    with pytest.raises(GradeError, match=message):
        read_planted(scan, lenses=[str(table)])


def test_missing_and_damaged_files_are_told(scan: Path, tmp_path: Path):
    with pytest.raises(GradeError, match="no pool matches"):
        read_planted(scan, lenses=[str(tmp_path / "none-*.npz")])
    with pytest.raises(GradeError, match="cannot be read"):
        read_planted(scan, lenses=[str(tmp_path / "none.csv")])
    (tmp_path / "pool.npz").write_bytes(b"PK broken")
    with pytest.raises(GradeError, match="not a pool of stamps"):
        read_planted(scan, lenses=[str(tmp_path / "pool.npz")])


def test_nothing_is_planted_as_lens_and_as_dud(scan: Path, tmp_path: Path):
    table = tmp_path / "known.csv"
    table.write_text(f"objid\n{objid(0, 4)}\n")
    with pytest.raises(GradeError, match=f"objid {objid(0, 4)} of field F0 .* is planted as dud, but as lens"):
        read_planted(scan, lenses=[str(table)], duds=[str(table)])


def item(number: int, kind: Any = "lens", **known: Any) -> PlantedItem:
    return PlantedItem(PLANTED_FIELD, number, kind, "pool", number, **known)


def test_what_is_planted_is_remembered_and_grows(tmp_path: Path):
    assert load_planted(tmp_path) == Planted()
    first = save_planted(tmp_path, Planted((item(2**60 + 1, theta_E=1.5),)))
    assert load_planted(tmp_path) == first
    assert "1152921504606846977" in (tmp_path / "planted.json").read_text()
    both = save_planted(tmp_path, Planted((item(7, "dud"),)))
    assert load_planted(tmp_path) == both == joined(first, Planted((item(7, "dud"),)))
    with pytest.raises(GradeError, match="planted as lens, but as dud"):
        save_planted(tmp_path, Planted((item(7),)))
    (tmp_path / "planted.json").write_text('{"items": [{"objid": "x"}]}')
    with pytest.raises(GradeError, match=r"planted\.json is damaged"):
        load_planted(tmp_path)


KEYS = [("F", number) for number in range(900)]
HIDDEN = [(PLANTED_FIELD, number) for number in range(200)]


def test_the_stream_has_the_share_asked_for_and_keeps_the_candidates_order():
    stream = mix(KEYS, HIDDEN, share=0.1, seed=b"secret")
    assert [key for key in stream if key[0] == "F"] == KEYS
    shown = [key for key in stream if key[0] == PLANTED_FIELD]
    assert len(shown) == len(set(shown)) == 100
    # Anywhere: about as many in each quarter of the stream (100 of 1,000; 25 ± 4.3 by chance).
    quarters = np.histogram([place for place, key in enumerate(stream) if key[0] == PLANTED_FIELD], 4, (0, 1000))[0]
    assert ((quarters > 10) & (quarters < 42)).all()
    assert mix(KEYS, HIDDEN, share=0.1, seed=b"secret") == stream
    assert mix(KEYS, HIDDEN, share=0.1, seed=b"other") != stream
    assert mix(KEYS, HIDDEN[::-1], share=0.1, seed=b"secret") == stream


def test_a_longer_stream_shows_the_same_planted_objects_and_more():
    short, long = (set(mix(KEYS[:n], HIDDEN, share=0.1, seed=b"s")) - set(KEYS) for n in (450, 900))
    assert short < long
    assert (len(short), len(long)) == (50, 100)


def test_planted_candidates_stay_in_their_place_and_count():
    own = KEYS[10:40]
    stream = mix(KEYS, [*own, *HIDDEN], share=0.1, seed=b"s")
    assert [key for key in stream if key[0] == "F"] == KEYS
    assert len(stream) == 967
    assert mix(KEYS, own, share=0.01, seed=b"s") == KEYS


def test_the_ends_of_a_stream():
    assert mix(KEYS, HIDDEN, share=0, seed=b"s") == KEYS
    assert mix([], HIDDEN, share=0.5, seed=b"s") == []
    assert mix(KEYS, [], share=0.5, seed=b"s") == KEYS
    assert len(mix(KEYS, HIDDEN, share=0.9, seed=b"s")) == 1100
    for share in (1, -0.1, math.nan):
        with pytest.raises(GradeError, match="share of planted objects"):
            mix(KEYS, HIDDEN, share=share, seed=b"s")


def test_tokens_tell_nothing_and_are_apart():
    names = [token(b"secret", key) for key in [*KEYS, *HIDDEN]]
    assert len(set(names)) == 1100
    assert {len(name) for name in names} == {16}
    assert token(b"other", KEYS[0]) != names[0]
    assert token(b"secret", ("F 1", 2)) != token(b"secret", ("F", 12))


def grade(key: tuple[str, int], letter: str | None, grader: str = "anna") -> Grade:
    return Grade(*key, grader, letter, "", "", 1)


def test_wilson_s_interval_is_that_of_its_table():
    # Newcombe (1998, Stat. Med. 17, 857), table I, method 3, without continuity correction.
    for part, whole, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        rate = wilson(part, whole)
        assert (rate.low, rate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert wilson(5, 5).high == pytest.approx(1)
    assert wilson(0, 0).value is None


def test_a_grader_s_completeness_and_false_positives_are_counted_on_what_was_planted(scan: Path):
    lenses = [item(n, "lens", theta_E=0.5 + n / 2, magnitude=17.5 + n if n else None) for n in range(4)]
    planted = Planted((*lenses, item(10, "dud"), item(11, "dud"), item(12, "dud")))
    own = candidates(scan)[:3]
    given = [grade((PLANTED_FIELD, n), letter) for n, letter in enumerate("CBAA")]
    given += [grade((PLANTED_FIELD, 10), "B"), grade((PLANTED_FIELD, 11), "C"), grade((PLANTED_FIELD, 12), None)]
    given += [grade(own[0], "A"), grade(own[1], "X"), grade(own[2], "X"), grade(own[0], "X", "ben")]
    anna, ben = measure(given, planted)
    assert (anna.grader, anna.given) == ("anna", {"A": 1, "B": 0, "C": 0, "X": 2})
    assert (anna.completeness.part, anna.completeness.whole, anna.completeness.value) == (3, 4, 0.75)
    assert (anna.false_positives.part, anna.false_positives.whole) == (1, 2)
    assert [(found.low, found.high, found.rate.part, found.rate.whole) for found in anna.by_theta_E] == [
        (0.0, 1.0, 0, 1),
        (1.0, 1.5, 1, 1),
        (1.5, 2.0, 1, 1),
        (2.0, 3.0, 1, 1),
    ]
    assert [(found.low, found.high, found.rate.whole) for found in anna.by_magnitude] == [
        (18.0, 19.0, 1),
        (19.0, 20.0, 1),
        (20.0, 21.0, 1),
    ]
    assert ben.completeness.value is None
    assert ben.given["X"] == 1
