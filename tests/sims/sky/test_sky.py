"""The synthetic survey, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.config import load
from pipeline.errors import ProductMismatch
from pipeline.flags import PixelFlag
from pipeline.geometry import to_pixel, to_sky
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.objects import turned
from pipeline.sims.sky.survey import write_survey
from pipeline.surveys.description import SurveyConfig

FIELDS = ("f00-00", "f00-01")


@pytest.fixture(scope="module")
def config() -> SkyConfig:
    loaded = load_sims("small-sky")
    assert isinstance(loaded, SkyConfig)
    return loaded


@pytest.fixture(scope="module")
def survey(config: SkyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sky") / "small"
    write_survey(config, folder, seed=1)
    return folder


def plane(survey: Path, field: str, name: str) -> np.ndarray:
    data = fits.getdata(survey / field / f"{field}_{name}.fits")
    return data.astype(data.dtype.newbyteorder("="))


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_survey_toml_describes_what_was_written(survey: Path) -> None:
    description = load(SurveyConfig, survey / "survey.toml")
    assert description.name == "synthetic"
    assert description.planes.noise == "ivar"
    for field in FIELDS:
        for band in description.bands:
            for path in (template for item in description.planes.present().values() for template in item.path):
                assert (survey / path.format(field_id=field, native=band)).is_file()


def test_planes_open_with_astropy_and_have_one_shape(survey: Path, config: SkyConfig) -> None:
    for field in FIELDS:
        for band in config.bands:
            with fits.open(survey / field / f"{field}_{band}.fits") as hdus:
                hdus.verify("exception")
                assert hdus[0].data.shape == (600, 600)
                assert hdus[0].header["MAGZERO"] == 31.4
            assert plane(survey, field, f"{band}_ivar").shape == (600, 600)
            assert plane(survey, field, f"{band}_mask").dtype == np.uint8


def test_wcs_goes_there_and_back(survey: Path) -> None:
    wcs = WCS(fits.getheader(survey / "f00-01" / "f00-01_r.fits"))
    x, y = np.array([0.0, 599.0, 250.3]), np.array([0.0, 10.0, 599.0])
    back = to_pixel(wcs, *to_sky(wcs, x, y))
    np.testing.assert_allclose(back, (x, y), atol=1e-6)


def test_overlapping_fields_show_one_sky_under_their_own_noise(survey: Path) -> None:
    left, right = (plane(survey, field, "r") for field in FIELDS)
    first, second = left[:, -80:], right[:, :80]
    # A shallow side and a step's other side are as good as any: ivar says how noisy they are.
    both = [plane(survey, field, "truth") & ~PixelFlag.LOW_EXPOSURE.value for field in FIELDS]
    clean = (both[0][:, -80:] == 0) & (both[1][:, :80] == 0)
    ivar = [plane(survey, field, "r_ivar") for field in FIELDS]
    noise = np.sqrt(1 / ivar[0][:, -80:][clean] + 1 / ivar[1][:, :80][clean])
    pull = (first - second)[clean] / noise
    pull -= np.median(pull)
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.15)
    bright = clean & (first > 8 / np.sqrt(ivar[0].max()))
    assert bright.sum() > 20
    assert np.median(second[bright] / first[bright]) == pytest.approx(1.0, abs=0.1)


def test_positions_in_the_truth_are_where_the_light_is(survey: Path) -> None:
    for field in FIELDS:
        image, truth = plane(survey, field, "r"), plane(survey, field, "truth")
        wcs = WCS(fits.getheader(survey / field / f"{field}_r.fits"))
        stars = [row for row in rows(survey / field / f"{field}_objects.parquet") if row["is_star"]]
        checked = 0
        for star in stars:
            x, y = (float(value) for value in to_pixel(wcs, star["ra"], star["dec"]))
            assert (x, y) == pytest.approx((star["x"], star["y"]), abs=1e-3)
            column, row = round(x), round(y)
            box = (slice(row - 3, row + 4), slice(column - 3, column + 4))
            inside = 8 < column < 592 and 8 < row < 592
            if not inside or star["mag_r"] > 20 or truth[box].any():
                continue
            light = image[box] - np.median(image)
            centroid = [(light.sum(axis=axis) * np.arange(-3, 4)).sum() / light.sum() for axis in (0, 1)]
            assert column + centroid[0] == pytest.approx(x, abs=0.3)
            assert row + centroid[1] == pytest.approx(y, abs=0.3)
            checked += 1
        assert checked > 0


def test_lenses_in_the_truth_are_bright_where_it_says(survey: Path, config: SkyConfig) -> None:
    lenses = rows(survey / "truth.parquet")
    assert len(lenses) == config.lenses
    for lens in lenses:
        if not lens["clear"]:
            continue
        assert lens["theta_E"] > config.lens_clear_theta_E
        assert lens["arc_snr"] > config.lens_clear_snr
        image = plane(survey, lens["field_id"], "i")
        column, row = round(lens["x"]), round(lens["y"])
        near = image[row - 2 : row + 3, column - 2 : column + 3]
        sky = np.median(image[max(0, row - 40) : row + 40, max(0, column - 40) : column + 40])
        assert near.max() - sky > 5 * np.sqrt(1 / plane(survey, lens["field_id"], "i_ivar").max())
        dy, dx = np.unravel_index(near.argmax(), near.shape)
        assert np.hypot(dx - 2, dy - 2) < 2


def test_artefacts_of_every_class_are_listed_and_in_the_truth_masks(survey: Path) -> None:
    listed = rows(survey / "artefacts.parquet")
    for field in FIELDS:
        kinds = {row["kind"] for row in listed if row["field_id"] == field}
        assert kinds >= {"gap", "trail", "cosmic_ray", "bad_column", "seam", "step", "ghost"}
        truth = plane(survey, field, "truth")
        for flag in ("CHIP_GAP", "TRAIL", "COSMIC_RAY", "BADCOLUMN", "SEAM"):
            assert (truth & PixelFlag[flag].value).any(), flag
    assert any(row["kind"] == "star" for row in listed)


def test_survey_mask_tells_only_what_the_config_says(survey: Path, config: SkyConfig) -> None:
    for field in FIELDS:
        truth = plane(survey, field, "truth")
        masks = [plane(survey, field, f"{band}_mask") for band in config.bands]
        combined = np.bitwise_or.reduce(masks)
        told = 0
        for bit, name in enumerate(config.mask_plane):
            told |= 1 << bit
            np.testing.assert_array_equal((combined >> bit) & 1 != 0, (truth & PixelFlag[name].value) != 0)
        assert not (combined & ~np.uint8(told)).any()


def test_gaps_are_zero_with_zero_weight(survey: Path) -> None:
    truth = plane(survey, "f00-00", "truth")
    gap = (truth & PixelFlag.CHIP_GAP.value) != 0
    weights = [plane(survey, "f00-00", f"{band}_ivar")[gap] for band in "gri"]
    assert (np.min(weights, axis=0) == 0).all()
    assert all(np.isfinite(plane(survey, "f00-00", band)).all() for band in "gri")


def test_the_same_seed_writes_the_same_bytes(config: SkyConfig, tmp_path: Path) -> None:
    layout = config.layout.model_copy(update={"size": 160, "overlap": 20})
    tiny = config.model_copy(update={"layout": layout, "lenses": 1, "templates": 2, "strip": 64})
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        write_survey(tiny, folder, seed=4)
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert files[0] == files[1]
    for name in files[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_folder_with_a_survey_is_not_written_over(survey: Path, config: SkyConfig) -> None:
    with pytest.raises(ProductMismatch, match="holds a survey"):
        write_survey(config, survey, seed=1)


def test_eight_turns_are_all_different_and_keep_the_middle() -> None:
    light = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    turns = {turned(light, turn).tobytes() for turn in range(8)}
    assert len(turns) == 8
    assert all(turned(light, turn)[0, 1, 1] == 4 for turn in range(8))
