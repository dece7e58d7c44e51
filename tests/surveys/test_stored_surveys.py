"""A survey in an object store has the fields, pixels and catalogue rows of the same survey on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from pipeline.errors import BadSurveyData
from pipeline.surveys import Survey, open_survey
from tests.object_store import client, upload
from tests.surveys.test_catalogues import wide_table

Make = Callable[..., Survey]


@pytest.fixture
def stored(tmp_path: Path, bucket: str, store_url: str) -> Callable[[], Survey]:
    """The survey of `tiny_survey` as it is now, in a store."""

    def put() -> Survey:
        upload(store_url, bucket, tmp_path / "data", "deep ü/data")
        text = (tmp_path / "survey.toml").read_text(encoding="utf-8")
        stored = tmp_path / "stored.toml"
        stored.write_text(text.replace('root = "data"', f'root = "s3://{bucket}/deep ü/data"'), encoding="utf-8")
        return open_survey(stored)

    return put


def the_same(here: Survey, there: Survey) -> int:
    """Compare fields, pixels, and catalogue rows where there are any; number of rows."""
    rows = 0
    assert [field.field_id for field in there.fields()] == [field.field_id for field in here.fields()]
    for mine, theirs in zip(here.fields(), there.fields(), strict=True):
        for band, planes in mine.planes.items():
            for plane, path in planes.items():
                assert theirs.planes[band][plane] == path.replace(str(here.root), str(there.root))
                size = Path(path).stat().st_size
                assert there.identity(theirs.planes[band][plane])[1] == size
        image, other = here.open(mine, ("g", "r")), there.open(theirs, ("g", "r"))
        block, again = image.read(3, 20), other.read(3, 20)
        for name in ("image", "ivar", "mask"):
            np.testing.assert_array_equal(getattr(again, name), getattr(block, name))
        assert there.geometry(theirs).token() == here.geometry(mine).token()
        if here.catalogue_kind != "none":
            found, repeated = here.detections(mine, image), there.detections(theirs, other)
            np.testing.assert_array_equal(repeated.objid, found.objid)
            assert (repeated.read, repeated.left_out) == (found.read, found.left_out)
            files = [path.replace(str(here.root), str(there.root)) for path in here.catalogue_files(mine)]
            assert list(there.catalogue_files(theirs)) == files
            rows += len(found)
    return rows


def test_images_by_templates_with_wild_parts(tiny_survey: Make, tmp_path: Path, stored: Callable[[], Survey]) -> None:
    survey = tiny_survey(mask=False)
    (tmp_path / "data/F1/F1_g_ivar.fits").rename(tmp_path / "data/F1/F1_g_ivar_v2.fits")
    text = (tmp_path / "survey.toml").read_text()
    (tmp_path / "survey.toml").write_text(text.replace("_ivar.fits", "_ivar*.fits"))
    the_same(open_survey(survey.path), stored())


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "fits"])
def test_a_catalogue_a_field(suffix: str, tiny_survey: Make, tmp_path: Path, stored: Callable[[], Survey]) -> None:
    survey = tiny_survey('[catalogue]\nkind = "field"\npath = "{field_id}/cat.' + suffix + '"\nobjid = "id"\n')
    table = wide_table(tmp_path, 50).drop_columns("_healpix_29")
    path = tmp_path / f"data/F1/cat.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    elif suffix == "fits":
        columns = {name: table[name].to_numpy() for name in table.column_names}
        fits.BinTableHDU.from_columns(
            [fits.Column(name, "K" if name == "id" else "D", array=array) for name, array in columns.items()]
        ).writeto(path)
    else:
        with pa.output_stream(path) as stream:
            pa_csv.write_csv(table, stream)
    assert the_same(survey, stored()) > 10


@pytest.mark.parametrize("layout", ["file", "hive", "hats"])
def test_a_catalogue_of_the_whole_survey(
    layout: str, tiny_survey: Make, tmp_path: Path, stored: Callable[[], Survey]
) -> None:
    name = "all.parquet" if layout == "file" else "all"
    survey = tiny_survey(f'[catalogue]\nkind = "survey"\npath = "{name}"\nobjid = "id"\n')
    table = wide_table(tmp_path)
    if layout == "file":
        pq.write_table(table, tmp_path / "data" / name, row_group_size=200)
    elif layout == "hive":
        pq.write_to_dataset(
            table.append_column("region", pa.array(table["id"].to_numpy() % 3)),
            tmp_path / "data/all",
            partition_cols=["region"],
            basename_template="part-{i}.parquet",
        )
    else:
        pixel = table["_healpix_29"].to_numpy() >> (2 * (29 - 5))
        for value in np.unique(pixel):
            place = tmp_path / f"data/all/objects/dataset/Norder=5/Dir=0/Npix={value}.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table.filter(pa.array(pixel == value)), place)
        (tmp_path / "data/all/collection.properties").write_text("hats_primary_table_url = objects\n")
    assert the_same(survey, stored()) > 10


def test_fields_of_a_table(tiny_survey: Make, tmp_path: Path, stored: Callable[[], Survey]) -> None:
    survey = tiny_survey('[fields]\ntable = "fields.csv"\ncolumns = { field_id = "name" }\n')
    (tmp_path / "data/fields.csv").write_text("name\nF1\n")
    the_same(survey, stored())


def test_what_is_missing_or_broken_is_named(
    tiny_survey: Make, tmp_path: Path, stored: Callable[[], Survey], bucket: str, store_url: str
) -> None:
    tiny_survey('[catalogue]\nkind = "survey"\npath = "all"\nobjid = "id"\n')
    survey = stored()
    (field,) = survey.fields()
    with pytest.raises(BadSurveyData, match="all: no such catalogue"):
        survey.catalogue_files(field)
    image = survey.open(field, ("g",))
    client(store_url).put_object(Bucket=bucket, Key="deep ü/data/all/x.parquet", Body=b"not parquet at all")
    with pytest.raises(BadSurveyData, match="not readable as Parquet"):
        survey.detections(field, image)
    client(store_url).delete_object(Bucket=bucket, Key="deep ü/data/F1/F1_g_ivar.fits")
    with pytest.raises(BadSurveyData, match=r"s3://.*F1_g_ivar.fits: no such file"):
        survey.open(field, ("g",))
    text = (tmp_path / "stored.toml").read_text()
    (tmp_path / "stored.toml").write_text(text.replace("/deep", "/deeper"))
    with pytest.raises(BadSurveyData, match="is not a folder"):
        open_survey(tmp_path / "stored.toml").fields()
