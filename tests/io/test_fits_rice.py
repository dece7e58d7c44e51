import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import BadSurveyData
from pipeline.io.fits import open_plane
from pipeline.io.fits_rice import RiceLayout, rice_layout, rice_rows

SHAPE = (37, 53)
DITHERS = {"none": -1, "first": 1, "second": 2}


def layout_of(path: Path) -> RiceLayout | None:
    with fits.open(path, disable_image_compression=True) as hdus:
        return rice_layout(hdus[1].header, hdus[1].fileinfo()["datLoc"])


def image_of(kind: str) -> np.ndarray:
    image = np.random.default_rng(4).normal(0, 5, SHAPE).astype(np.float32)
    if kind == "holes":
        image[3:9, 5:20], image[12] = np.nan, np.nan
    elif kind == "constant rows":
        image[10:25] = 3.5
    elif kind == "true zeros":
        image[::3, ::2] = 0
    elif kind == "enormous values":
        image[::7] *= 1e20
    return image


@pytest.mark.parametrize("kind", ["noise", "holes", "constant rows", "true zeros", "enormous values"])
@pytest.mark.parametrize("dither", DITHERS)
@pytest.mark.parametrize("tile", [(1, 53), (5, 53), (10, 10), (16, 32)])
def test_rows_are_to_the_last_bit_those_of_the_band_that_astropy_decodes_whole(
    tmp_path: Path, kind: str, dither: str, tile: tuple[int, int]
) -> None:
    path = tmp_path / "a.fits"
    quantised = {"quantize_level": 16, "quantize_method": DITHERS[dither], "dither_seed": 77}
    fits.CompImageHDU(image_of(kind), compression_type="RICE_1", tile_shape=tile, **quantised).writeto(path)
    with fits.open(path) as hdus:
        whole = np.asarray(hdus[1].data)
    layout = layout_of(path)
    assert layout is not None
    with path.open("rb") as file:
        for y0, y1 in ((0, 37), (0, 1), (9, 21), (34, 37), (20, 20)):
            rows = rice_rows(layout, file, y0, y1)
            assert rows.dtype == np.float32
            np.testing.assert_array_equal(rows.view(np.int32), whole[y0:y1].astype(np.float32).view(np.int32))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4"])
def test_integers_are_those_that_were_written(tmp_path: Path, dtype: str) -> None:
    data = np.random.default_rng(5).integers(0, 120, SHAPE).astype(dtype)
    fits.CompImageHDU(data, compression_type="RICE_1", tile_shape=(10, 10)).writeto(tmp_path / "a.fits")
    assert layout_of(tmp_path / "a.fits") is not None
    np.testing.assert_array_equal(
        open_plane(str(tmp_path / "a.fits")).read_integers(7, 30), data[7:30].astype(np.int64)
    )


def test_a_blank_of_the_header_and_one_of_each_tile_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    fits.CompImageHDU(image_of("holes"), compression_type="RICE_1", quantize_level=16).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        table, header = hdus[1], hdus[1].header
        assert header["ZBLANK"] == -(2**31)
        stored = path.read_bytes()[table.fileinfo()["datLoc"] :]
        rows, width = header["NAXIS2"], header["NAXIS1"]
        heap = stored[rows * width : rows * width + header["PCOUNT"]]
        del header["ZBLANK"]
        header["TFIELDS"], header["NAXIS1"] = 5, width + 4
        header["TTYPE5"], header["TFORM5"] = "ZBLANK", "1J"
        blanks = np.full(rows, -(2**31), ">i4").tobytes()
        lines = [stored[row * width : (row + 1) * width] + blanks[4 * row : 4 * row + 4] for row in range(rows)]
        data = b"".join(lines) + heap
        text = header.tostring().encode()
        (tmp_path / "b.fits").write_bytes(path.read_bytes()[:2880] + text + data + bytes(-len(data) % 2880))
    expected = open_plane(str(path)).read(0, 37)
    assert np.isnan(expected).sum() == np.isnan(image_of("holes")).sum()
    assert layout_of(tmp_path / "b.fits") is not None
    np.testing.assert_array_equal(open_plane(str(tmp_path / "b.fits")).read(0, 37), expected)


def test_what_is_rare_is_left_to_astropy(tmp_path: Path) -> None:
    reals = np.random.default_rng(6).normal(size=SHAPE)
    hdus = {
        "double": fits.CompImageHDU(reals, compression_type="RICE_1", quantize_level=16),
        "packed": fits.CompImageHDU(reals.astype(np.float32), compression_type="GZIP_2", quantize_level=0),
        "smooth": fits.CompImageHDU(reals.astype(np.float32), compression_type="HCOMPRESS_1", quantize_level=16),
    }
    for name, hdu in hdus.items():
        path = tmp_path / f"{name}.fits"
        hdu.writeto(path)
        assert layout_of(path) is None, name
        with fits.open(path) as opened:
            whole = np.asarray(opened[1].data).astype(np.float32)
        np.testing.assert_array_equal(open_plane(str(path)).read(5, 19), whole[5:19])


def test_without_the_functions_of_astropy_its_sections_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.fits"
    fits.CompImageHDU(image_of("noise"), compression_type="RICE_1").writeto(path)
    expected = open_plane(str(path)).read(5, 19)
    monkeypatch.setattr("pipeline.io.fits_rice.decompress_rice_1_c", None)
    assert layout_of(path) is None
    np.testing.assert_array_equal(open_plane(str(path)).read(5, 19), expected)


def test_a_plane_in_another_process_reads_the_same(tmp_path: Path) -> None:
    fits.CompImageHDU(image_of("noise"), compression_type="RICE_1").writeto(tmp_path / "a.fits")
    plane = open_plane(str(tmp_path / "a.fits"))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plane)).read(2, 30), plane.read(2, 30))


def test_a_file_that_shrinks_while_it_is_open_is_bad_data(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    fits.CompImageHDU(image_of("noise"), compression_type="RICE_1").writeto(path)
    plane = open_plane(str(path))
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(BadSurveyData, match=r"cannot be read \(the file ends at byte"):
        plane.read(0, 37)


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [(0, 2**30, "outside of the heap"), (1, 2**30, "outside of the heap"), (1, -5, "outside of the heap"), (0, 3, "")],
)
def test_a_tile_that_is_not_where_the_table_says_is_bad_data(
    tmp_path: Path, number: int, value: int, message: str
) -> None:
    path = tmp_path / "a.fits"
    fits.CompImageHDU(image_of("noise"), compression_type="RICE_1").writeto(path)
    layout = layout_of(path)
    assert layout is not None
    stored = bytearray(path.read_bytes())
    at = layout.table + 20 * layout.columns.itemsize + 4 * number
    stored[at : at + 4] = np.array(value, ">i4").tobytes()
    path.write_bytes(stored)
    with pytest.raises(BadSurveyData, match=f"cannot be read.*{message}"):
        open_plane(str(path)).read(0, 37)


def test_a_tile_without_data_is_bad_data(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    data = np.arange(60, dtype=np.int32).reshape(6, 10)
    fits.CompImageHDU(data, compression_type="RICE_1").writeto(path)
    layout = layout_of(path)
    assert layout is not None
    stored = bytearray(path.read_bytes())
    stored[layout.table + 3 * 8 : layout.table + 3 * 8 + 4] = bytes(4)
    path.write_bytes(stored)
    with pytest.raises(BadSurveyData, match="tile 3 has no data"):
        open_plane(str(path)).read(0, 6)
