from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import BadSurveyData, ConfigError, NoCoverage
from pipeline.surveys import Survey, open_survey

Make = Callable[..., Survey]
Write = Callable[..., Path]


def refused(survey: Survey, *parts: str, bands: tuple[str, ...] = ("g", "r")) -> None:
    with pytest.raises(BadSurveyData) as caught:
        survey.open(survey.fields()[0], bands)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_a_good_survey_opens(tiny_survey: Make) -> None:
    survey = tiny_survey()
    image = survey.open(survey.fields()[0], ("r", "g"))
    assert image.bands == ("r", "g")
    assert image.read(3, 9).image.shape == (2, 6, 40)


def test_truncated_file_is_named_with_its_bytes(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    path = tmp_path / "data/F1/F1_r.fits"
    path.write_bytes(path.read_bytes()[:4000])
    refused(survey, "F1_r.fits", "HDU 0", "truncated", "4000 bytes", "fetch it again")


def test_file_cut_inside_its_header_is_named(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    path = tmp_path / "data/F1/F1_r.fits"
    path.write_bytes(path.read_bytes()[:1000])
    refused(survey, "F1_r.fits", "fetch it again")


def test_something_that_is_no_fits_file_is_named(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    (tmp_path / "data/F1/F1_r.fits").write_text("<html>404 not found</html>" * 200)
    refused(survey, "F1_r.fits", "not a readable FITS file")


def test_empty_file_is_named(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    (tmp_path / "data/F1/F1_g.fits").write_bytes(b"")
    refused(survey, "F1_g.fits")


def test_missing_plane_is_named(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    (tmp_path / "data/F1/F1_g_ivar.fits").unlink()
    refused(survey, "F1_g_ivar.fits", "no such file", "band g", "ivar")


def test_missing_band_is_an_error_by_default(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    (tmp_path / "data/F1/F1_g.fits").unlink()
    refused(survey, "F1_g.fits", "band g")


def test_missing_band_is_empty_where_the_survey_allows_it(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey('[fields]\nmissing_band = "empty"\n')
    (tmp_path / "data/F1/F1_g.fits").unlink()
    block = survey.open(survey.fields()[0], ("g", "r")).read(0, 30)
    assert np.isnan(block.image[0]).all()
    assert (block.ivar[0] == 0).all()
    assert np.isfinite(block.image[1]).all()
    with pytest.raises(NoCoverage):
        survey.open(survey.fields()[0], ("g",))


def test_band_that_the_survey_lacks_names_those_it_has(tiny_survey: Make) -> None:
    survey = tiny_survey()
    with pytest.raises(ConfigError, match=r"no band 'i'; it has g, r"):
        survey.open(survey.fields()[0], ("i",))


def test_wrong_hdu_lists_the_ones_there_are(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    text = (tmp_path / "survey.toml").read_text().replace("{native}.fits", '{native}.fits"\nhdu = "SCI', 1)
    (tmp_path / "survey.toml").write_text(text)
    refused(open_survey(tmp_path / "survey.toml"), "F1_g.fits", "'SCI'", "it has 0")
    (tmp_path / "survey.toml").write_text(text.replace('"SCI"', "3"))
    refused(open_survey(tmp_path / "survey.toml"), "F1_g.fits", "HDU 3")
    del survey


def test_a_table_in_place_of_an_image_is_refused(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])]).writeto(
        tmp_path / "data/F1/F1_g.fits", overwrite=True
    )
    refused(survey, "F1_g.fits", "two-dimensional image")


def test_a_cube_is_refused(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_g.fits", np.zeros((2, 30, 40), np.float32))
    refused(survey, "F1_g.fits", "two-dimensional image")


def test_band_of_another_shape_names_both_files(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r.fits", np.ones((30, 41), np.float32))
    refused(survey, "F1_r.fits", "F1_g.fits", "(30, 41)", "(30, 40)")


def test_mask_of_another_shape_names_both_files(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r_mask.fits", np.ones((29, 40), np.int16))
    refused(survey, "F1_r_mask.fits", "F1_r.fits", "(29, 40)")


def test_band_on_another_grid_names_both_files(
    tiny_survey: Make, tmp_path: Path, write_fits: Write, noise: Any, cards: Any
) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r.fits", noise(1), primary=cards(dec=2.0 + 0.1 / 3600))
    refused(survey, "F1_r.fits", "F1_g.fits", "another grid", "0.5 pixels apart")


def test_grids_that_differ_by_rounding_are_one(
    tiny_survey: Make, tmp_path: Path, write_fits: Write, noise: Any, cards: Any
) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r.fits", noise(1), primary=cards(dec=2.0 + 1e-4 / 3600))
    survey.open(survey.fields()[0], ("g", "r"))


@pytest.mark.parametrize("keys", [("CTYPE1", "CTYPE2"), ("CTYPE2",)])
def test_no_wcs_is_an_error(tiny_survey: Make, tmp_path: Path, keys: tuple[str, ...]) -> None:
    survey = tiny_survey()
    with fits.open(tmp_path / "data/F1/F1_g.fits", mode="update") as hdus:
        for key in keys:
            del hdus[0].header[key]
    refused(survey, "F1_g.fits", "no WCS")
    (tmp_path / "data/F1/F1_r.fits").unlink()
    with pytest.raises(BadSurveyData, match="no WCS"):
        survey.geometry(survey.fields()[0])


def test_singular_wcs_is_an_error(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    with fits.open(tmp_path / "data/F1/F1_g.fits", mode="update") as hdus:
        hdus[0].header["CD1_1"] = 0.0
    refused(survey, "F1_g.fits", "singular")


def test_galactic_axes_are_an_error(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    with fits.open(tmp_path / "data/F1/F1_g.fits", mode="update") as hdus:
        hdus[0].header["CTYPE1"], hdus[0].header["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    refused(survey, "GLON-TAN", "not (RA, Dec)")


def test_no_zero_point_names_the_keywords_tried(tiny_survey: Make) -> None:
    survey = tiny_survey(head='zero_point = [{ keyword = "MAGZERO" }, { flux_keyword = "FLUXMAG0" }]\n')
    refused(survey, "F1_g.fits", "no zero point", "MAGZERO, FLUXMAG0")


@pytest.mark.parametrize("value", ["unknown", -1.0])
def test_zero_point_that_is_no_number_is_named(tiny_survey: Make, tmp_path: Path, value: Any) -> None:
    survey = tiny_survey(head='zero_point = [{ flux_keyword = "FLUXMAG0" }]\n')
    with fits.open(tmp_path / "data/F1/F1_g.fits", mode="update") as hdus:
        hdus[0].header["FLUXMAG0"] = value
    refused(survey, "F1_g.fits", "FLUXMAG0", repr(value))


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_zero_point_that_leaves_no_flux_is_named(tiny_survey: Make, tmp_path: Path, value: float) -> None:
    survey = tiny_survey(head='zero_point = [{ keyword = "MAGZERO" }]\n')
    with fits.open(tmp_path / "data/F1/F1_g.fits", mode="update") as hdus:
        hdus[0].header["MAGZERO"] = value
    refused(survey, "F1_g.fits", "zero point", "mend the header")


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_constant_band_is_an_error(tiny_survey: Make, tmp_path: Path, write_fits: Write, value: float) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r.fits", np.full((30, 40), value, np.float32))
    refused(survey, "F1_r.fits", "every valid pixel", f"{value:g} nJy")


def test_all_nan_band_is_an_error_that_says_what_to_do(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r.fits", np.full((30, 40), np.nan, np.float32))
    refused(survey, "F1_r.fits", "no valid pixel while g has", "missing_band")


def test_field_without_a_valid_pixel_is_no_coverage(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    for band in "gr":
        write_fits(tmp_path / f"data/F1/F1_{band}_ivar.fits", np.zeros((30, 40), np.float32))
    with pytest.raises(NoCoverage, match="F1"):
        survey.open(survey.fields()[0], ("g", "r"))


def test_zero_weights_in_one_band_are_an_error(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r_ivar.fits", np.zeros((30, 40), np.float32))
    refused(survey, "band r has no valid pixel")


def test_negative_weights_alone_are_an_error(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r_ivar.fits", np.full((30, 40), -1.0, np.float32))
    refused(survey, "F1_r_ivar.fits", "negative")


def test_some_negative_weights_are_nodata(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    weights = np.full((30, 40), 0.25, np.float32)
    weights[4, 5] = -1.0
    write_fits(tmp_path / "data/F1/F1_r_ivar.fits", weights)
    block = survey.open(survey.fields()[0], ("r",)).read(0, 30)
    assert np.isnan(block.image[0, 4, 5])
    assert int(np.isnan(block.image).sum()) == 1


def test_mask_of_real_numbers_is_an_error(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    write_fits(tmp_path / "data/F1/F1_r_mask.fits", np.zeros((30, 40), np.float32))
    refused(survey, "F1_r_mask.fits", "real numbers")


def test_named_mask_plane_that_is_not_there_lists_the_others(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    text = (tmp_path / "survey.toml").read_text().replace("SATURATED = [1]", 'SATURATED = ["SAT"]')
    (tmp_path / "survey.toml").write_text(text)
    refused(open_survey(tmp_path / "survey.toml"), "F1_g_mask.fits", "MP_SAT")
    del survey


def test_two_files_for_a_wildcard_are_counted(tiny_survey: Make, tmp_path: Path, write_fits: Write, noise: Any) -> None:
    tiny_survey()
    text = (tmp_path / "survey.toml").read_text().replace("{native}_ivar.fits", "{native}_iv*.fits")
    (tmp_path / "survey.toml").write_text(text)
    write_fits(tmp_path / "data/F1/F1_g_ivar2.fits", noise())
    refused(open_survey(tmp_path / "survey.toml"), "2 files match", "F1_g_ivar.fits, F1_g_ivar2.fits")


def test_paths_with_spaces_brackets_and_letters_of_any_kind(tiny_survey: Make) -> None:
    survey = tiny_survey(folder="Übersicht [α] µ jy * données")
    (field,) = survey.fields()
    assert survey.open(field, ("g", "r")).read(0, 30).image.shape == (2, 30, 40)


def test_root_that_is_not_there_is_named(tiny_survey: Make, tmp_path: Path) -> None:
    tiny_survey()
    text = (tmp_path / "survey.toml").read_text().replace('root = "data"', 'root = "elsewhere"')
    (tmp_path / "survey.toml").write_text(text)
    with pytest.raises(BadSurveyData, match="elsewhere is not a folder"):
        open_survey(tmp_path / "survey.toml").fields()


def test_no_field_found_says_what_was_looked_for(tiny_survey: Make, tmp_path: Path) -> None:
    tiny_survey()
    (tmp_path / "data/F1").rename(tmp_path / "data/other")
    with pytest.raises(BadSurveyData, match=r"no field found.*field_id"):
        open_survey(tmp_path / "survey.toml").fields()


def test_unknown_field_names_the_nearest(tiny_survey: Make) -> None:
    with pytest.raises(ConfigError, match='did you mean "F1"'):
        tiny_survey().field("F11")
