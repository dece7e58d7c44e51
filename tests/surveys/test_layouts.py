"""What a survey's TOML can say about its files beyond one file a band and plane."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import BadSurveyData
from pipeline.flags import PixelFlag
from pipeline.geometry import to_sky
from pipeline.surveys import Survey, SurveyConfig, description, open_survey

Write = Callable[..., Path]
SHAPE = (30, 40)
HEAD = 'name = "n"\nrelease = "r"\nzero_point = [{ unit = "nJy" }]\n'


def survey_of(tmp_path: Path, text: str) -> Survey:
    (tmp_path / "s.toml").write_text(HEAD + text)
    return open_survey(tmp_path / "s.toml")


def test_the_example_of_the_reference_is_a_survey() -> None:
    text = inspect.getdoc(description) or ""
    example = text.split("::\n", 1)[1].split("\n**Paths**")[0]
    config = SurveyConfig.model_validate(tomllib.loads(inspect.cleandoc(example)))
    assert list(config.bands) == ["g", "r", "i"]


def test_bands_can_be_hdus_of_one_file_named_by_template(
    tmp_path: Path, write_fits: Write, noise: Any, cards: Any
) -> None:
    planes = [
        (f"{kind}_{band}", noise(seed) if kind == "SCI" else np.ones(SHAPE, np.float32), cards(), False)
        for seed, band in enumerate("gr")
        for kind in ("SCI", "WHT")
    ]
    write_fits(tmp_path / "T7.fits", *planes)
    survey = survey_of(
        tmp_path,
        '[bands]\ng = "g"\nr = { native = "r", token = "r" }\n[planes.image]\npath = "{field_id}.fits"\n'
        'hdu = "SCI_{native}"\n[planes.ivar]\nhdu = "WHT_{token}"\n',
    )
    (field,) = survey.fields()
    assert field.field_id == "T7"
    assert field.files() == [str(tmp_path / "T7.fits")]
    block = survey.open(field, ("r", "g")).read(0, 30)
    np.testing.assert_array_equal(block.image[0], noise(1))
    np.testing.assert_array_equal(block.image[1], noise(0))


def test_a_band_can_have_its_own_files_token_zero_point_and_hdu(
    tmp_path: Path, write_fits: Write, noise: Any, cards: Any
) -> None:
    write_fits(tmp_path / "A1_green.fits", noise(0))
    write_fits(
        tmp_path / "red/A1.fits", ("X", np.zeros(SHAPE, np.float32), cards(), False), ("Y", noise(1), cards(), False)
    )
    survey = survey_of(
        tmp_path,
        '[planes.image]\npath = "{field_id}_{token}.fits"\n[bands]\ng = { native = "G1", token = "green" }\n'
        '[bands.r]\nnative = "R"\nzero_point = [{ unit = "uJy" }]\n'
        '[bands.r.planes.image]\npath = "red/{field_id}.fits"\nhdu = "Y"\n[fields]\nkeys = { field_id = "A[0-9]+" }\n',
    )
    (field,) = survey.fields()
    block = survey.open(field, ("g", "r")).read(0, 30)
    np.testing.assert_array_equal(block.image[0], noise(0))
    np.testing.assert_allclose(block.image[1], noise(1) * 1000, rtol=1e-6)


def test_the_first_template_and_native_name_that_exist_count(tmp_path: Path, write_fits: Write, noise: Any) -> None:
    write_fits(tmp_path / "F1_g.fits", noise(0))
    write_fits(tmp_path / "F1_r2.fit", noise(1))
    survey = survey_of(
        tmp_path,
        '[bands]\ng = "g"\nr = ["r1", "r2"]\n[planes.image]\n'
        'path = ["{field_id}_{native}.fits", "{field_id}_{native}.fit"]\n',
    )
    (field,) = survey.fields()
    assert Path(field.planes["r"]["image"]).name == "F1_r2.fit"
    assert survey.open(field, ("g", "r")).shape == SHAPE


def test_codes_and_named_planes_become_flags(tmp_path: Path, write_fits: Write, noise: Any, cards: Any) -> None:
    codes = np.ones(SHAPE, np.int16)
    codes[0, :3] = [0, 3, 9]
    write_fits(tmp_path / "F1_g.fits", noise(0))
    write_fits(tmp_path / "F1_g_dq.fits", codes)
    text = '[bands]\ng = "g"\n[planes.image]\npath = "{field_id}_{native}.fits"\n'
    text += '[planes.mask]\npath = "{field_id}_{native}_dq.fits"\n'
    only = "[fields]\nkeys = { field_id = 'F[0-9]' }\n"
    survey = survey_of(tmp_path, text + "codes = { NODATA = [0], BLEED = [3, 4] }\n" + only)
    mask = survey.open(survey.fields()[0], ("g",)).read(0, 1).mask[0, 0]
    assert mask[:4].tolist() == [PixelFlag.NODATA, PixelFlag.BLEED, 0, 0]

    planes = np.array([[1 << 31 >> 1, 1 << 2, 0, 5]] + [[0] * 4] * 29, np.int64).repeat(10, axis=1)
    header = {**cards(), "MP_A": 30, "MP_B": 2}
    write_fits(tmp_path / "F1_g_dq.fits", ("", planes.astype(np.int32), header, False))
    survey = survey_of(
        tmp_path,
        text + 'bits = { TRAIL = ["A"], HALO = ["B", 0], GHOST = ["C"] }\noptional = ["C"]\n' + only,
    )
    mask = survey.open(survey.fields()[0], ("g",)).read(0, 1).mask[0, 0]
    assert mask[::10].tolist() == [PixelFlag.TRAIL, PixelFlag.HALO, 0, PixelFlag.HALO]


def test_relative_weights_become_inverse_variances(tmp_path: Path, write_fits: Write) -> None:
    rng = np.random.default_rng(4)
    weights = np.where(np.arange(400) < 200, 1.0, 4.0)[None, :].repeat(300, axis=0)
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -5e-5, "CDELT2": 5e-5}
    image = (rng.normal(0, 6.0, weights.shape) / np.sqrt(weights)).astype(np.float32)
    write_fits(tmp_path / "F1_g.fits", image, primary=header)
    write_fits(tmp_path / "F1_g_w.fits", weights.astype(np.float32), primary=header)
    survey = survey_of(
        tmp_path,
        '[bands]\ng = "g"\n[planes.image]\npath = "{field_id}_{native}.fits"\n'
        '[planes.weight]\npath = "{field_id}_{native}_w.fits"\n[fields]\nkeys = { field_id = "F[0-9]" }\n',
    )
    ivar = survey.open(survey.fields()[0], ("g",)).read(0, 300).ivar[0]
    assert 1 / np.sqrt(ivar[0, 0]) == pytest.approx(6.0, rel=0.03)
    assert 1 / np.sqrt(ivar[0, 399]) == pytest.approx(3.0, rel=0.03)


def test_sip_distortion_is_kept(tmp_path: Path, write_fits: Write, noise: Any, cards: Any) -> None:
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_2_0": 1e-3, "B_ORDER": 2, "B_2_0": 0.0}
    write_fits(tmp_path / "F1_g.fits", noise(0), primary={**cards(), **sip})
    survey = survey_of(tmp_path, '[bands]\ng = "g"\n[planes.image]\npath = "{field_id}_{native}.fits"\n')
    (field,) = survey.fields()
    wcs = survey.open(field, ("g",)).wcs
    ra, _ = to_sky(wcs, [0.0, 19.5, 39.0], [14.5, 14.5, 14.5])
    # 19.5 pixels off centre the term adds 1e-3 * 19.5^2 pixels to both sides.
    width = (ra[0] - ra[2]) * 3600 / 0.2 * np.cos(np.radians(2.0))
    assert width == pytest.approx(39.0, abs=1e-3)
    middle = (ra[0] - ra[1]) * 3600 / 0.2 * np.cos(np.radians(2.0))
    assert middle == pytest.approx(19.5 - 1e-3 * 19.5**2, abs=1e-3)


def test_gain_leaves_in_electrons_per_njy(tmp_path: Path, write_fits: Write, noise: Any, cards: Any) -> None:
    write_fits(tmp_path / "F1_g.fits", noise(0), primary={**cards(), "GAIN": 4.0, "FWHM": 3.0})
    survey = survey_of(
        tmp_path,
        '[bands]\ng = { native = "g", zero_point = [{ unit = "uJy" }] }\n'
        '[planes.image]\npath = "{field_id}_{native}.fits"\n'
        '[meta.gain]\nkeyword = "GAIN"\nunit = "electron/adu"\n[meta.seeing]\nkeyword = "FWHM"\nunit = "pix"\n'
        '[meta.maglim]\nkeyword = "NOT_THERE"\nunit = ""\n',
    )
    (field,) = survey.fields()
    meta = survey.open(field, ("g",)).meta
    assert meta["gain"]["g"] == pytest.approx(0.004)
    assert meta["seeing"]["g"] == pytest.approx(0.6)
    assert "maglim" not in meta


def test_a_field_without_any_file_is_bad_data_for_its_geometry(tmp_path: Path, write_fits: Write, noise: Any) -> None:
    path = write_fits(tmp_path / "F1_g.fits", noise(0))
    survey = survey_of(tmp_path, '[bands]\ng = "g"\n[planes.image]\npath = "{field_id}_{native}.fits"\n')
    (field,) = survey.fields()
    path.unlink()
    with pytest.raises(BadSurveyData, match=r"F1_g\.fits: no such file"):
        survey.geometry(field)
