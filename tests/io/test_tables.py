"""Tables built against the schema, Parquet bytes, and exports read back by others."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table

from pipeline.errors import ProductMismatch
from pipeline.io.exports import csv_bytes, fits_bytes, json_bytes, votable_bytes
from pipeline.io.tables import build_table, parquet_bytes, read_table, write_table
from pipeline.schema import Column, scores_columns

BIG = 2**53 + 1
"""The smallest positive integer that a float64 changes."""

COLUMNS = scores_columns(["cnn"], ["g"])


def values(n: int = 3) -> dict[str, Any]:
    return {
        "objid": np.array([BIG, -5, 2**62 + 1][:n]),
        "survey": ["kids"] * n,
        "release": ["dr4"] * n,
        "field_id": ["KV 0"] * n,
        "scan_id": ["s"] * n,
        "ra": np.array([10.0, 359.99, 0.1][:n]),
        "dec": np.array([-30.0, 89.9, 0.0][:n]),
        "score": np.array([0.1, np.nan, 1.0][:n], np.float32),
        "score_std": np.array([0.01, np.nan, 0.0][:n]),
        "gate_score": np.full(n, np.nan),
        "ood": np.array([0.5, np.nan, 1.0][:n], np.float32),
        "vet_flags": np.array([0, 2, 2**31 + 1][:n], np.uint32),
        "artefact_fraction": np.array([0.0, 0.5, 1.0][:n]),
        "joint_score": np.array([np.nan, 0.5, 0.25][:n]),
        "artefact_overlap": np.array([np.nan, 0.1, 0.9][:n]),
        "lens_ra": np.array([np.nan, 150.1, 150.2][:n]),
        "lens_dec": np.array([np.nan, 2.1, 2.2][:n]),
        "arc_area": np.array([np.nan, 3.5, 0.0][:n]),
        "valid_fraction": np.array([1.0, 0.5, 0.25][:n]),
        "is_primary": np.array([True, False, True][:n]),
        "score_cnn": np.array([0.1, np.nan, 1.0][:n], np.float32),
        "mag_g": np.array([22.5, np.nan, 19.0][:n], np.float32),
        "seeing_g": np.full(n, np.nan, np.float32),
        "shard": ["KV 0/0"] * n,
        "row": np.arange(n, dtype=np.int32),
        "_healpix_29": np.array([7, 8, 3458764513820540927][:n]),
    }


def one(column: Column, value: Any) -> pa.Table:
    return build_table([column], {column.name: value})


ID = Column("objid", pa.int64(), "", "meta.id", "an id")
SMALL = Column("row", pa.int32(), "", "meta.record", "a row")
REAL = Column("mag", pa.float32(), "mag", "phot.mag", "a magnitude", nullable=True)
SURE = Column("ra", pa.float64(), "deg", "pos.eq.ra", "a right ascension")
YES = Column("is_primary", pa.bool_(), "", "meta.code", "a choice")
NAME = Column("source_id", pa.string(), "", "meta.id", "a name", nullable=True)


def test_ids_survive_the_way_to_disk_and_back_to_the_last_digit(tmp_path: Path) -> None:
    write_table(tmp_path / "deep" / "t.parquet", build_table(COLUMNS, values()))
    assert read_table(tmp_path / "deep" / "t.parquet", COLUMNS)["objid"].to_pylist() == [BIG, -5, 2**62 + 1]


def test_nan_becomes_null_in_a_nullable_column() -> None:
    table = build_table(COLUMNS, values())
    assert table["score"].to_pylist() == [pytest.approx(0.1), None, 1.0]
    assert table["seeing_g"].null_count == 3


def test_nan_in_a_column_that_is_not_nullable_names_column_and_row() -> None:
    with pytest.raises(ValueError, match=r"column ra may not be null, but row 1 is"):
        one(SURE, np.array([1.0, np.nan]))


def test_infinity_is_refused() -> None:
    with pytest.raises(ValueError, match="column mag must be finite or missing; row 0 is inf"):
        one(REAL, np.array([np.inf]))


def test_a_double_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ValueError, match="row 0 is 1e"):
        one(REAL, np.array([1e300]))


def test_masked_values_become_null() -> None:
    table = one(REAL, np.ma.array([1.0, 2.0], mask=[True, False]))
    assert table["mag"].to_pylist() == [None, 2.0]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (ID, np.array([1.0, 2.0]), "float64"),
        (ID, [1.0], "float"),
        (ID, np.array([2**63], np.uint64), "int64"),
        (ID, [True], "bool"),
        (ID, np.array([1, None], object), "object"),
        (ID, np.ma.array([1, 2], mask=[True, False]), "may not be null"),
        (SMALL, np.array([2**40]), "int32"),
        (REAL, np.array([1, 2]), "int64"),
        (REAL, ["a"], "does not go"),
        (SURE, np.array([1.0], np.float32), "lost its precision"),
        (YES, np.array([0, 1]), "int64"),
        (YES, [1], "int"),
        (NAME, [1], "is text"),
    ],
)
def test_a_value_of_another_kind_is_refused(column: Column, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one(column, value)


def test_uint64_ids_that_fit_are_taken_exactly() -> None:
    assert one(ID, np.array([2**62 + 1], np.uint64))["objid"].to_pylist() == [2**62 + 1]


def test_missing_and_extra_columns_are_named() -> None:
    given = values() | {"colour": [1, 2, 3]}
    del given["ra"]
    with pytest.raises(ValueError, match=r"missing: \['ra'\].*does not have: \['colour'\]"):
        build_table(COLUMNS, given)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        build_table([ID, SMALL], {"objid": np.array([1]), "row": np.array([1, 2])})


def test_no_rows_keep_every_type() -> None:
    empty = {name: [] for name in values()}
    assert build_table(COLUMNS, empty).schema.equals(build_table(COLUMNS, values()).schema, check_metadata=True)


def test_bytes_depend_on_the_rows_alone() -> None:
    whole = build_table(COLUMNS, values())
    other = values()
    other["field_id"] = ["AA", "KV 0", "KV 0"]
    tail = build_table(COLUMNS, other).slice(1)
    pieces = pa.concat_tables([whole.slice(0, 1), tail])
    assert pieces["field_id"].num_chunks == 2
    assert parquet_bytes(pieces) == parquet_bytes(whole)


def test_units_ucds_and_descriptions_are_in_the_file(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", build_table(COLUMNS, values()))
    field = pq.read_schema(tmp_path / "t.parquet").field("ra")
    assert field.metadata[b"unit"] == b"deg"
    assert field.metadata[b"ucd"] == b"pos.eq.ra;meta.main"
    assert field.metadata[b"description"].startswith(b"right ascension")


def test_row_groups_are_small_enough_to_skip(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", one(ID, np.arange(45_000)))
    assert pq.read_metadata(tmp_path / "t.parquet").num_row_groups == 3


def test_writing_leaves_no_temporary_file_behind_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(OSError, match=r"t\.parquet"):
        write_table(tmp_path / "t.parquet", one(ID, np.array([1])))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_reading_a_broken_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing here")
    with pytest.raises(ProductMismatch, match=r"t\.parquet: not a readable Parquet file"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(ProductMismatch, match="gone"):
        read_table(tmp_path / "gone.parquet")


def test_reading_another_schema_names_the_column(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", one(SMALL, np.array([1])))
    with pytest.raises(ProductMismatch, match="no column objid; it has row"):
        read_table(tmp_path / "t.parquet", [ID])
    with pytest.raises(ProductMismatch, match="row is int32, not int64"):
        read_table(tmp_path / "t.parquet", [Column("row", pa.int64(), "", "", "wider")])


def test_csv_has_empty_cells_for_nulls_and_whole_ids() -> None:
    lines = csv_bytes(build_table(COLUMNS, values()).select(["objid", "field_id", "score"])).decode().splitlines()
    assert lines == ['"objid","field_id","score"', f'{BIG},"KV 0",0.1', '-5,"KV 0",', f'{2**62 + 1},"KV 0",1']


def test_json_carries_ids_as_strings_and_short_floats() -> None:
    rows = json.loads(json_bytes(build_table(COLUMNS, values())))
    assert [row["objid"] for row in rows] == [str(BIG), "-5", str(2**62 + 1)]
    assert rows[0]["_healpix_29"] == "7"
    assert [row["score"] for row in rows] == [0.1, None, 1.0]
    assert rows[2]["vet_flags"] == 2**31 + 1
    assert json.loads(json_bytes(build_table(COLUMNS, values(0)))) == []


def test_votable_is_read_by_astropy_with_masks_units_and_ucds() -> None:
    back = parse_single_table(io.BytesIO(votable_bytes(build_table(COLUMNS, values()))))
    table = back.to_table()
    assert list(table["objid"]) == [BIG, -5, 2**62 + 1]
    assert list(table["vet_flags"]) == [0, 2, 2**31 + 1]
    assert [bool(x) for x in table["score"].mask] == [False, True, False]
    assert table["ra"].unit == "deg"
    assert list(table["field_id"]) == ["KV 0"] * 3
    assert [bool(x) for x in table["is_primary"]] == [True, False, True]
    fields = {field.name: field for field in back.fields}
    assert set(fields) == {column.name for column in COLUMNS}
    for column in COLUMNS:
        assert fields[column.name].ucd == column.ucd
        assert fields[column.name].description == column.description


def test_fits_is_read_by_astropy_with_units_and_nan() -> None:
    with fits.open(io.BytesIO(fits_bytes(build_table(COLUMNS, values())))) as hdus:
        data, header = hdus[1].data, hdus[1].header
        assert list(data["objid"]) == [BIG, -5, 2**62 + 1]
        assert list(data["vet_flags"]) == [0, 2, 2**31 + 1]
        assert math.isnan(data["score"][1])
        assert list(data["field_id"]) == ["KV 0"] * 3
        assert list(data["is_primary"]) == [True, False, True]
        for number, column in enumerate(COLUMNS, start=1):
            assert header[f"TCOMM{number}"] == column.description
            assert header.get(f"TUNIT{number}", "") == column.unit
            assert header[f"TUCD{number}"] == column.ucd


@pytest.fixture
def holed() -> pa.Table:
    """Nulls where our own tables never have them, as a union of two generations may."""
    return pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "u": pa.array([0, None], pa.uint32()),
            "b": pa.array([True, None], pa.bool_()),
            "s": pa.array(["Zürich", None], pa.string()),
        }
    )


def test_nulls_of_integers_booleans_and_text_survive_in_votable(holed: pa.Table) -> None:
    table = parse_single_table(io.BytesIO(votable_bytes(holed))).to_table()
    for name in ("i", "u", "b"):
        assert [bool(x) for x in table[name].mask] == [False, True]
    assert table["i"][0] == 1
    assert table["u"][0] == 0
    assert table["s"][0] == "Zürich"


def test_nulls_of_integers_and_booleans_are_tnull_in_fits(holed: pa.Table) -> None:
    with fits.open(io.BytesIO(fits_bytes(holed))) as hdus:
        data = hdus[1].data
        for number, name in enumerate(("i", "u", "b"), start=1):
            null = hdus[1].header[f"TNULL{number}"]
            assert [value == null for value in data[name]] == [False, True]
        assert data["i"][0] == 1
        assert data["u"][0] == 0
        assert data["b"][0] == 1
        assert data["s"][0] == "Z\\xfcrich"


@pytest.mark.parametrize("export", [csv_bytes, json_bytes, votable_bytes, fits_bytes, parquet_bytes])
def test_a_table_without_rows_can_be_exported(export: Any) -> None:
    assert export(build_table(COLUMNS, values(0)))
