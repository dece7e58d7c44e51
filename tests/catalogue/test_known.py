"""Tables of known lenses: formats, names of columns, ways to write a position, bad files; the nearest one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from pipeline.catalogue.crossmatch import KnownLenses, nearest, read_known
from pipeline.errors import QueryError


def written(tmp_path: Path, text: str, name: str = "known.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def entries(ra: list[float], dec: list[float]) -> KnownLenses:
    texts = np.array([""] * len(ra), object)
    names = np.array([f"k{number}" for number in range(len(ra))], object)
    return KnownLenses(names, np.array(ra, float), np.array(dec, float), texts, texts, texts)


def test_lenscat_is_read_whole(real_data: Path) -> None:
    known = read_known(real_data / "known-lenses" / "lenscat.csv")
    assert (len(known), known.unplaced) == (32838, 0)
    first = (known.name[0], known.ra[0], known.dec[0], known.grade[0], known.kind[0])
    assert first == ("J0011-0845", 2.83435, -8.7643, "confident", "galaxy")
    assert sum(known.grade == "confident") == 2309
    assert sum(known.kind == "cluster") == 1023


@pytest.mark.parametrize("form", ["csv", "tsv", "ecsv", "fits", "vot", "parquet"])
def test_one_table_reads_alike_in_every_format(tmp_path: Path, form: str) -> None:
    table = Table(
        {"Name": ["<b>A</b>", "B, or b"], "RAJ2000": [359.5, 0.25], "DEJ2000": [-89.5, 12.0], "Grade": list("AB")}
    )
    path = tmp_path / f"known.{form}"
    if form == "parquet":
        pq.write_table(pa.table({name: table[name].tolist() for name in table.colnames}), path)
    else:
        names = {"csv": "ascii.csv", "tsv": "ascii.tab", "ecsv": "ascii.ecsv", "vot": "votable"}
        table.write(path, format=names.get(form, form))
    known = read_known(path)
    assert known.name.tolist() == ["<b>A</b>", "B, or b"]
    assert known.ra.tolist() == [359.5, 0.25]
    assert known.dec.tolist() == [-89.5, 12.0]
    assert known.grade.tolist() == ["A", "B"]
    assert known.reference.tolist() == ["", ""]


@pytest.mark.parametrize(
    ("ra", "dec", "east", "north"),
    [
        ("187.5", "-0.25", 187.5, -0.25),
        ("12:30:00", "-00:15:00", 187.5, -0.25),
        ("12 30 00.0", "-00 15 00", 187.5, -0.25),
        ("12h30m00s", "-0d15m00s", 187.5, -0.25),
        ("187d30m0s", "−00:15:00", 187.5, -0.25),
        ("12:30", "+12°30′36″", 187.5, 12.51),
        ("-10", "5", 350.0, 5.0),
        ("360", "90", 0.0, 90.0),
    ],
)
def test_a_position_may_be_degrees_or_sexagesimal(tmp_path: Path, ra: str, dec: str, east: float, north: float) -> None:
    known = read_known(written(tmp_path, f"name,ra,dec\na,{ra},{dec}\n"))
    assert known.ra[0] == pytest.approx(east, abs=1e-9)
    assert known.dec[0] == pytest.approx(north, abs=1e-9)


def test_units_of_columns_count(tmp_path: Path) -> None:
    table = Table({"ra": [12.5] * units.hourangle, "dec": [0.1] * units.rad})
    table.write(tmp_path / "k.ecsv", format="ascii.ecsv")
    known = read_known(tmp_path / "k.ecsv")
    assert (known.ra[0], known.dec[0]) == (187.5, pytest.approx(np.degrees(0.1)))
    assert read_known(written(tmp_path, "RA (h),Dec (deg)\n12.5,3\n")).ra[0] == 187.5
    assert read_known(written(tmp_path, "RA [deg],Dec [deg]\n12:30:00,3\n")).ra[0] == 12.5


def test_the_ucd_goes_before_the_name(tmp_path: Path) -> None:
    columns = [
        fits.Column("ra", "D", array=np.array([1.0])),
        fits.Column("dec", "D", array=np.array([2.0])),
        fits.Column("alpha", "D", unit="deg", array=np.array([3.0])),
        fits.Column("delta", "D", unit="deg", array=np.array([4.0])),
        fits.Column("id", "K", array=np.array([9223372036854775807])),
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["TUCD3"], hdu.header["TUCD4"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    hdu.writeto(tmp_path / "k.fits")
    known = read_known(tmp_path / "k.fits")
    assert (known.ra[0], known.dec[0], known.name[0]) == (3.0, 4.0, "9223372036854775807")


def test_rows_without_a_position_are_counted_and_left_out(tmp_path: Path) -> None:
    known = read_known(written(tmp_path, "name,ra,dec\na,nan,1\nb,,\nc,-,2\nd,10,20\n"))
    assert (known.name.tolist(), known.unplaced) == (["d"], 3)
    masked = Table({"ra": MaskedColumn([1.0, 2.0], mask=[True, False]), "dec": [3.0, 4.0]})
    masked.write(tmp_path / "k.vot", format="votable")
    known = read_known(tmp_path / "k.vot")
    assert (known.ra.tolist(), known.unplaced) == ([2.0], 1)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("k.csv", "name,x,y\na,1,2\n", "no column of ra and dec.*Columns: name, x, y"),
        ("k.csv", "name,ra,y\na,1,2\n", "no column of dec found"),
        ("k.csv", "ra,dec\n1,91\n", "row 1: 91 lies outside -90 to 90"),
        ("k.csv", "ra,dec\n1,0\n400,0\n", "row 2: 400 lies outside"),
        ("k.csv", "ra,dec\n1,0\nabout ten,0\n", "row 2: 'about ten' is no angle"),
        ("k.csv", "ra,dec\n12:61:00,0\n", "'12:61:00' is no angle"),
        ("k.csv", "ra,dec\n1,2,3\n", "row 1 has 3 values for 2 columns"),
        ("k.csv", "", "no line with names"),
        ("k.csv", "ra (mm),dec\n1,2\n", "'mm', which is no unit of an angle"),
        ("k.png", "x", "no format of a table by that suffix"),
        ("k.parquet", "PAR1 half", "not readable as parquet"),
        ("k.fits", "half", "not readable as fits"),
        ("k.vot", "<html><body>404</body></html>", "not readable as vot"),
        ("k.ecsv", "# %ECSV 1.0\n# ---\nra dec\n", "not readable as ecsv"),
    ],
)
def test_a_bad_table_is_refused_with_what_is_wrong(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        read_known(written(tmp_path, text, name))
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"nowhere\.csv: cannot be read"):
        read_known(tmp_path / "nowhere.csv")


def test_an_image_without_a_table_is_refused(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "k.fits")
    with pytest.raises(QueryError, match="no HDU of the file is a table"):
        read_known(tmp_path / "k.fits")


def test_a_table_with_a_header_alone_is_empty(tmp_path: Path) -> None:
    known = read_known(written(tmp_path, "name,ra,dec\n"))
    assert len(known) == 0
    index, separation = nearest(known, [1.0, 2.0], [3.0, 4.0])
    assert index.tolist() == [-1, -1]
    assert np.isnan(separation).all()


def test_the_nearest_one_is_what_astropy_finds_at_ra_0_and_at_the_poles() -> None:
    random = np.random.default_rng(3)
    known = entries([0.0, 359.9999, 10.0, 200.0, 123.0], [0.0, 0.0, 89.9999, 89.9999, -90.0])
    ra = np.concatenate([[359.99999, 0.0001, 100.0, 190.0, 0.0], random.uniform(0, 360, 50)])
    dec = np.concatenate([[0.0, 0.0, 89.9999, 89.9999, -89.999], np.degrees(np.arcsin(random.uniform(-1, 1, 50)))])
    index, separation = nearest(known, ra, dec)
    there, apart, _ = SkyCoord(ra, dec, unit="deg").match_to_catalog_sky(SkyCoord(known.ra, known.dec, unit="deg"))
    assert index.tolist() == there.tolist()
    assert separation == pytest.approx(apart.arcsec, abs=1e-6)


def test_a_position_that_is_no_number_has_no_nearest_one() -> None:
    index, separation = nearest(entries([10.0], [20.0]), [10.0, np.nan, 10.0], [20.0, 20.0, np.inf])
    assert index.tolist() == [0, -1, -1]
    assert np.isnan(separation).tolist() == [False, True, True]


def test_exported_candidates_are_a_list_by_their_ids(tmp_path: Path, make_table: Callable[..., pa.Table]) -> None:
    pq.write_table(make_table("A", [2**53 + 1], [10.0], [-5.0], [0.9]), tmp_path / "b.parquet")
    known = read_known(tmp_path / "b.parquet")
    assert (known.name.tolist(), known.ra.tolist(), known.dec.tolist()) == ([str(2**53 + 1)], [10.0], [-5.0])


def test_markup_and_line_ends_in_a_name_stay_as_they_are(tmp_path: Path) -> None:
    known = read_known(written(tmp_path, 'name,ra,dec\n"<script>x</script>\nsecond line",1,2\n'))
    assert known.name.tolist() == ["<script>x</script>\nsecond line"]
