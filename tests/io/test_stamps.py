"""Stamps from outside: every form that they come in, and what is wrong with some."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.io.stamps import check_output, open_stamps, write_scores

BANDS = ("g", "r", "i")


def cube(seed: int = 0, size: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, size, size)).astype(np.float32)


def write_extensions(path: Path, image: np.ndarray, names=("G", "R", "I"), **header: float) -> None:
    hdus = [fits.PrimaryHDU()]
    for plane, name in zip(image, names, strict=True):
        hdus.append(fits.ImageHDU(plane, name=name))
        hdus[-1].header.update(header)
    fits.HDUList(hdus).writeto(path)


def test_one_extension_a_band_is_found_by_name_whatever_its_case_or_place(tmp_path: Path):
    image = cube()
    write_extensions(tmp_path / "a b é.fits", image[[2, 0, 1]], names=("I", "G", "R"))
    stamps = open_stamps(tmp_path, None, BANDS)
    assert stamps.names == ("a b é",)
    assert stamps.bands == BANDS
    np.testing.assert_array_equal(stamps.read(0).pixels, image)


def test_extensions_without_names_are_in_the_order_of_the_bands(tmp_path: Path):
    image = cube()
    write_extensions(tmp_path / "x.fits", image, names=("", "", ""))
    np.testing.assert_array_equal(open_stamps(tmp_path, ("r", "i", "z"), BANDS).read(0).pixels, image)


def test_a_cube_in_the_primary_hdu_is_read(tmp_path: Path):
    fits.PrimaryHDU(cube()).writeto(tmp_path / "x.fits")
    np.testing.assert_array_equal(open_stamps(tmp_path / "x.fits", None, BANDS).read(0).pixels, cube())


def test_one_file_a_band_makes_one_stamp(tmp_path: Path):
    for name, seed in (("J1_2", 1), ("J0", 2)):
        for band, plane in zip(BANDS, cube(seed), strict=True):
            fits.PrimaryHDU(plane).writeto(tmp_path / f"{name}_{band}.fits")
    stamps = open_stamps(tmp_path, None, BANDS)
    assert stamps.names == ("J0", "J1_2")
    np.testing.assert_array_equal(stamps.read(1).pixels, cube(1))


def test_a_file_of_a_band_that_nobody_asked_for_is_no_stamp(tmp_path: Path):
    for band in ("g", "i", "Ks", "r", "z"):
        fits.PrimaryHDU(np.ones((8, 8), np.float32)).writeto(tmp_path / f"J0_{band}.fits")
    write_extensions(tmp_path / "J1_z.fits", cube())
    assert open_stamps(tmp_path, None, BANDS).names == ("J0", "J1_z")


def test_a_zero_point_brings_counts_to_nanojansky(tmp_path: Path):
    write_extensions(tmp_path / "x.fits", cube(), MAGZERO=28.9)
    # 2.5 mag below 31.4: a count is 10 nJy.
    np.testing.assert_allclose(open_stamps(tmp_path, None, BANDS).read(0).pixels, 10 * cube(), rtol=1e-5)


@pytest.mark.parametrize("wrong", ["truncated", "a band short", "shapes differ", "text", "zero point"])
def test_one_bad_file_is_one_stamp_without_pixels_and_with_a_reason(tmp_path: Path, wrong: str):
    write_extensions(tmp_path / "good.fits", cube())
    bad = tmp_path / "bad.fits"
    if wrong == "truncated":
        write_extensions(bad, cube(size=100))
        bad.write_bytes(bad.read_bytes()[:9000])
    elif wrong == "a band short":
        write_extensions(bad, cube()[:2], names=("G", "R"))
    elif wrong == "shapes differ":
        hdus = [fits.ImageHDU(np.zeros((8 + k, 8), np.float32), name=band) for k, band in enumerate(BANDS)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(bad)
    elif wrong == "zero point":
        write_extensions(bad, cube(), MAGZERO=-5000.0)
    else:
        bad.write_text("no FITS at all")
    stamps = list(open_stamps(tmp_path, None, BANDS))
    assert [stamp.name for stamp in stamps] == ["bad", "good"]
    assert stamps[0].pixels is None
    assert "bad.fits" in str(stamps[0].reason)
    assert stamps[1].pixels is not None


def test_arrays_keep_their_order_and_names(tmp_path: Path):
    image = np.stack([cube(1), cube(2)])
    np.save(tmp_path / "a.npy", image)
    np.savez(tmp_path / "a.npz", image=image, name=np.array(["p", "q"]))
    plain = open_stamps(tmp_path / "a.npy", BANDS, BANDS)
    assert plain.names == ("0", "1")
    np.testing.assert_array_equal(plain.read(1).pixels, image[1])
    assert open_stamps(tmp_path / "a.npz", BANDS, BANDS).names == ("p", "q")


def test_doubles_beyond_single_precision_become_infinite_without_a_warning(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.full((1, 3, 4, 4), 1e300))
    assert np.isposinf(open_stamps(tmp_path / "a.npy", BANDS, BANDS).read(0).pixels).all()


def test_big_endian_doubles_become_native_floats(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.stack([cube()]).astype(">f8"))
    pixels = open_stamps(tmp_path / "a.npy", BANDS, BANDS).read(0).pixels
    assert pixels.dtype == np.float32
    assert pixels.dtype.isnative


def test_colour_arrays_and_pictures_are_the_same_stamps(tmp_path: Path):
    rgb = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", rgb)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(rgb[index]).save(folder / f"p{index}.png")
    (folder / "notes.txt").write_text("not a stamp")
    array, pictures = open_stamps(tmp_path / "a.npy", None, BANDS), open_stamps(folder, None, BANDS)
    assert array.colour
    assert pictures.colour
    assert pictures.names == ("p0", "p1")
    for one, other in zip(array, pictures, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_grey_or_damaged_picture_has_a_reason(tmp_path: Path):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff nothing")
    stamps = list(open_stamps(tmp_path, None, BANDS))
    assert [stamp.pixels for stamp in stamps] == [None, None]
    assert "not colour" in str(stamps[0].reason)


@pytest.mark.parametrize(
    ("array", "bands", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), None, "--bands"),
        (np.zeros((2, 3, 8, 8), np.float32), ("g", "r"), "3 bands on axis 1, but 2 names"),
        (np.zeros((3, 8, 8), np.float32), BANDS, r"\(3, 8, 8\)"),
        (np.zeros((2, 3, 8, 8), np.complex64), BANDS, "complex64"),
        (np.zeros((2, 8, 8, 4), np.uint8), None, "uint8"),
    ],
)
def test_a_wrong_array_is_a_config_error(tmp_path: Path, array: np.ndarray, bands, message: str):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ConfigError, match=message):
        open_stamps(tmp_path / "a.npy", bands, BANDS)


def test_nothing_to_read_is_a_config_error_that_names_it(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        open_stamps(tmp_path / "none", None, BANDS)
    with pytest.raises(ConfigError, match="no FITS, PNG or JPEG"):
        open_stamps(tmp_path, None, BANDS)
    (tmp_path / "a.npy").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="not a numpy array"):
        open_stamps(tmp_path / "a.npy", BANDS, BANDS)
    np.savez(tmp_path / "a.npz", stamps=np.zeros(3))
    with pytest.raises(ConfigError, match="no key 'image'; it holds stamps"):
        open_stamps(tmp_path / "a.npz", BANDS, BANDS)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ConfigError, match=r"'\.txt'"):
        open_stamps(tmp_path / "a.txt", BANDS, BANDS)


def test_scores_without_a_value_are_empty_or_null(tmp_path: Path):
    scores = {"score": np.array([0.25, np.nan], np.float32), "score_a": np.array([np.nan, 1e-7], np.float32)}
    write_scores(tmp_path / "s.csv", ["x, y", "z"], scores)
    with (tmp_path / "s.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["name", "score", "score_a"], ["x, y", "0.25", ""], ["z", "", "1e-07"]]
    write_scores(tmp_path / "s.parquet", ["x, y", "z"], scores)
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["name", "score", "score_a"]
    assert table["score"].to_pylist() == [0.25, None]
    assert str(table.schema.field("score").type) == "float"


def test_an_output_of_another_kind_or_place_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"\.json"):
        check_output(tmp_path / "s.json")
    with pytest.raises(ConfigError, match="does not exist"):
        check_output(tmp_path / "none" / "s.csv")


def test_files_of_one_stem_keep_their_suffix(tmp_path: Path):
    for name in ("a.png", "a.jpg", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert open_stamps(tmp_path, None, BANDS).names == ("a.jpg", "a.png", "b")


def test_fits_of_one_stem_are_two_stamps_but_two_of_one_band_are_refused(tmp_path: Path):
    for name in ("a.fits", "a.fits.gz", "b.fits"):
        fits.writeto(tmp_path / name, np.zeros((3, 8, 8), np.float32))
    found = open_stamps(tmp_path, None, BANDS)
    assert found.names == ("a.fits", "a.fits.gz", "b")
    assert all(stamp.pixels is not None for stamp in found)
    for name in ("c_g.fits", "c_g.fits.gz"):
        fits.writeto(tmp_path / name, np.zeros((8, 8), np.float32))
    with pytest.raises(ConfigError, match=r"c_g\.fits\.gz: band g of stamp 'c' is in c_g\.fits too"):
        open_stamps(tmp_path, None, BANDS)
