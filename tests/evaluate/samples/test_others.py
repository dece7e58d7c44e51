"""Samples without a known lens, and what thresholds do on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.evaluate.config import DetectionsConfig, OthersConfig
from pipeline.evaluate.samples.others import open_detections, open_others
from pipeline.evaluate.splits import identity
from pipeline.splits import split_of, stamps_in_split
from tests.sims.scan_of_galaxies import COLUMNS, ROWS, SCALE, SIDE, STEP, write_scan

SHARES = {"train": 0.5, "validation": 0.0, "test": 0.5}


def others(folder: Path, **changes: object) -> OthersConfig:
    values = {
        "kind": "others",
        "name": "hst",
        "stamps": str(folder),
        "bands": ["VIS"],
        "pixel_scale": "0.05 arcsec",
        "size": "1 arcsec",
        "zero_point": "28.9 mag",
        "shares": SHARES,
    }
    return OthersConfig.model_validate({**values, **changes})


def detections(scan: Path, **changes: object) -> DetectionsConfig:
    values = {"kind": "detections", "name": "own", "scan": str(scan), "cell": "1 arcmin", "shares": SHARES}
    return DetectionsConfig.model_validate({**values, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "stamps"
    path.mkdir()
    for number in range(10):
        fits.writeto(path / f"s{number}.fits", np.full((30, 30), number, np.float32))
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "out")


def test_a_folders_middles_are_others_in_nanojansky(folder: Path) -> None:
    sample = open_others(others(folder))
    (part,) = sample.parts()
    assert part.image.shape == (10, 1, 20, 20)
    # 2.5 mag above 28.9 is a factor of 10.
    np.testing.assert_allclose(part.image[:, 0, 3, 4], 10 * np.arange(10), rtol=1e-5)
    assert not sample.lens.any()
    np.testing.assert_array_equal(sample.stamp(3).image, part.image[3])


def test_files_are_dealt_out_by_their_names(folder: Path) -> None:
    names = {split: set(open_others(others(folder, split=split)).truth["name"]) for split in ("train", "test")}
    assert names["train"] | names["test"] == {f"s{number}" for number in range(10)}
    assert all(split_of(name, SHARES) == split for split, found in names.items() for name in found)


def test_unreadable_files_are_counted_and_nothing_to_read_is_an_error(folder: Path) -> None:
    (folder / "s3.fits").write_bytes(b"SIMPLE  = nonsense")
    sample = open_others(others(folder))
    assert len(sample) == 9
    assert "1 files can't be read" in sample.notes
    with pytest.raises(ConfigError, match="no stamp of split 'validation'"):
        open_others(others(folder, split="validation"))


def test_every_detection_of_a_scan_is_there_with_its_own_cutout(scan: Path) -> None:
    sample = open_detections(detections(scan), 1)
    assert len(sample) == ROWS * COLUMNS
    image = np.concatenate([part.image for part in sample.parts()])
    assert image.shape == (ROWS * COLUMNS, 3, SIDE, SIDE)
    assert sample.pixel_scale == SCALE
    np.testing.assert_array_equal(sample.stamp(77).image, image[77])
    np.testing.assert_allclose(sample.truth["ra"][77], 150.0 + 77 % COLUMNS * STEP)
    assert identity(sample).cells


def test_a_split_of_the_sky_and_a_limit_choose_detections(scan: Path) -> None:
    every = open_detections(detections(scan), 1)
    config = detections(scan, split="test")
    sample = open_detections(config, 1)
    ra, dec = every.truth["ra"], every.truth["dec"]
    wanted = stamps_in_split(ra, dec, SIDE * SCALE / 2 / 3600, "test", config.cell, SHARES)
    assert 0 < wanted.sum() < len(ra)
    np.testing.assert_array_equal(sample.truth["name"], every.truth["name"][wanted])
    few = open_detections(detections(scan, limit=7), 1)
    assert len(few) == 7
    places = [list(every.truth["name"]).index(name) for name in few.truth["name"]]
    images = np.concatenate([part.image for part in every.parts()])[places]
    np.testing.assert_array_equal(np.concatenate([part.image for part in few.parts()]), images)


def test_a_folder_that_is_no_scan_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no cutout in split 'all'"):
        open_detections(detections(tmp_path), 1)
