"""The challenge's folders with their key, in the variants that they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.train.data import Stamps, read_stamps
from pipeline.train.data_config import BolognaConfig
from pipeline.train.sources.bologna import read_key

FIRST = 100000
HEADER = "ID,is_lens,Einstein_area,numb_pix_lensed_image,flux_lensed_image_in_sigma"


def source(path: Path, **changes: Any) -> BolognaConfig:
    values = {"kind": "bologna", "path": str(path), "pixel_scale": "0.2 arcsec", **changes}
    return BolognaConfig.model_validate(values)


def read(config: BolognaConfig, bands: tuple[str, ...] = ("g", "r", "i"), size: int = 11) -> Stamps:
    return read_stamps([config], bands, 0.2, size)


def pixels(stamps: Stamps) -> np.ndarray:
    return stamps.take(np.arange(len(stamps)), np.zeros(len(stamps), bool))[0].numpy()


def plane(number: int, band: str) -> np.ndarray:
    seed = [number, *band.encode()]
    return (np.random.default_rng(seed).normal(3, 1, (11, 11)) * 1e-10).astype(np.float32)


def write_ground(root: Path, n: int = 6) -> None:
    for place, band in enumerate(("R", "I", "G", "U"), start=1):
        folder = root / f"Public/Band{place}"
        folder.mkdir(parents=True)
        for number in range(FIRST, FIRST + n):
            image = plane(number, band)
            image[0, 3] = 100
            fits.writeto(folder / f"imageSDSS_{band}-{number}.fits", image)


def rows(n: int = 6) -> str:
    return "".join(f"{FIRST + k},{k % 2},{k}.5,10,3.2\n" for k in range(n))


def write_key(root: Path, text: str | None = None) -> None:
    comments = "# Strong lens finding challenge\n#\n# Einstein_area in radians^2\n"
    (root / "classifications.csv").write_text(f"{comments}{HEADER}\n{rows()}" if text is None else text)


def test_the_ground_based_set_is_read_with_its_key(tmp_path: Path):
    write_ground(tmp_path)
    write_key(tmp_path)
    stamps = read(source(tmp_path))
    assert stamps.lens.tolist() == [False, True] * 3
    got = pixels(stamps)
    expected = np.stack([plane(FIRST + 2, band) for band in "GRI"])
    expected[:, 0, 3] = np.nan
    np.testing.assert_allclose(got[2], expected, rtol=1e-3, atol=1e-14)
    assert stamps.bands == ("g", "r", "i")


def test_a_zero_point_makes_nanojanskys(tmp_path: Path):
    write_ground(tmp_path)
    write_key(tmp_path)
    plain, scaled = read(source(tmp_path)), read(source(tmp_path, zero_point="6.4 mag"))
    np.testing.assert_allclose(pixels(scaled), pixels(plain) * 1e10, rtol=1e-3, atol=1e-4)


def test_the_space_based_set_has_one_band(tmp_path: Path):
    folder = tmp_path / "SpaceBasedTraining/Public/Band1"
    folder.mkdir(parents=True)
    for number in range(FIRST, FIRST + 6):
        fits.writeto(folder / f"imageEUC_VIS-{number}.fits", plane(number, "VIS"))
    write_key(tmp_path / "SpaceBasedTraining")
    stamps = read_stamps([source(tmp_path, pixel_scale="0.1 arcsec")], ("vis",), 0.1, 11)
    np.testing.assert_allclose(pixels(stamps)[5, 0], plane(FIRST + 5, "VIS"), rtol=1e-3, atol=1e-14)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{rows()}",
        f"# comment\n# {HEADER}\n{rows()}",
        f"\ufeff# comment\n{HEADER.lower()}\n\n{rows()}",
        f"# comment\n{HEADER.replace(',', ' ')}\n{rows().replace(',', '   ')}",
        f"{HEADER.replace(',', ';')}\n{rows().replace(',', ';')}",
        f"# is_lens tells lenses\n{HEADER.replace(',', ', ')}\n{rows().replace(',', ', ')}",
    ],
)
def test_the_key_is_read_in_its_variants(tmp_path: Path, text: str):
    (tmp_path / "key.csv").write_text(text, encoding="utf-8")
    assert read_key(tmp_path / "key.csv") == {FIRST + k: k % 2 == 1 for k in range(6)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}\n{rows()}{FIRST},1,1,1,1\n", f"ID {FIRST} stands there twice"),
        (f"{HEADER}\n{FIRST},2,1,1,1\n", f"ID {FIRST}: label '2' is neither 0 nor 1"),
        (f"{HEADER}\nabc,1,1,1,1\n", "has no integer ID"),
        (f"{HEADER}\n1e5,1,1,1,1\n", "has no integer ID"),
        (f"{HEADER}\n", "no row below the header"),
        ("ID,area\n1,2\n", "the key needs ID and is_lens"),
        ("", "columns none"),
    ],
)
def test_a_wrong_key_says_where(tmp_path: Path, text: str, message: str):
    (tmp_path / "key.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_key(tmp_path / "key.csv")


def test_a_key_that_does_not_match_the_images_is_refused(tmp_path: Path):
    write_ground(tmp_path, n=5)
    write_key(tmp_path)
    with pytest.raises(ConfigError, match=rf"1 of 6 objects have no image in band g .* ID {FIRST + 5}"):
        read(source(tmp_path))
    write_key(tmp_path, f"{HEADER}\n{rows(4)}")
    assert len(read(source(tmp_path))) == 4


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no image<INSTRUMENT>_<BAND>-<ID>\.fits under it"):
        read(source(tmp_path))
    write_ground(tmp_path)
    with pytest.raises(ConfigError, match="key files with a column is_lens: none"):
        read(source(tmp_path))
    write_key(tmp_path)
    with pytest.raises(ConfigError, match="bands G, I, R, U; z is missing"):
        read(source(tmp_path), bands=("z",))
    broken = tmp_path / f"Public/Band1/imageSDSS_R-{FIRST}.fits"
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(ConfigError, match=rf"imageSDSS_R-{FIRST}.fits: .*take its ID out of the key"):
        read(source(tmp_path))


def test_parts_by_id_share_nothing(tmp_path: Path):
    write_ground(tmp_path, n=40)
    write_key(tmp_path, f"{HEADER}\n{rows(40)}")
    parts = [read(source(tmp_path, part=part)) for part in ("train", "validation", "test")]
    means = [set(pixels(part)[:, 0, 5, 5].tolist()) for part in parts]
    assert sum(map(len, means)) == len(set.union(*means)) == 40
