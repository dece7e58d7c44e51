from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cdshealpix.nested
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import Latitude, Longitude

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.surveys import ExternalDetections, Survey
from pipeline.surveys.catalogues import healpix_29

Make = Callable[..., Survey]
FIELD = '[catalogue]\nkind = "field"\npath = "{field_id}/cat.csv"\nobjid = "id"\n'


def rows_of(survey: Survey) -> ExternalDetections:
    (field,) = survey.fields()
    return survey.detections(field, survey.open(field, ("g",)))


def csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "data/F1/cat.csv").write_text(text)


def test_rows_keep_their_order_and_count_what_is_dropped(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD + 'where = "good == 1"\nmagnitudes = { r = "mag" }\n')
    csv(tmp_path, "id,ra,dec,good,mag\n9007199254740993,150,2,1,20.5\n-4,150.0001,2,1,99\n5,150,3,1,20\n6,150,2,0,20\n")
    found = rows_of(survey)
    # 2^53 + 1 would be changed by a float.
    assert found.objid.tolist() == [9007199254740993, -4]
    assert found.objid.dtype == np.int64
    assert (found.read, found.left_out, found.off_image, len(found)) == (4, 1, 1, 2)
    assert found.source_id is None
    assert found.mags["r"][0] == 20.5
    assert np.isnan(found.mags["r"][1])


def test_positions_that_are_none_are_counted_as_off_the_image(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD)
    csv(tmp_path, "id,ra,dec\n1,150,2\n2,,2\n3,150,95\n4,330,-2\n")
    found = rows_of(survey)
    assert found.objid.tolist() == [1]
    assert found.off_image == 3


def test_the_outer_border_of_the_outer_pixels_is_the_edge(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD)
    half = 15 * 0.2 / 3600
    csv(tmp_path, f"id,ra,dec\n1,150,{2 + half * 0.999}\n2,150,{2 + half * 1.001}\n")
    assert rows_of(survey).objid.tolist() == [1]


def test_duplicate_ids_are_named(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD)
    csv(tmp_path, "id,ra,dec\n11,150,2\n12,150,2\n11,150,2\n")
    with pytest.raises(BadSurveyData, match=r"cat\.csv: objid = id is not unique: 11 "):
        rows_of(survey)


@pytest.mark.parametrize(("value", "shown"), [("1.5", "1.5"), ("a7", "a7")])
def test_ids_that_are_no_integers_are_named(tiny_survey: Make, tmp_path: Path, value: str, shown: str) -> None:
    survey = tiny_survey(FIELD)
    csv(tmp_path, f"id,ra,dec\n{value},150,2\n")
    with pytest.raises(BadSurveyData, match=rf"id column id .* not integers.*{shown}"):
        rows_of(survey)


def test_an_empty_id_is_an_error_and_never_a_float(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD)
    csv(tmp_path, "id,ra,dec\n1,150,2\n,150,2\n")
    with pytest.raises(BadSurveyData, match="column id is empty in row 1"):
        rows_of(survey)


def test_an_id_beyond_int64_is_an_error(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD.replace('"id"', '"id << 60"'))
    csv(tmp_path, "id,ra,dec\n1,150,2\n9,150,2\n")
    with pytest.raises(BadSurveyData, match="does not fit in int64"):
        rows_of(survey)


def test_missing_column_lists_the_ones_there_are(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD)
    csv(tmp_path, "number,ra,dec\n1,150,2\n")
    with pytest.raises(BadSurveyData, match="no column id; it has number, ra, dec"):
        rows_of(survey)


def test_missing_catalogue_is_named(tiny_survey: Make) -> None:
    with pytest.raises(BadSurveyData, match=r"cat\.csv: no such file"):
        rows_of(tiny_survey(FIELD))


def test_survey_without_a_catalogue_says_what_to_use(tiny_survey: Make) -> None:
    survey = tiny_survey()
    assert survey.catalogue_kind == "none"
    with pytest.raises(ConfigError, match='"sep" or "grid"'):
        rows_of(survey)


