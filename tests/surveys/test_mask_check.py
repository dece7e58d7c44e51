"""What is noted about mask planes that say other things than the survey's TOML expects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.flags import PixelFlag
from pipeline.notes import FieldWarning, listening, note
from pipeline.surveys import Survey, open_survey

Make = Callable[..., Survey]
Write = Callable[..., Path]
SHAPE = (30, 40)


def notes(survey: Survey, *bands: str) -> list[str]:
    with listening() as heard:
        survey.check_masks(survey.open(survey.fields()[0], bands or ("g", "r")))
    return heard


def reworded(tmp_path: Path, old: str, new: str) -> Survey:
    path = tmp_path / "survey.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return open_survey(path)


def put(write_fits: Write, tmp_path: Path, mask: np.ndarray[Any, Any], band: str = "r", **header: Any) -> None:
    from tests.surveys.conftest import wcs_cards

    write_fits(tmp_path / f"data/F1/F1_{band}_mask.fits", mask, primary={**wcs_cards(), **header})


def test_masks_that_say_what_they_should_are_not_noted(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    survey = tiny_survey()
    mask = np.zeros(SHAPE, np.int16)
    mask[3, 4] = 1 << 1 | 1 << 5
    put(write_fits, tmp_path, mask)
    assert notes(survey) == []


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_unknown_bits_are_told_with_file_and_pixels_and_change_nothing(
    tiny_survey: Make, tmp_path: Path, write_fits: Write, kind: type
) -> None:
    survey = tiny_survey()
    mask = np.zeros(SHAPE, kind)
    mask[0, :7] = 1 << 6
    mask[1, :2] = 1 << 6 | 1 << 1
    mask[29, 39] = 1
    put(write_fits, tmp_path, mask)
    (told,) = notes(survey)
    assert "F1_r_mask.fits" in told
    assert "bits 0 (1 px), 6 (9 px) mean nothing" in told
    assert "planes.mask.bits or in planes.mask.ignored" in told
    read = survey.open(survey.fields()[0], ("r",)).read(0, 30).mask[0]
    assert read[1, 0] == PixelFlag.SATURATED
    assert (read != 0).sum() == 2


def test_unknown_bits_have_the_name_that_the_header_gives_them(
    tiny_survey: Make, tmp_path: Path, write_fits: Write
) -> None:
    survey = tiny_survey()
    mask = np.zeros(SHAPE, np.int32)
    mask[2, 2:5] = 1 << 8
    put(write_fits, tmp_path, mask, MP_TRACK=8, MP_SAT=1)
    assert "bits 8 TRACK (3 px)" in notes(survey)[0]


@pytest.mark.parametrize("ignored", ["8", '"TRACK"'])
def test_bits_that_are_to_be_ignored_are_not_told_and_make_no_product_stale(
    tiny_survey: Make, tmp_path: Path, write_fits: Write, ignored: str
) -> None:
    before = tiny_survey().provenance()
    mask = np.zeros(SHAPE, np.int32)
    mask[2, 2:5] = 1 << 8
    put(write_fits, tmp_path, mask, MP_TRACK=8)
    survey = reworded(tmp_path, "bits = {", f'ignored = [{ignored}, "NOT_THERE"]\nbits = {{')
    assert notes(survey) == []
    assert survey.provenance() == before


def test_a_bit_of_another_band_of_a_shared_mask_is_known(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    tiny_survey()
    mask = np.zeros(SHAPE, np.int16)
    mask[5, 5] = 1 << 7
    put(write_fits, tmp_path, mask, "g")
    survey = reworded(tmp_path, 'r = "r"', '[bands.r]\nnative = "r"\nmask_bits = { BLEED = [7] }')
    assert notes(survey) == []


def test_unknown_codes_are_told_and_the_list_stays_short(tiny_survey: Make, tmp_path: Path, write_fits: Write) -> None:
    tiny_survey()
    mask = np.zeros(SHAPE, np.int16)
    mask[0, :4], mask[1, :5] = 3, 9
    put(write_fits, tmp_path, mask)
    survey = reworded(tmp_path, "bits = { SATURATED = [1], COSMIC_RAY = [4, 5] }", "codes = { SATURATED = [3] }")
    (told,) = notes(survey)
    assert "values 9 (5 px) mean nothing" in told
    assert "planes.mask.codes" in told
    put(write_fits, tmp_path, np.arange(1200, dtype=np.int16).reshape(SHAPE))
    (told,) = notes(survey)
    assert "and 1190 more" in told
    assert len(told) < 600
    assert notes(reworded(tmp_path, "codes = {", f"ignored = {list(range(1200))}\ncodes = {{")) == []


def test_a_mask_of_everything_is_told_with_the_flags_that_do_it(
    tiny_survey: Make, tmp_path: Path, write_fits: Write
) -> None:
    survey = tiny_survey()
    mask = np.full(SHAPE, 1 << 4, np.int16)
    mask[:10] = 0
    put(write_fits, tmp_path, mask)
    (told,) = notes(survey)
    assert "flags 67 % of band r of field F1 fatally (COSMIC_RAY)" in told
    mask[:20] = 0
    put(write_fits, tmp_path, mask)
    assert notes(survey) == []


def test_the_sign_of_a_short_mask_raises_no_bits_that_it_does_not_have(
    tiny_survey: Make, tmp_path: Path, write_fits: Write
) -> None:
    tiny_survey()
    mask = np.zeros(SHAPE, np.int16)
    mask[4, 4] = -32768
    put(write_fits, tmp_path, mask)
    survey = reworded(tmp_path, "COSMIC_RAY = [4, 5]", "COSMIC_RAY = [20], TRAIL = [15]")
    assert survey.open(survey.fields()[0], ("r",)).read(0, 30).mask[0, 4, 4] == PixelFlag.TRAIL
    assert notes(survey) == []


def test_a_survey_without_masks_has_nothing_to_check(tiny_survey: Make) -> None:
    assert notes(tiny_survey(mask=False)) == []


def test_a_note_that_nobody_listens_to_is_a_warning_and_one_that_is_heard_is_kept_once() -> None:
    with pytest.warns(FieldWarning, match="odd"):
        note("odd")
    with listening() as outer:
        note("odd")
        note("odd")
        with listening() as inner:
            note("inside")
        note("even")
    assert (outer, inner) == (["odd", "even"], ["inside"])
