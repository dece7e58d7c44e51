"""The folder of a study of lensed quasars: its two lists and its images, in the variants that they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.train.data import Stamps, read_stamps
from pipeline.train.data_config import CandidateListsConfig
from pipeline.train.sources.candidate_lists import read_names

SUFFIX = "_HSC-I_img.fits"
NAMES = [f"J0000{k:02d}.78+0455{k:02d}.67" for k in range(12)]
SELECTED = [NAMES[7], NAMES[2]]


def write(root: Path, *, without: tuple[str, ...] = (), raw: str | None = None, selected: str | None = None) -> None:
    folder = root / "fits_data"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        if name not in without:
            image = np.full((21, 21), float(number), ">f4")
            image[10, 10] = 100 + number
            hdus = [fits.PrimaryHDU(), fits.ImageHDU(image), fits.ImageHDU(np.zeros((21, 21), np.int32))]
            fits.HDUList(hdus).writeto(folder / f"{name}{SUFFIX}")
    (root / "candidates_list_raw.txt").write_text("\n".join(NAMES) + "\n" if raw is None else raw)
    (root / "candidates_list_selected.txt").write_text("\n".join(SELECTED) if selected is None else selected)


def source(path: Path, **changes: Any) -> CandidateListsConfig:
    return CandidateListsConfig.model_validate({"kind": "candidate_lists", "path": str(path), **changes})


def read(path: Path, **changes: Any) -> Stamps:
    return read_stamps([source(path, **changes)], ("i",), 0.168, 21)


def test_selected_candidates_are_the_lenses_and_units_are_nanojanskys(tmp_path: Path):
    write(tmp_path)
    stamps = read(tmp_path)
    assert [NAMES[row] for row in np.flatnonzero(stamps.lens)] == sorted(SELECTED)
    pixels = stamps.take(np.arange(len(stamps)), np.zeros(len(stamps), bool))[0].numpy()
    # HSC's zero point is 27 mag, that of a nanojansky 31.4: a factor of 10^(0.4 * 4.4) = 57.544.
    np.testing.assert_allclose(pixels[5, 0, 10, 10], 105 * 57.544, rtol=1e-3)
    np.testing.assert_allclose(pixels[5, 0, 0, 0], 5 * 57.544, rtol=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "A\nB\n",
        "\ufeffA\r\nB\r\n\r\n",
        "# found by eye\nA, 1\nB, 0\n",
        "name label\nA 1\nB 1  # sure\n",
        "A\nB\nA\n",
        f"fits_data/A{SUFFIX}\nB{SUFFIX}",
    ],
)
def test_a_list_is_read_in_its_variants(tmp_path: Path, text: str):
    path = tmp_path / "list.txt"
    path.write_text(text.replace("A", NAMES[0]).replace("B", NAMES[1]), encoding="utf-8")
    assert read_names(path, SUFFIX) == NAMES[:2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{NAMES[0]}\n1.5 2.5\n", r"line 2 is '1\.5 2\.5'"),
        ("", "no candidate's name in it"),
        ("name\n", "no candidate's name in it"),
        ("J12+34\n", "no candidate's name in it"),
    ],
)
def test_a_list_of_something_else_says_where(tmp_path: Path, text: str, message: str):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_names(tmp_path / "list.txt", SUFFIX)


def test_candidates_without_an_image_are_named_and_left_out_where_that_is_asked_for(tmp_path: Path):
    write(tmp_path, without=(NAMES[2], NAMES[4]))
    with pytest.raises(ConfigError, match=r"2 of 12 candidates have no image, the first is J000002"):
        read(tmp_path)
    stamps = read(tmp_path, missing="leave_out")
    assert len(stamps) == 10
    assert stamps.lens.sum() == 1


def test_a_selected_candidate_that_the_raw_list_lacks_is_a_lens_all_the_same(tmp_path: Path):
    write(tmp_path, raw="\n".join(NAMES[:7]))
    stamps = read(tmp_path)
    assert len(stamps) == 8
    assert np.flatnonzero(stamps.lens).tolist() == [2, 7]


def test_what_is_missing_or_damaged_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"candidates_list_selected\.txt: cannot be read"):
        read(tmp_path)
    for name in ("raw", "selected"):
        (tmp_path / f"candidates_list_{name}.txt").write_text("\n".join(NAMES))
    with pytest.raises(ConfigError, match="fits_data: no such folder"):
        read(tmp_path)
    other = tmp_path / "other"
    write(other)
    with pytest.raises(ConfigError, match="of band i alone, and g, r is wanted"):
        read_stamps([source(other)], ("g", "r"), 0.168, 21)
    broken = other / "fits_data" / f"{NAMES[3]}{SUFFIX}"
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(ConfigError, match=r"J000003.*take the candidate out of the lists"):
        read(other)


def test_parts_by_name_share_nothing(tmp_path: Path):
    write(tmp_path)
    parts = [set(), set()]
    for number, part in enumerate(("train", "test")):
        stamps = read_stamps([source(tmp_path, part=part)], ("i",), 0.168, 21, both_classes=False)
        pixels = stamps.take(np.arange(len(stamps)), np.zeros(len(stamps), bool))[0].numpy()
        parts[number] = set(pixels[:, 0, 10, 10].tolist())
    assert parts[0]
    assert parts[1]
    assert not parts[0] & parts[1]
