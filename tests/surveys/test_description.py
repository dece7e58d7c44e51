from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.io.folders import folder_of
from pipeline.surveys import Survey, open_survey
from pipeline.surveys.expressions import check_expression, columns_of, evaluate, evaluate_integers
from pipeline.surveys.paths import discover, render

Make = Callable[..., Survey]


def changed(tiny_survey: Make, tmp_path: Path, old: str, new: str) -> Survey:
    tiny_survey()
    text = (tmp_path / "survey.toml").read_text()
    assert old in text
    (tmp_path / "survey.toml").write_text(text.replace(old, new, 1))
    return open_survey(tmp_path / "survey.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("release =", "relaese =", 'unknown key relaese; did you mean "release"'),
        ("SATURATED", "SATURATION", 'did you mean "SATURATED"'),
        ("[1]", "[-1]", "greater than or equal to 0"),
        ('unit = "nJy"', 'magnitude = "22.5 arcsec"', "converts to mag"),
        ('unit = "nJy"', 'magnitude = "22.5 mag", flux = 3.0', "exactly one of"),
        ('unit = "nJy"', "flux = -3.0", "greater than 0"),
        ('r = "r"', 'G = "r"', "differ in case only"),
        ('r = "r"', '"r-band" = "r"', "letters, digits"),
        ("[planes.ivar]", "[planes.weight]\nhdu = 1\n[planes.ivar]", "give one of"),
        ('zero_point = [{ keyword = "MAGZERO" }, { unit = "nJy" }]', "", "no zero_point for band g, r"),
    ],
)
def test_a_wrong_description_names_key_and_value(
    tiny_survey: Make, tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=r"survey\.toml") as caught:
        changed(tiny_survey, tmp_path, old, new)
    assert message in str(caught.value)


def test_unset_variable_in_root_is_named(tiny_survey: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_PLACE", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_PLACE is not set"):
        changed(tiny_survey, tmp_path, 'root = "data"', 'root = "${NO_SUCH_PLACE}"')


def test_relative_root_starts_at_the_toml(tiny_survey: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_survey()
    monkeypatch.chdir("/")
    assert open_survey("survey.toml", relative_to=tmp_path).fields()[0].field_id == "F1"


@pytest.mark.parametrize(
    ("zero_point", "header", "factor"),
    [
        ('{ magnitude = "31.4 mag" }', {}, 1.0),
        ('{ magnitude = "22.5 mag" }', {}, 3630.7805),
        ('{ keyword = "ZP" }', {"ZP": 28.9}, 10.0),
        ('{ keyword = "ZP", offset = "-2.5 mag" }', {"ZP": 31.4}, 10.0),
        ('{ keyword = "ZP", per = "second" }', {"ZP": 28.9, "EXPTIME": 4.0}, 2.5),
        ("{ flux = 1000.0 }", {}, 10**12.56 / 1000),
        ('{ flux_keyword = "F0" }', {"F0": 500.0}, 10**12.56 / 500),
        ('{ unit = "uJy" }', {}, 1000.0),
        ('{ unit_keyword = "BUNIT" }', {"BUNIT": "nanomaggy"}, 3630.7805),
        ('{ keyword = "MISSING" }, { unit = "mJy" }', {}, 1e6),
    ],
)
def test_zero_points_of_every_kind_lead_to_njy(
    tiny_survey: Make,
    tmp_path: Path,
    write_fits: Any,
    noise: Any,
    cards: Any,
    zero_point: str,
    header: Any,
    factor: float,
) -> None:
    survey = tiny_survey(head=f"zero_point = [{zero_point}]\n")
    write_fits(tmp_path / "data/F1/F1_g.fits", noise(), primary={**cards(), **header})
    block = survey.open(survey.fields()[0], ("g",)).read(0, 30)
    np.testing.assert_allclose(block.image[0], noise() * factor, rtol=1e-5)
    np.testing.assert_allclose(block.ivar[0], 0.25 / factor**2, rtol=1e-5)


def test_missing_exposure_time_is_an_error(tiny_survey: Make) -> None:
    survey = tiny_survey(head='zero_point = [{ magnitude = "25 mag", per = "second" }]\n')
    with pytest.raises(BadSurveyData, match="EXPTIME is None"):
        survey.open(survey.fields()[0], ("g",))


@pytest.mark.parametrize(("kind", "value"), [("ivar", 0.25), ("variance", 4.0), ("rms", 2.0)])
def test_noise_planes_of_every_kind_give_the_same_ivar(
    tiny_survey: Make, tmp_path: Path, write_fits: Any, kind: str, value: float
) -> None:
    survey = changed(tiny_survey, tmp_path, "[planes.ivar]", f"[planes.{kind}]")
    plane = np.full((30, 40), value, np.float32)
    plane[0, 0] = 0.0
    plane[0, 1] = np.nan
    write_fits(tmp_path / "data/F1/F1_g_ivar.fits", plane)
    image = survey.open(survey.fields()[0], ("g",))
    block = image.read(0, 30)
    assert image.has_ivar
    np.testing.assert_allclose(block.ivar[0, 1:], 0.25)
    assert block.ivar[0, 0, :2].tolist() == [0.0, 0.0]
    assert np.isnan(block.image[0, 0, :2]).all()


def test_blocks_joined_are_the_field_read_at_once_and_survive_a_journey(tiny_survey: Make) -> None:
    import pickle

    survey = tiny_survey()
    image = survey.open(survey.fields()[0], ("g", "r"))
    whole = image.read(0, 30)
    joined = np.concatenate([block.image for block in image.blocks(7)], axis=1)
    np.testing.assert_array_equal(joined, whole.image)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image.read))(3, 5).image, whole.image[:, 3:5])
    with pytest.raises(ValueError, match="not inside"):
        image.read(20, 31)


