"""A published catalogue as others open it: HATS's own validation, LSDB with its margin, STILTS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord

from pipeline.catalogue.publish import publish
from pipeline.io.tables import plain

RADIUS = 5.0
CENTRES = {
    "zero": (0.0, 0.0),
    "wrap": (359.9999, -41.81),
    "north": (0.0, 90.0),
    "south": (0.0, -90.0),
    "corner": (45.0, 41.8103149),
    "inside": (200.0, 30.0),
}
"""Where HEALPix pixels meet, and one place where none do: a field lies around each."""

# LSDB sets a deprecated option of pandas when it is imported, and warns of its own future.
ignoring = pytest.mark.filterwarnings("ignore")
needs_stilts = pytest.mark.skipif(shutil.which("stilts") is None, reason="needs Debian's stilts")


@pytest.fixture
def sky(tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]) -> Path:
    """Sixty candidates within 20 arcsec of each of `CENTRES`."""
    random = np.random.default_rng(7)
    output = tmp_path / "sky"
    for number, (name, centre) in enumerate(CENTRES.items()):
        around = SkyCoord(*centre, unit="deg").directional_offset_by(
            random.random(60) * 360 * units.deg, np.sqrt(random.random(60)) * 20 * units.arcsec
        )
        ids = (2**62 + 1000 * number + np.arange(60)).tolist()
        table = make_table(name, ids, around.ra.deg.tolist(), around.dec.deg.tolist(), random.random(60).tolist())
        publish_field(output, name, table, table)
    return output


def positions(folder: Path) -> tuple[npt.NDArray[np.int64], SkyCoord]:
    table = pa.concat_tables([pq.ParquetFile(path).read() for path in folder.glob("test/dataset/*/*/*.parquet")])
    return table["objid"].to_numpy(), SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")


@pytest.mark.parametrize("options", [{}, {"rows_a_partition": 15}, {"primary": True}, {"all": True}])
def test_hats_accepts_it_as_strictly_as_it_can(options: dict[str, Any], sky: Path, tmp_path: Path) -> None:
    from hats import read_hats
    from hats.io.validation import is_valid_collection

    published = publish(sky, tmp_path / "out", **options)
    assert is_valid_collection(tmp_path / "out", strict=True)
    collection = read_hats(tmp_path / "out")
    assert collection.main_catalog.catalog_info.total_rows == published.rows == 360
    assert len(collection.main_catalog.get_healpix_pixels()) == published.partitions
    assert collection.main_catalog.moc is not None


def test_hats_does_not_accept_it_without_one_of_its_files(sky: Path, tmp_path: Path) -> None:
    from hats.io.validation import is_valid_collection

    publish(sky, tmp_path / "out")
    next((tmp_path / "out").glob("test/dataset/*/*/*.parquet")).unlink()
    assert not is_valid_collection(tmp_path / "out", strict=True)


@ignoring
@pytest.mark.parametrize("rows_a_partition", [1_000_000, 15])
def test_lsdb_opens_the_folder_itself_and_matches_across_every_rim(
    rows_a_partition: int, sky: Path, tmp_path: Path
) -> None:
    """Positions 3 arcsec from every candidate, matched by LSDB with the margin and by astropy without any."""
    lsdb, dask = pytest.importorskip("lsdb"), pytest.importorskip("dask")
    import pandas as pd

    published = publish(sky, tmp_path / "out", rows_a_partition=rows_a_partition)
    ids, here = positions(tmp_path / "out")
    random = np.random.default_rng(8)
    there = here.directional_offset_by(random.random(len(here)) * 360 * units.deg, 3 * units.arcsec)
    nearest, separation, _ = there.match_to_catalog_sky(here)
    expected = {
        (number, int(ids[near]))
        for number, (near, apart) in enumerate(zip(nearest, separation.arcsec, strict=True))
        if apart < RADIUS
    }
    assert len(expected) == len(ids)
    with dask.config.set(scheduler="synchronous"):
        catalogue = lsdb.open_catalog(tmp_path / "out")
        assert len(catalogue) == published.rows == len(catalogue.compute(progress_bar=False))
        assert catalogue.margin is not None
        assert len(catalogue.margin.compute(progress_bar=False)) == published.margin_rows > 0
        left = lsdb.from_dataframe(
            pd.DataFrame({"number": np.arange(len(ids)), "ra": there.ra.deg, "dec": there.dec.deg}),
            ra_column="ra",
            dec_column="dec",
            margin_threshold=None,
            highest_order=8,
            partition_rows=60,
        )

        def matched(right: Any) -> set[tuple[int, int]]:
            """Pairs of number and objid."""
            how = {"n_neighbors": 1, "radius_arcsec": RADIUS, "suffixes": ("_l", "_r"), "suffix_method": "all_columns"}
            pairs = left.crossmatch(right, **how).compute(progress_bar=False)
            return set(zip(pairs["number_l"].tolist(), pairs["objid_r"].tolist(), strict=True))

        assert matched(catalogue) == expected
        # Without its margin the same catalogue loses pairs, so that the margin is what finds them.
        assert len(matched(lsdb.open_catalog(tmp_path / "out" / "test"))) < len(expected)


@ignoring
def test_lsdb_sees_the_columns_as_they_are(scan: Path, tmp_path: Path) -> None:
    lsdb, dask = pytest.importorskip("lsdb"), pytest.importorskip("dask")

    publish(scan, tmp_path / "out", all=True)
    with dask.config.set(scheduler="synchronous"):
        frame = lsdb.open_catalog(tmp_path / "out").compute(progress_bar=False)
    assert str(frame.dtypes["objid"]) == "int64[pyarrow]"
    assert str(frame.dtypes["field_id"]) == "string[pyarrow]"
    assert 2**53 + 1 in frame["objid"].tolist()
    assert int(frame["score"].isna().sum()) == 1
    assert frame["is_primary"].tolist().count(False) == 1


def stilts(*arguments: object) -> str:
    answer = subprocess.run(
        ["stilts", "-Xmx512m", *map(str, arguments)], capture_output=True, text=True, check=True, timeout=300
    )
    return answer.stdout


@needs_stilts
def test_votlint_has_nothing_to_say(scan: Path, sky: Path, tmp_path: Path) -> None:
    for number, output in enumerate((scan, sky)):
        publish(output, tmp_path / str(number), all=True)
        assert stilts("votlint", f"votable={tmp_path / str(number) / 'candidates.vot'}") == ""


@needs_stilts
def test_votlint_has_something_to_say_of_a_spoilt_one(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out")
    spoilt = tmp_path / "spoilt.vot"
    spoilt.write_text((tmp_path / "out" / "candidates.vot").read_text().replace('datatype="long"', 'datatype="lung"'))
    assert "ERROR" in stilts("votlint", f"votable={spoilt}")


@needs_stilts
@pytest.mark.parametrize("name", ["candidates.vot", "candidates.fits"])
def test_stilts_reads_every_row_and_every_digit_of_an_id(name: str, sky: Path, tmp_path: Path) -> None:
    publish(sky, tmp_path / "out")
    ids, _ = positions(tmp_path / "out")
    path = tmp_path / "out" / name
    assert f"rows: {len(ids)}" in stilts("tpipe", f"in={path}", "omode=count")
    written = stilts("tpipe", f"in={path}", "cmd=keepcols objid", "ofmt=csv").split()
    assert written[0] == "objid"
    assert sum(map(int, written[1:])) == sum(ids.tolist())
    assert set(map(int, written[1:])) == set(ids.tolist())


@needs_stilts
@pytest.mark.parametrize(("matcher", "values"), [("sky", "ra dec"), ("exact", "objid")])
def test_stilts_matches_the_two_tables_row_for_row(matcher: str, values: str, sky: Path, tmp_path: Path) -> None:
    publish(sky, tmp_path / "out")
    answer = stilts(
        "tmatch2",
        f"in1={tmp_path / 'out' / 'candidates.vot'}",
        f"in2={tmp_path / 'out' / 'candidates.fits'}",
        f"matcher={matcher}",
        *(["params=0.001"] if matcher == "sky" else []),
        f"values1={values}",
        f"values2={values}",
        "omode=count",
    )
    assert "rows: 360" in answer


@needs_stilts
def test_stilts_finds_missing_values_where_they_are(scan: Path, tmp_path: Path) -> None:
    publish(scan, tmp_path / "out", all=True)
    for name in ("candidates.vot", "candidates.fits"):
        text = stilts("tpipe", f"in={tmp_path / 'out' / name}", "cmd=select NULL_score", "omode=count")
        assert "rows: 1" in text, name


def test_every_reader_gets_the_same_rows(scan: Path, tmp_path: Path) -> None:
    """astropy's reading of VOTable and FITS beside the Parquet."""
    from astropy.table import Table

    publish(scan, tmp_path / "out", all=True)
    stored = plain(
        pa.concat_tables(
            [pq.ParquetFile(path).read() for path in (tmp_path / "out").glob("test/dataset/*/*/*.parquet")]
        )
    )
    by = [("score", "descending"), ("field_id", "ascending"), ("objid", "ascending")]
    stored = stored.sort_by(by)
    for name in ("candidates.vot", "candidates.fits"):
        table = Table.read(tmp_path / "out" / name)
        assert table.colnames == stored.column_names
        for column in stored.column_names:
            for read, kept in zip(table[column], stored[column].to_pylist(), strict=True):
                if kept is None:
                    assert np.ma.is_masked(read) or read in ("", b"") or np.isnan(read), (name, column)
                else:
                    assert (read.item() if hasattr(read, "item") else read) == kept, (name, column)
