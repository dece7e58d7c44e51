import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import BadSurveyData
from pipeline.io.fits import TALL_TILE, open_plane, read_table

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("compressed", [False, True])
def test_rows_are_those_of_the_array_in_native_order(tmp_path: Path, dtype: str, compressed: bool) -> None:
    if compressed and dtype == "i8":
        pytest.skip("the FITS standard compresses no 64-bit integers")
    data = (RNG.normal(100, 10, (37, 20)) if dtype[0] == "f" else RNG.integers(0, 120, (37, 20))).astype(dtype)
    data[5, 5] = np.iinfo(dtype).max if dtype in ("u1", "u2", "i2") else data[5, 5]
    kind = {"compression_type": "GZIP_2", "quantize_level": 0} if dtype[0] == "f" else {}
    hdu = fits.CompImageHDU(data, **kind) if compressed else fits.ImageHDU(data)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    plane = open_plane(str(tmp_path / "a.fits"))
    rows = plane.read(4, 9)
    assert rows.dtype == np.float32
    assert rows.dtype.isnative
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, data[4:9].astype(np.float32))
    assert plane.is_integer == (dtype[0] != "f")
    if plane.is_integer:
        np.testing.assert_array_equal(plane.read_integers(4, 9), data[4:9].astype(np.int64))


@pytest.mark.parametrize("compressed", [False, True])
def test_scale_zero_and_blank_are_applied(tmp_path: Path, compressed: bool) -> None:
    data = np.arange(60, dtype=np.int32).reshape(6, 10)
    hdu = fits.CompImageHDU(data) if compressed else fits.ImageHDU(data)
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 10.0, 23
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[-1].header.update({"BSCALE": 0.5, "BZERO": 10.0, "BLANK": 23})
    rows = open_plane(str(tmp_path / "a.fits")).read(0, 6)
    expected = data * 0.5 + 10.0
    expected[2, 3] = np.nan
    np.testing.assert_array_equal(rows, expected.astype(np.float32))


@pytest.mark.parametrize("suffix", [".fits.gz", ".fits.bz2"])
def test_whole_file_compression_is_undone(tmp_path: Path, suffix: str) -> None:
    import bz2
    import gzip

    data = RNG.normal(size=(12, 8)).astype(np.float32)
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    pack = gzip.compress if suffix.endswith("gz") else bz2.compress
    (tmp_path / f"b{suffix}").write_bytes(pack((tmp_path / "a.fits").read_bytes()))
    plane = open_plane(str(tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(plane.read(3, 7), data[3:7])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plane)).read(0, 12), data)


def test_a_band_in_one_tall_tile_is_decoded_once(tmp_path: Path) -> None:
    data = RNG.integers(0, 99, (TALL_TILE + 9, 11)).astype(np.int32)
    fits.CompImageHDU(data, tile_shape=data.shape).writeto(tmp_path / "a.fits")
    plane = open_plane(str(tmp_path / "a.fits"))
    np.testing.assert_array_equal(plane.read(500, 521), data[500:521])
    np.testing.assert_array_equal(plane.read_integers(0, 3), data[0:3])


def test_hdus_are_found_by_name_number_or_type(tmp_path: Path) -> None:
    first, second = np.ones((3, 4), np.float32), np.full((3, 4), 2, np.float32)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(first, name="SCI"), fits.ImageHDU(second)]
    hdus[2].header["EXTTYPE"] = "VARIANCE"
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    path = str(tmp_path / "a.fits")
    assert open_plane(path).index == 1
    assert open_plane(path, "sci").index == 1
    assert open_plane(path, "VARIANCE").index == 2
    assert open_plane(path, 2).read(0, 1)[0, 0] == 2
    with pytest.raises(BadSurveyData, match=r"no HDU 'MASK'; it has 0, 1 SCI, 2"):
        open_plane(path, "MASK")
    with pytest.raises(BadSurveyData, match="HDU 7"):
        open_plane(path, 7)


def test_keywords_come_from_the_plane_else_from_the_primary(tmp_path: Path) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((2, 2), np.float32))])
    hdus[0].header["A"], hdus[0].header["B"], hdus[1].header["A"] = 1, 2, 3
    hdus.writeto(tmp_path / "a.fits")
    plane = open_plane(str(tmp_path / "a.fits"))
    assert (plane.keyword("A"), plane.keyword("B"), plane.keyword("C")) == (3, 2, None)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_ends_early_is_refused_before_a_pixel_is_read(tmp_path: Path, compressed: bool) -> None:
    data = RNG.normal(size=(200, 200)).astype(np.float32)
    hdu = fits.CompImageHDU(data) if compressed else fits.ImageHDU(data)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    stored = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(stored[: len(stored) // 2])
    with pytest.raises(BadSurveyData, match=r"a\.fits \[HDU 1.*truncated"):
        open_plane(str(tmp_path / "a.fits"))


def test_a_file_that_shrinks_while_it_is_open_is_bad_data(tmp_path: Path) -> None:
    fits.PrimaryHDU(RNG.normal(size=(200, 200)).astype(np.float32)).writeto(tmp_path / "a.fits")
    plane = open_plane(str(tmp_path / "a.fits"))
    (tmp_path / "a.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:9000])
    with pytest.raises(BadSurveyData, match="cannot be read"):
        plane.read(0, 200)


def test_damaged_compressed_rows_are_bad_data(tmp_path: Path) -> None:
    data = RNG.integers(0, 1000, (50, 60)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="GZIP_1")]).writeto(tmp_path / "a.fits")
    plane = open_plane(str(tmp_path / "a.fits"))
    stored = bytearray((tmp_path / "a.fits").read_bytes())
    stored[5760 + 50 * 8 + 16 : 5760 + 50 * 8 + 2000] = b"\xff" * 1984
    (tmp_path / "a.fits").write_bytes(stored)
    with pytest.raises(BadSurveyData, match="cannot be read"):
        plane.read(0, 50)


def test_rows_outside_the_plane_are_the_callers_mistake(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones((5, 5), np.float32)).writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match="not inside 0:5"):
        open_plane(str(tmp_path / "a.fits")).read(3, 6)


def test_tables_come_in_native_order_by_column(tmp_path: Path) -> None:
    columns = [fits.Column("ID", "K", array=[2**60 + 1, -5]), fits.Column("NAME", "5A", array=["ab", "cd"])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    table = read_table(str(tmp_path / "t.fits"), None, ["id", "NAME"])
    assert table["id"].tolist() == [2**60 + 1, -5]
    assert table["id"].dtype.isnative
    assert table["NAME"].tolist() == ["ab", "cd"]
    with pytest.raises(BadSurveyData, match="no column ra; it has ID, NAME"):
        read_table(str(tmp_path / "t.fits"), None, ["ra"])
    with pytest.raises(BadSurveyData, match=r"u\.fits: no such file"):
        read_table(str(tmp_path / "u.fits"), None)