def test_blank_value_means_no_data(tiny_survey: Make, tmp_path: Path, write_fits: Any, noise: Any) -> None:
    survey = changed(tiny_survey, tmp_path, "[planes.ivar]", "blank = 0.0\n[planes.ivar]")
    pixels = noise()
    pixels[5:8] = 0.0
    write_fits(tmp_path / "data/F1/F1_g.fits", pixels)
    block = survey.open(survey.fields()[0], ("g",)).read(0, 30)
    assert np.isnan(block.image[0]).sum() == 3 * 40


def test_fields_come_from_a_table(tiny_survey: Make, tmp_path: Path) -> None:
    columns = {"brick": ["F2", "F1", "F9"], "nexp": [1, 3, 0], "psf_g": [1.1, 0.9, 0.7]}
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "data/bricks.parquet")
    survey = tiny_survey(
        '[fields]\ntable = "bricks.parquet"\ncolumns = { field_id = "brick" }\nwhere = "nexp > 0"\n'
        '[meta.seeing]\ncolumn = "psf_{native}"\n'.replace("psf_{native}", "psf_g")
    )
    assert [field.field_id for field in survey.fields()] == ["F1", "F2"]
    assert survey.open(survey.fields()[0], ("g",)).meta["seeing"]["g"] == pytest.approx(0.9)
    with pytest.raises(BadSurveyData, match="F2"):
        survey.open(survey.fields()[1], ("g",))


def test_fields_come_from_a_glob_and_a_pattern(tiny_survey: Make) -> None:
    survey = tiny_survey('[fields]\nglob = "*/*_g.fits"\npattern = "(?P<field_id>F[0-9]+)/.*"\n')
    assert [field.field_id for field in survey.fields()] == ["F1"]
    assert set(survey.fields()[0].planes) == {"g", "r"}


def test_provenance_has_no_place_in_it(tiny_survey: Make, tmp_path: Path) -> None:
    survey = tiny_survey()
    assert str(tmp_path) not in str(survey.provenance())
    assert survey.provenance()["planes"]["mask"]["bits"] == {"SATURATED": [1], "COSMIC_RAY": [4, 5]}


def test_templates_read_both_ways(tmp_path: Path) -> None:
    template = "{run}/{camcol}/frame-{native}-{run:06d}-{camcol}-{n:04d}.fits"
    path = render(template, {"run": "756", "camcol": "3", "native": "r", "n": "12"})
    assert path == "756/3/frame-r-000756-3-0012.fits"
    for name in (path, "756/3/frame-r-000757-3-0012.fits", "756/3/frame-x-000756-3-0012.fits"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [(keys, token, name) for keys, token, name in discover(folder_of(tmp_path), [template], ["g", "r"], {})] == [
        ({"run": "756", "camcol": "3", "n": "0012"}, "r", path)
    ]


@pytest.mark.parametrize(
    "text", ["__import__('os')", "a.b", "a[0]", "a if b else c", "lambda: 0", "a; b", "1.5 * a", "a / b"]
)
def test_an_id_formula_is_columns_and_integers_only(text: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|not an expression"):
        check_expression(text, integers_only=True)


def test_expressions_follow_numpy_and_ids_are_exact() -> None:
    columns = {"a": np.array([1, 2, 3]), "b": np.array([0.5, -1.0, 2.0])}
    assert evaluate("a > 1 and not b < 0", columns).tolist() == [False, False, True]
    assert columns_of("b + a * a") == ["a", "b"]
    assert evaluate_integers("(a << 61) // 2 + 1", {"a": columns["a"]}).tolist() == [
        2**60 + 1,
        2**61 + 1,
        3 * 2**60 + 1,
    ]
    with pytest.raises(OverflowError, match="row 2"):
        evaluate_integers("a << 62", {"a": np.array([0, 1, 2])})
