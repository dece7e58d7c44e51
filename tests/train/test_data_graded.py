"""Graded candidates as labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import validate
from pipeline.errors import ConfigError
from pipeline.inspector.export import catalogue_rows, graded_table, grades_table
from pipeline.inspector.history import Grade
from pipeline.inspector.planted import PLANTED_FIELD, Planted, PlantedItem
from pipeline.io.exports import csv_bytes
from pipeline.io.tables import write_table
from pipeline.train.apart import check_apart
from pipeline.train.data import Stamps, read_stamps
from pipeline.train.data_config import DataConfig, GradedConfig
from pipeline.train.recipe import RecipeConfig
from tests.inspector.conftest import SCALE, SCAN, SIDE, image, objid, position, write_scan

PLANTED = Planted((PlantedItem("F0", objid(0, 6), "dud", "t", 6), PlantedItem(PLANTED_FIELD, 5, "lens", "p", 0)))
CELL = "3 arcmin"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("graded") / "scan")


def letter(row: int) -> str:
    """A B X C A B X C ... down the rows."""
    return "ABXC"[row % 4]


def grades_of(*keys: tuple[str, int, str], graders: tuple[str, ...] = ("anna", "ben")) -> list[Grade]:
    return [Grade(name, number, grader, grade, "", "", 1) for grader in graders for name, number, grade in keys]


def given() -> list[Grade]:
    """Grades of both fields by two who agree, and of what was planted."""
    keys = [(f"F{field}", objid(field, row), letter(row)) for field in (0, 1) for row in range(2, 40)]
    return grades_of(*keys, (PLANTED_FIELD, 5, "A"))


def write(scan: Path, path: Path, grades: list[Grade] | None = None, **options: Any) -> Path:
    grades = given() if grades is None else grades
    options = {"rule": "dawid-skene", "with_planted": True, **options}
    table = graded_table(catalogue_rows(scan, [grade.key for grade in grades]), SCAN, grades, PLANTED, **options)
    if path.suffix == ".csv":
        path.write_bytes(csv_bytes(table))
    else:
        write_table(path, table)
    return path


def config(scan: Path, table: Path, **changes: Any) -> GradedConfig:
    return validate(GradedConfig, {"kind": "graded", "scan": str(scan), "table": str(table), **changes}, "source")


def read(scan: Path, table: Path, **changes: Any) -> Stamps:
    return read_stamps([config(scan, table, **changes)], ("g", "r", "i"), SCALE, SIDE)


def labels(stamps: Stamps) -> dict[tuple[int, int], bool]:
    """(field, row) of each stamp, by its pixels -> its label."""
    pixels = stamps.take(np.arange(len(stamps)), np.zeros(len(stamps), bool))[0].numpy()
    known = {(field, row): image(field, row) for field in (0, 1) for row in range(40)}
    found = {}
    for stamp, lens in zip(pixels, stamps.lens.tolist(), strict=True):
        key = next(key for key, expected in known.items() if np.allclose(stamp, expected, atol=0.01))
        assert key not in found
        found[key] = lens
    return found


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_grades_are_the_labels_of_their_own_cutouts(scan: Path, tmp_path: Path, suffix: str):
    found = labels(read(scan, write(scan, tmp_path / f"graded.{suffix}")))
    expected = {(field, row): letter(row) in "AB" for field in (0, 1) for row in range(2, 40) if letter(row) != "C"}
    del expected[0, 6]  # planted, and graded X as it deserves
    assert found == expected
    assert (len(found), sum(found.values())) == (55, 36)


def test_which_grades_are_lenses_is_for_the_config_to_say(scan: Path, tmp_path: Path):
    table = write(scan, tmp_path / "graded.parquet")
    found = labels(read(scan, table, positives=["A"], negatives=["C", "X"]))
    assert {letter(row): lens for (_, row), lens in found.items()} == {"A": True, "C": False, "X": False}
    for changes, message in [
        ({"positives": ["A", "X"]}, "grade X is in positives and negatives"),
        ({"positives": ["D"]}, "'A', 'B', 'C' or 'X'"),
        ({"positives": []}, "at least 1 item"),
    ]:
        with pytest.raises(ConfigError, match=message):
            config(scan, table, **changes)


def test_probabilities_say_how_often_a_stamp_is_drawn(scan: Path, tmp_path: Path):
    path = write(scan, tmp_path / "graded.parquet")
    plain, weighed = read(scan, path, weight=2), read(scan, path, weigh=True, weight=2)
    assert plain.weight is not None
    assert weighed.weight is not None
    assert (plain.weight == 2).all()
    table = pq.read_table(path)
    keys = zip(table["field_id"].to_pylist(), table["objid"].to_pylist(), strict=True)
    chance = dict(zip(keys, table["p_lens"].to_pylist(), strict=True))
    for (field, row), lens, weight in zip(labels(weighed), weighed.lens, weighed.weight, strict=True):
        p = chance[f"F{field}", objid(field, row)]
        assert weight == pytest.approx(2 * (p if lens else 1 - p))
    # Other probabilities make another training, so that a run knows that it is not done.
    assert weighed.digest != plain.digest
    with pytest.raises(ConfigError, match="--consensus dawid-skene"):
        read(scan, write(scan, tmp_path / "median.parquet", rule="median"), weigh=True)


def test_parts_are_split_by_the_sky_and_share_no_object(scan: Path, tmp_path: Path):
    # The first two objects lie in both fields, at one place of the sky.
    grades = grades_of(*((f"F{field}", objid(field, row), "AX"[row % 2]) for field in (0, 1) for row in range(40)))
    table = write(scan, tmp_path / "graded.parquet", grades)
    found = {part: labels(read(scan, table, part=part, cell=CELL)) for part in ("train", "validation", "test")}
    every = [key for part in found.values() for key in part]
    assert len(every) == len(set(every)) > 50
    places = {part: {position(*key) for key in keys} for part, keys in found.items()}
    assert not places["train"] & places["test"]
    assert not places["train"] & places["validation"]
    assert not places["test"] & places["validation"]


def test_a_validation_that_holds_a_graded_object_of_training_is_refused(scan: Path, tmp_path: Path):
    # The same objects, seen in the other field: not one pixel is the same.
    first, other = (
        write(
            scan,
            tmp_path / f"{field}.parquet",
            grades_of((f"F{field}", objid(field, 0), "A"), (f"F{field}", objid(field, 1), "X")),
        )
        for field in (0, 1)
    )
    data = DataConfig(train=(config(scan, first),), validation=(config(scan, other),))
    parts = [read(scan, table) for table in (first, other)]
    with pytest.raises(ConfigError, match="2 validation stamps lie where a training stamp does"):
        check_apart(data, *parts)
    check_apart(data.model_copy(update={"shared_sources": "allow"}), *parts)
    table = write(scan, tmp_path / "graded.parquet")
    sources = [config(scan, table, part=part, cell=CELL) for part in ("train", "validation")]
    apart = DataConfig(train=(sources[0],), validation=(sources[1],))
    check_apart(apart, *(read_stamps([source], ("g", "r", "i"), SCALE, SIDE) for source in sources))


def test_one_object_with_two_labels_is_refused(scan: Path, tmp_path: Path):
    grades = grades_of(("F0", objid(0, 0), "A"), ("F1", objid(1, 0), "X"))
    with pytest.raises(ConfigError, match=r"of field F0 and objid .* of field F1 are one object, graded as a lens"):
        read(scan, write(scan, tmp_path / "graded.parquet", grades))


def changed(path: Path, name: str, values: Any) -> Path:
    table = pq.read_table(path)
    index = table.column_names.index(name)
    column = pa.array([values] * len(table)) if not isinstance(values, list) else pa.array(values)
    write_table(path, table.set_column(index, name, column))
    return path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scan_id", "other", "graded rows of scan_id 'other', but .* has scan_id 'test'; name the output"),
        ("release", "dr2", "release 'dr2'"),
        ("survey", "sea", "survey 'sea'"),
        ("grade", "D", "has grade 'D', not one of A, B, C, X"),
        ("grade", "C", "none of its .* rows has a grade of A, B, X"),
        ("grade", None, "none of its .* rows has a grade of A, B, X"),
        ("field_id", "F9", "no cutouts of F9"),
        ("objid", 7, "stands there twice"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(scan: Path, tmp_path: Path, name: str, value: Any, message: str):
    table = changed(write(scan, tmp_path / "graded.parquet"), name, value)
    with pytest.raises(ConfigError, match=message):
        read(scan, table)


def test_ids_that_went_through_a_float_are_refused(scan: Path, tmp_path: Path):
    path = write(scan, tmp_path / "graded.parquet")
    floats = [float(value) for value in pq.read_table(path)["objid"].to_pylist()]
    with pytest.raises(ConfigError, match="is no 64-bit integer"):
        read(scan, changed(path, "objid", floats))


def test_what_is_no_table_of_graded_candidates_is_told_how_to_make_one(scan: Path, tmp_path: Path):
    write_table(tmp_path / "each.parquet", grades_table(given(), PLANTED))
    with pytest.raises(ConfigError, match=r"no column survey, release, scan_id\); write it with `lensscan grades PATH"):
        read(scan, tmp_path / "each.parquet")
    pq.write_table(
        pq.read_table(write(scan, tmp_path / "graded.parquet")).drop_columns(["grade"]), tmp_path / "rows.parquet"
    )
    with pytest.raises(ConfigError, match="no column grade"):
        read(scan, tmp_path / "rows.parquet")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(scan, tmp_path / "nothing.parquet")
    with pytest.raises(ConfigError, match="is not the output of a scan"):
        read(tmp_path, tmp_path / "graded.parquet")


def test_objects_that_the_scan_no_longer_has_are_told(scan: Path, tmp_path: Path):
    grades = [*given(), *grades_of(("F0", 12345, "A"))]
    with pytest.raises(ConfigError, match=r"1 of 56 graded objects are no longer in .* objid 12345 of field F0"):
        read(scan, write(scan, tmp_path / "graded.parquet", grades))


def test_only_kept_cutouts_are_read(tmp_path: Path):
    output = write_scan(tmp_path / "scan", kept=range(0, 40, 2))
    even = grades_of(*((f"F{field}", objid(field, row), letter(row)) for field in (0, 1) for row in range(2, 40, 2)))
    found = labels(read(output, write(output, tmp_path / "graded.parquet", even)))
    assert found == {
        (field, row): letter(row) == "A" for field in (0, 1) for row in range(2, 40, 2) if (field, row) != (0, 6)
    }
    with pytest.raises(ConfigError, match=r"did not keep them \(the first is objid .* of field F0\); set cut_again"):
        read(output, write(output, tmp_path / "every.parquet"))


def test_a_recipe_s_members_learn_from_grades_of_its_scan(scan: Path, tmp_path: Path):
    source = {"kind": "graded", "table": str(write(scan, tmp_path / "graded.parquet")), "scan": str(scan)}
    member = {"config": "cnn", "train": [source], "validation": [{"pool": "v"}]}
    recipe = RecipeConfig.model_validate(
        {
            "kind": "ensemble",
            "name": "next",
            "description": "d",
            "output": "o",
            "pools": [{"name": "v", "config": "stamps", "n": 10, "seed": 1, "split": "validation"}],
            "members": [member],
            "calibration": {"pools": ["v"]},
        }
    )
    assert isinstance(recipe.members[0].train[0], GradedConfig)  # type: ignore[index]
