"""Publishing: what the folder holds, column for column and row for row, against the per-field files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.io import fits
from astropy.io.votable import parse_single_table
from hats import read_hats
from mocpy import MOC

from pipeline.catalogue import query as catalogue_query
from pipeline.catalogue.publish import publish
from pipeline.catalogue.publish_words import Credit
from pipeline.flags import VetFlag
from pipeline.io.object_path import ObjectPath
from pipeline.io.products import record_failure
from pipeline.io.tables import plain, write_table
from tests.object_store import upload

BIG = 2**53 + 1


def rows_of(folder: Path) -> pa.Table:
    """Every row of a published catalogue, read with nothing but its Parquet files."""
    name = json.loads((folder / "datapackage.json").read_text())["resources"][0]["path"]
    return pa.concat_tables([pq.ParquetFile(folder / path).read() for path in name])


def keys(table: pa.Table) -> set[tuple[str, int]]:
    return set(zip(table["field_id"].to_pylist(), table["objid"].to_pylist(), strict=True))


def test_every_candidate_is_published_with_its_copies(scan: Path, tmp_path: Path) -> None:
    published = publish(scan, tmp_path / "out")
    table = rows_of(tmp_path / "out")
    assert (published.rows, published.fields, published.read, published.failed) == (5, 2, 5, ())
    assert len(table) == 5
    assert keys(table) == {("A/1", BIG), ("A/1", 12), ("A/1", 14), ("B", -5), ("B", 12)}
    assert sorted(table["is_primary"].to_pylist()) == [False, True, True, True, True]


def test_rows_are_those_of_the_query_to_the_last_bit_and_null(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    asked = catalogue_query.query(scan)
    by = [("field_id", "ascending"), ("objid", "ascending")]
    published, expected = rows_of(tmp_path / "out").sort_by(by), plain(asked).sort_by(by)
    assert published.column_names == expected.column_names
    for name in expected.column_names:
        assert published[name].to_pylist() == expected[name].to_pylist(), name
    assert published["score_vit"].null_count == 3


def test_types_units_ucds_and_descriptions_stay(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    stored, asked = rows_of(tmp_path / "out").schema, catalogue_query.query(scan).schema
    for field in asked:
        kept = stored.field(field.name)
        assert kept.metadata == field.metadata
        assert kept.type == (pa.string() if pa.types.is_dictionary(field.type) else field.type)
    assert stored.field("objid").type == pa.int64()
    common = pq.read_schema(tmp_path / "out" / "test" / "dataset" / "_common_metadata")
    assert common.equals(stored, check_metadata=False)
    assert common.field("ra").metadata[b"ucd"] == b"pos.eq.ra;meta.main"


def test_primary_narrows_and_all_takes_every_score(scan: Path, tmp_path: Path) -> None:
    assert publish(scan, tmp_path / "once", primary=True).rows == 4
    assert all(rows_of(tmp_path / "once")["is_primary"].to_pylist())
    assert publish(scan, tmp_path / "all", all=True).rows == 6
    assert rows_of(tmp_path / "all")["score"].null_count == 1


def test_tables_for_topcat_hold_the_same_rows_best_first(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out", all=True)
    votable = parse_single_table(tmp_path / "out" / "candidates.vot").to_table()
    with fits.open(tmp_path / "out" / "candidates.fits") as hdus:
        table = hdus[1].data
        assert list(votable["objid"]) == list(table["objid"]) == [-5, BIG, 14, 12, 12, 13]
        assert np.isnan(table["score"][-1])
        assert hdus[1].header["SCANID"] == "test"
    assert bool(votable["score"].mask[-1])


def test_more_rows_than_tables_may_hold_are_published_without_tables(scan: Path, tmp_path: Path) -> None:
    published = publish(scan, tmp_path / "out", rows_in_tables=4)
    assert not {"candidates.vot", "candidates.fits"} & set(published.tables)
    assert "candidates.vot" not in (tmp_path / "out" / "README.md").read_text()
    assert [entry["name"] for entry in package(tmp_path / "out")["resources"]] == ["candidates", "moc-fits"]


def package(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "datapackage.json").read_text())
    return found


def test_the_data_package_says_where_rows_come_from_and_what_may_be_done_with_them(scan: Path, tmp_path: Path) -> None:
    credit = Credit("A title", "Zoë & co", "CC-BY-4.0", "Somebody 2026\\")
    publish(scan, tmp_path / "out", credit=credit)
    said = package(tmp_path / "out")
    assert (said["title"], said["licenses"]) == ("A title", [{"name": "CC-BY-4.0"}])
    assert said["citation"] == "Somebody 2026\\"
    assert said["contributors"] == [{"title": "Zoë & co", "roles": ["creator"]}]
    assert said["provenance"]["scans"] == [{"survey": "sky", "release": "dr1", "scan_id": "test", "rows": 5}]
    made = [{"config": {"scan_id": "test", "bands": ["r"]}, "software": {"lensscan": "0"}, "fields": 2}]
    assert said["provenance"]["made"] == made
    assert said["counts"]["rows"] == 5
    for entry in said["resources"]:
        for path in [entry["path"]] if isinstance(entry["path"], str) else entry["path"]:
            assert (tmp_path / "out" / path).is_file()
            assert (
                entry.get("bytes", (tmp_path / "out" / path).stat().st_size) == (tmp_path / "out" / path).stat().st_size
            )
    properties = read_hats(tmp_path / "out").main_catalog.catalog_info.extra_dict()
    assert (properties["hats_copyright"], properties["bib_reference"]) == ("CC-BY-4.0", "Somebody 2026/")


def test_columns_are_described_from_the_schema(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "tableschema.json").read_text())
    stored = rows_of(tmp_path / "out").schema
    assert [field["name"] for field in described["fields"]] == stored.names
    by_name = {field["name"]: field for field in described["fields"]}
    assert by_name["objid"] == {
        "name": "objid",
        "type": "integer",
        "datatype": "int64",
        "description": "unique in its field and among primary rows",
        "ucd": "meta.id;meta.main",
        "constraints": {"required": True},
    }
    assert by_name["arc_area"]["unit"] == "arcsec**2"
    assert "constraints" not in by_name["score"]
    assert {bit["value"]: bit["name"] for bit in by_name["vet_flags"]["bits"]} == {
        flag.value: flag.name for flag in VetFlag
    }
    assert described["primaryKey"] == ["field_id", "objid"]


def test_the_readme_says_how_to_open_it_in_ways_that_work(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    pattern = re.search(r"takes `(\S+)`", (tmp_path / "out" / "README.md").read_text())
    assert pattern is not None
    (rows,) = duckdb.sql(f"SELECT count(*) FROM read_parquet('{tmp_path / 'out' / pattern.group(1)}')").fetchall()
    assert rows == (5,)


def test_the_moc_holds_every_row_and_little_else(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    moc = MOC.load(tmp_path / "out" / "moc.fits")
    table = rows_of(tmp_path / "out")
    assert moc.contains_lonlat(table["ra"].to_numpy() * units.deg, table["dec"].to_numpy() * units.deg).all()
    assert moc.sky_fraction < 6 / (12 * 4**10)


def test_the_same_rows_are_written_in_the_same_order_however_they_are_partitioned(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "one")
    published = publish(scan, tmp_path / "many", rows_a_partition=1)
    assert published.partitions > 1
    assert rows_of(tmp_path / "one").equals(rows_of(tmp_path / "many"))
    cells = rows_of(tmp_path / "many")["_healpix_29"].to_pylist()
    assert cells == sorted(cells)


def test_an_empty_field_is_no_obstacle(
    scan: Path,
    tmp_path: Path,
    make_table: Callable[..., pa.Table],
    publish_field: Callable[..., None],
) -> None:
    nothing = make_table("empty", [], [], [], [])
    publish_field(scan, "empty", nothing, nothing)
    published = publish(scan, tmp_path / "out")
    assert (published.rows, published.fields) == (5, 2)
    assert package(tmp_path / "out")["counts"]["fields"] == 3


def test_a_field_run_again_is_published_as_it_is_now(
    scan: Path, tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]
) -> None:
    again = make_table("B", [7], [10.05], [0.0], [0.3])
    publish_field(scan, "B", again, again, name="f2")
    publish(scan, tmp_path / "out")
    assert {key for key in keys(rows_of(tmp_path / "out")) if key[0] == "B"} == {("B", 7)}


def test_odd_names_of_folders_fields_and_scans_are_written_as_they_are(
    tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]
) -> None:
    output, odd = tmp_path / "a [scan] #1?%20é", 'x/<y>&"z"|é\u0001*'
    table = make_table(odd, [1, 2], [10.0, 10.0], [0.0, 0.1], [0.9, 0.8])
    publish_field(output, odd, table, table)
    folder = tmp_path / "my cat #1?%20é [x]"
    publish(output, folder, credit=Credit(title="<b>|ü|\n`title`", citation='A "quoted" & <cited> = 1'))
    assert rows_of(folder)["field_id"].to_pylist() == [odd, odd]
    votable = parse_single_table(folder / "candidates.vot").to_table()
    assert list(votable["field_id"]) == [odd.replace("\u0001", "\ufffd")] * 2
    with fits.open(folder / "candidates.fits") as hdus:
        assert hdus[1].header["CITATION"] == 'A "quoted" & <cited> = 1'
    assert package(folder)["title"] == "<b>|ü|\n`title`"
    assert "<b>" not in (folder / "README.md").read_text().replace("\\<b\\>", "")


def test_fields_made_in_different_ways_are_told(scan: Path, tmp_path: Path) -> None:
    assert publish(scan, tmp_path / "one").ways == 1
    manifest = next((scan / "manifests" / "B").glob("candidates.*.json"))
    manifest.write_text(manifest.read_text().replace('"lensscan": "0"', '"lensscan": "1"'))
    assert publish(scan, tmp_path / "two").ways == 2
    made = package(tmp_path / "two")["provenance"]["made"]
    assert [(way["software"]["lensscan"], way["fields"]) for way in made] == [("0", 1), ("1", 1)]


def test_fields_in_quarantine_are_told(scan: Path, tmp_path: Path) -> None:
    record_failure(scan, "C", "masks", "0" * 64, "no file", again=False)
    assert publish(scan, tmp_path / "out").failed == ("C",)
    assert package(tmp_path / "out")["counts"]["fields_failed"] == 1


def test_an_empty_folder_may_be_published_into(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    publish(scan, tmp_path / "out")
    assert (tmp_path / "out" / "collection.properties").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a scan", "out"]


def test_rows_chosen_by_a_query_can_be_published(scan: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "best.parquet", catalogue_query.query(scan, "score >= 0.7"))
    published = publish(tmp_path / "best.parquet", tmp_path / "out", name="best")
    assert (published.rows, published.name) == (3, "best")
    assert keys(rows_of(tmp_path / "out")) == {("A/1", BIG), ("A/1", 14), ("B", -5)}


def test_a_scan_in_a_store_is_published_as_one_on_disk(scan: Path, tmp_path: Path, bucket: str, store_url: str) -> None:
    upload(store_url, bucket, scan, "scans/one")
    publish(ObjectPath(bucket, "scans/one"), tmp_path / "out")
    publish(scan, tmp_path / "here")
    assert rows_of(tmp_path / "out").equals(rows_of(tmp_path / "here"))


@pytest.mark.parametrize("name", ["skymap.fits", "point_map.fits", "partition_info.csv", "data_thumbnail.parquet"])
def test_what_hats_keeps_beside_the_rows_is_there(name: str, scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    assert (tmp_path / "out" / "test" / name).stat().st_size


def test_a_published_folder_is_queried_as_the_scan_is(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out", rows_a_partition=1)
    assert catalogue_query.query(tmp_path / "out").to_pylist() == catalogue_query.query(scan).to_pylist()
