"""VOTables and FITS tables as they leave, beyond what `test_tables.py` reads back: bad values, units, UCDs, STILTS."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.io.votable import conf, parse, parse_single_table
from astropy.io.votable.ucd import check_ucd
from astropy.units import Unit

from pipeline.io.column_words import vo_unit, words
from pipeline.io.exports import fits_bytes, votable_bytes
from pipeline.io.fits_table import fits_parts
from pipeline.io.tables import build_table
from pipeline.io.votable import votable_parts
from pipeline.schema import arrow_schema, scores_columns

BANDS = ["u", "g", "r", "i", "z", "y", "Y", "J", "H", "K", "Ks", "Z", "VIS", "F814W"]
needs_stilts = pytest.mark.skipif(shutil.which("stilts") is None, reason="needs Debian's stilts")


def catalogue(rows: int) -> pa.Table:
    """A table of every column that a scan may have; values depend on the row alone, and every third may be missing."""
    values: dict[str, Any] = {}
    columns = scores_columns(["cnn"], BANDS)
    for column in columns:
        if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
            values[column.name] = [f"{column.name} {row}" for row in range(rows)]
        elif pa.types.is_boolean(column.type):
            values[column.name] = np.arange(rows) % 2 == 0
        elif pa.types.is_integer(column.type):
            values[column.name] = np.arange(rows).astype(column.type.to_pandas_dtype())
        else:
            given = np.arange(rows) / 7
            values[column.name] = np.where(np.arange(rows) % 3 == 2, np.nan, given) if column.nullable else given
    return build_table(columns, values)


def test_every_unit_and_ucd_is_one_that_the_virtual_observatory_knows() -> None:
    for field in arrow_schema(scores_columns(["cnn"], BANDS)):
        said = words(field)
        assert check_ucd(said.ucd, check_controlled_vocabulary=True, has_colon=False), (field.name, said.ucd)
        if said.unit:
            assert Unit(vo_unit(said.unit), format="vounit") == Unit(said.unit)


def test_a_magnitude_says_where_its_band_lies_even_in_files_that_said_otherwise() -> None:
    old = pa.field("mag_g", pa.float32(), metadata={"unit": "mag", "ucd": "phot.mag;em.opt.g", "description": "g"})
    assert words(old).ucd == "phot.mag;em.opt.B"
    assert words(pa.field("mag_F814W", pa.float32(), metadata={"ucd": "phot.mag"})).ucd == "phot.mag"
    assert words(pa.field("other", pa.float32())).ucd == ""


def test_astropy_reads_it_at_its_strictest() -> None:
    with conf.set_temp("verify", "exception"):
        document = parse(io.BytesIO(votable_bytes(catalogue(10))), verify="exception")
    table = document.get_first_table()
    assert document.version == "1.4"
    assert table.nrows == 10
    systems = list(document.iter_coosys())
    assert [(system.ID, system.system) for system in systems] == [("icrs", "ICRS")]
    referring = {field.name for field in table.fields if field.ref == "icrs"}
    assert referring == {"ra", "dec", "lens_ra", "lens_dec"}
    assert all(field.ucd for field in table.fields)


def test_only_integers_that_may_be_missing_have_a_null_value() -> None:
    table = parse_single_table(io.BytesIO(votable_bytes(catalogue(3))))
    null = {field.name: field.values.null for field in table.fields if field.values.null is not None}
    assert null == {"row": -(2**31)}


def test_an_integer_that_would_read_as_missing_is_refused() -> None:
    table = pa.table({"i": pa.array([-(2**31)], pa.int32())})
    with pytest.raises(ValueError, match="column i holds -2147483648"):
        votable_bytes(table)


@pytest.mark.parametrize("write", [votable_bytes, fits_bytes])
def test_a_column_that_no_table_has_is_refused_by_name(write: Any) -> None:
    with pytest.raises(ValueError, match="column many is list"):
        write(pa.table({"many": pa.array([[1]], pa.list_(pa.int64()))}))
    with pytest.raises(ValueError, match="column u is uint64"):
        write(pa.table({"u": pa.array([1], pa.uint64())}))


def test_text_can_not_break_out_of_its_cell() -> None:
    hostile = ["</TD></TR></TABLEDATA>", "a & b < c > d", "]]>", "\"'", "\x00\x08\x1b\ufffe", "日本 𝛼", ""]
    text = votable_bytes(pa.table({"s": pa.array(hostile)}))
    read = list(parse_single_table(io.BytesIO(text)).to_table()["s"])
    assert read == [re.sub("[\x00\x08\x1b\ufffe]", "\ufffd", value) for value in hostile]


def test_names_and_descriptions_are_escaped_too() -> None:
    field = pa.field('a"<b>&\x01', pa.int32(), nullable=False, metadata={"description": "x < y & \x02"})
    schema = pa.schema([field])
    parts = votable_parts(
        schema,
        [pa.record_batch([pa.array([1], pa.int32())], schema=schema)],
        rows=1,
        name='<"&',
        description="<d>&\x03",
        infos={'<"k"&': '<"v"&\n'},
    )
    table = parse(io.BytesIO(b"".join(parts))).get_first_table()
    assert (table.name, table.description.strip()) == ('<"&', "<d>&\ufffd")
    assert (table.fields[0].name, table.fields[0].description.strip()) == ('a"<b>&\ufffd', "x < y & \ufffd")


def test_numbers_keep_every_digit() -> None:
    random = np.random.default_rng(2)
    doubles = np.concatenate([random.normal(size=200) * 10.0 ** random.integers(-300, 300, 200), [0.0, -0.0, 5e-324]])
    singles = (random.normal(size=203) * 10.0 ** random.integers(-37, 37, 203)).astype(np.float32)
    ids = random.integers(-(2**63) + 1, 2**63 - 1, 203)
    table = pa.table({"d": doubles, "f": singles, "i": ids})
    votable = parse_single_table(io.BytesIO(votable_bytes(table))).to_table()
    with fits.open(io.BytesIO(fits_bytes(table))) as hdus:
        for name, given in (("d", doubles), ("f", singles), ("i", ids)):
            assert np.array_equal(votable[name], given)
            assert np.array_equal(hdus[1].data[name], given)


def test_infinite_numbers_stay_so_and_nan_is_missing() -> None:
    table = pa.table({"f": pa.array([np.inf, -np.inf, np.nan], pa.float32())})
    read = parse_single_table(io.BytesIO(votable_bytes(table))).to_table()["f"]
    assert list(read[:2]) == [np.inf, -np.inf]
    assert bool(read.mask[2])


def test_small_and_unsigned_integers_keep_their_values() -> None:
    kinds = {"i8": pa.int8(), "u8": pa.uint8(), "i16": pa.int16(), "u16": pa.uint16(), "u32": pa.uint32()}
    limits = {name: np.iinfo(kind.to_pandas_dtype()) for name, kind in kinds.items()}
    values = {name: [int(limit.min), int(limit.max)] for name, limit in limits.items()}
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])
    table = pa.table(values, schema=schema)
    votable = parse_single_table(io.BytesIO(votable_bytes(table))).to_table()
    with fits.open(io.BytesIO(fits_bytes(table))) as hdus:
        for name, given in values.items():
            assert list(votable[name]) == given, name
            assert list(hdus[1].data[name]) == given, name


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_batches_of_any_size_give_the_same_bytes(rows: int) -> None:
    texts = pa.array([f"{'x' * row}é" for row in range(rows)], pa.string())
    table = pa.table({"s": texts, "i": pa.array(range(rows), pa.int64())})
    whole = table.to_batches()
    single = [table.slice(row, 1).combine_chunks().to_batches()[0] for row in range(rows)]
    for write in (
        lambda batches: votable_parts(table.schema, batches, rows=rows),
        lambda batches: fits_parts(table.schema, lambda: batches, rows=rows),
    ):
        assert b"".join(write(whole)) == b"".join(write(single))


def test_a_fits_file_ends_on_a_block_and_says_what_it_is_told() -> None:
    table = catalogue(7)
    flat = pa.table({"i": table["objid"]})
    long = "a long citation, " * 20
    data = b"".join(fits_parts(flat.schema, flat.to_batches, rows=7, cards={"CITATION": long, "title": "é"}))
    assert len(data) % 2880 == 0
    with fits.open(io.BytesIO(data)) as hdus:
        hdus.verify("exception")
        assert hdus[1].header["CITATION"] == long.rstrip()
        assert hdus[1].header["TITLE"] == "\\xe9"
        assert hdus[1].header["RADESYS"] == "ICRS"


def stilts(*arguments: object) -> str:
    return subprocess.run(
        ["stilts", "-Xmx512m", *map(str, arguments)], capture_output=True, text=True, check=True, timeout=300
    ).stdout


@needs_stilts
@pytest.mark.parametrize("rows", [0, 50])
def test_votlint_has_nothing_to_say_of_a_query(rows: int, tmp_path: Path) -> None:
    (tmp_path / "t.vot").write_bytes(votable_bytes(catalogue(rows)))
    assert stilts("votlint", "ucd=true", "unit=true", f"votable={tmp_path / 't.vot'}") == ""


@needs_stilts
def test_stilts_reads_units_and_ucds_of_both(tmp_path: Path) -> None:
    table = catalogue(5)
    (tmp_path / "t.vot").write_bytes(votable_bytes(table))
    (tmp_path / "t.fits").write_bytes(fits_bytes(table))
    for name in ("t.vot", "t.fits"):
        text = stilts("tpipe", f"in={tmp_path / name}", "cmd=meta name units ucd", "ofmt=csv")
        read = {line.split(",")[0]: line.split(",")[1:] for line in text.splitlines()}
        for field in table.schema:
            said = words(field)
            units = vo_unit(said.unit) if name == "t.vot" else said.unit
            assert read[field.name] == [units, said.ucd], (name, field.name)