def test_text_ids_become_source_ids_and_objid_the_healpix_cell(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(FIELD.replace('objid = "id"', 'source_id = "id"'))
    csv(tmp_path, "id,ra,dec\nJ1+2,150,2\nJ1+3,150.0001,2\n")
    found = rows_of(survey)
    assert found.source_id is not None
    assert found.source_id.tolist() == ["J1+2", "J1+3"]
    expected = cdshealpix.nested.lonlat_to_healpix(
        Longitude([150, 150.0001], u.deg), Latitude([2, 2], u.deg), np.array([29], np.uint8)
    )
    assert found.objid.tolist() == [int(value) for value in np.ravel(expected)]


def wide_table(tmp_path: Path, count: int = 4000) -> pa.Table:
    rng = np.random.default_rng(1)
    ra = np.concatenate([rng.uniform(140, 160, count), 150 + rng.uniform(-0.001, 0.001, 20)])
    dec = np.concatenate([rng.uniform(-8, 12, count), 2 + rng.uniform(-0.0008, 0.0008, 20)])
    table = pa.table({"id": np.arange(count + 20) - 7, "ra": ra, "dec": dec, "_healpix_29": healpix_29(ra, dec)})
    return table.sort_by("_healpix_29")


SURVEY = '[catalogue]\nkind = "survey"\npath = "all"\nobjid = "id"\n'


def expected_ids(table: pa.Table) -> set[int]:
    x = (table["ra"].to_numpy() - 150) * np.cos(np.radians(2)) * 3600 / 0.2
    y = (table["dec"].to_numpy() - 2) * 3600 / 0.2
    inside = (np.abs(x) < 20) & (np.abs(y) < 15)
    return set(table["id"].to_numpy()[inside].tolist())


@pytest.mark.parametrize("layout", ["file", "folder", "hive", "no index"])
def test_survey_wide_parquet_gives_the_rows_of_the_field(tiny_survey: Make, tmp_path: Path, layout: str) -> None:
    table = wide_table(tmp_path)
    name = "all.parquet" if layout == "file" else "all"
    survey = tiny_survey(SURVEY.replace('"all"', f'"{name}"'))
    folder = tmp_path / "data" / name
    if layout == "file":
        pq.write_table(table, folder, row_group_size=200)
    else:
        for number in range(4):
            part = table.slice(number * 1005, 1005)
            place = folder / (f"region={number}" if layout == "hive" else "") / f"part{number}.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part.drop_columns("_healpix_29") if layout == "no index" else part, place)
    found = rows_of(survey)
    assert set(found.objid.tolist()) == expected_ids(table)
    assert len(found) >= 15
    assert found.read < 60
    (field,) = survey.fields()
    assert len(survey.catalogue_files(field)) == (1 if layout == "file" else 4)


def test_hats_partitions_elsewhere_are_not_even_opened(tiny_survey: Make, tmp_path: Path) -> None:
    table = wide_table(tmp_path)
    survey = tiny_survey(SURVEY)
    order = 5
    pixel = table["_healpix_29"].to_numpy() >> (2 * (29 - order))
    folder = tmp_path / "data/all"
    home = int(healpix_29(np.array([150.0]), np.array([2.0]))[0]) >> (2 * (29 - order))
    for value in np.unique(pixel):
        place = folder / f"dataset/Norder={order}/Dir=0/Npix={value}.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        if value == home:
            pq.write_table(table.filter(pa.array(pixel == value)), place)
        else:
            place.write_bytes(b"not parquet at all")
    pq.write_table(table.slice(0, 5), folder / "dataset/data_thumbnail.parquet")
    (folder / "hats.properties").write_text("obs_collection=all\n")
    found = rows_of(survey)
    assert set(found.objid.tolist()) == expected_ids(table)
    (field,) = survey.fields()
    assert [Path(name).name for name in survey.catalogue_files(field)] == [f"Npix={home}.parquet"]


def test_margins_of_a_hats_collection_do_not_repeat_rows(tiny_survey: Make, tmp_path: Path) -> None:
    table = wide_table(tmp_path)
    survey = tiny_survey(SURVEY)
    for part in ("objects", "objects_margin"):
        place = tmp_path / f"data/all/{part}/dataset/Norder=0/Dir=0/Npix=4/part0.parquet"
        place.parent.mkdir(parents=True)
        pq.write_table(table, place)
        place.parent.rename(
            place.parent.with_name(f"Npix={int(healpix_29(np.array([150.0]), np.array([2.0]))[0]) >> 58}")
        )
    (tmp_path / "data/all/collection.properties").write_text("hats_primary_table_url = objects\n")
    assert set(rows_of(survey).objid.tolist()) == expected_ids(table)


def test_field_outside_a_hats_catalogue_has_no_rows(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(SURVEY)
    place = tmp_path / "data/all/dataset/Norder=5/Dir=0/Npix=1.parquet"
    place.parent.mkdir(parents=True)
    pq.write_table(wide_table(tmp_path).slice(0, 3), place)
    assert len(rows_of(survey)) == 0


@pytest.mark.parametrize("ra0", [0.0, 359.9999])
def test_a_field_across_ra_zero_gets_both_sides(
    tiny_survey: Make, tmp_path: Path, ra0: float, write_fits: Any, noise: Any, cards: Any
) -> None:
    survey = tiny_survey(SURVEY)
    write_fits(tmp_path / "data/F1/F1_g.fits", noise(), primary=cards(ra=ra0, dec=60.0))
    (tmp_path / "data/all").mkdir()
    ra = np.array([359.9999, 0.0001, 180.0])
    pq.write_table(pa.table({"id": [1, 2, 3], "ra": ra, "dec": [60.0] * 3}), tmp_path / "data/all/a.parquet")
    assert sorted(rows_of(survey).objid.tolist()) == [1, 2]


def test_damaged_parquet_is_named(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey(SURVEY)
    (tmp_path / "data/all").mkdir()
    (tmp_path / "data/all/a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BadSurveyData, match="not readable as Parquet"):
        rows_of(survey)
