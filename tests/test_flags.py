"""Flags: bits that stand in products for good, and the ways in and out of them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import (
    FATAL,
    FATAL_MASK,
    FOUND_SHIFT,
    PixelFlag,
    VetFlag,
    decode,
    describe,
    either,
    encode,
    fatal,
    has,
    mask_value,
)

# Products on disk hold these numbers. A flag may be added at a free bit; nothing here may change.
PIXEL_BITS = {
    "NODATA": 0,
    "CHIP_GAP": 1,
    "EDGE": 2,
    "BADPIX": 3,
    "BADCOLUMN": 4,
    "SATURATED": 5,
    "BLEED": 6,
    "COSMIC_RAY": 7,
    "INTERPOLATED": 8,
    "TRAIL": 9,
    "SPIKE": 10,
    "GHOST": 11,
    "HALO": 12,
    "BRIGHT_OBJECT": 13,
    "SEAM": 14,
    "LOW_EXPOSURE": 15,
}
VET_BITS = {
    "CENTRE_MASKED": 0,
    "CHIP_GAP_CROSSES": 1,
    "TRAIL_CROSSES": 2,
    "PARTIAL_COVERAGE": 3,
    "MISSING_BAND": 4,
    "BRIGHT_STAR": 5,
    "SEAM": 6,
    "ARTEFACT_LIKELY": 7,
    "OUT_OF_DISTRIBUTION": 8,
    "MEMBERS_DISAGREE": 9,
    "KNOWN_LENS": 10,
}
FATAL_NAMES = {
    "NODATA",
    "CHIP_GAP",
    "EDGE",
    "BADPIX",
    "BADCOLUMN",
    "SATURATED",
    "BLEED",
    "COSMIC_RAY",
    "TRAIL",
    "GHOST",
}


@pytest.mark.parametrize(("kind", "bits"), [(PixelFlag, PIXEL_BITS), (VetFlag, VET_BITS)])
def test_bits_keep_their_numbers_and_names(kind: type[PixelFlag] | type[VetFlag], bits: dict[str, int]) -> None:
    there = {str(flag.name): flag.value.bit_length() - 1 for flag in kind}
    assert bits.items() <= there.items()
    assert len(set(there.values())) == len(there)
    assert all(flag.value == 1 << there[str(flag.name)] for flag in kind)


def test_pixel_flags_leave_the_upper_half_to_what_we_find_and_vet_flags_fit_32_bits() -> None:
    assert FOUND_SHIFT == 16
    assert all(flag.value < 1 << FOUND_SHIFT for flag in PixelFlag)
    assert all(flag.value < 1 << 32 for flag in VetFlag)


def test_the_fatal_flags_are_those_written_down() -> None:
    assert {flag.name for flag in PixelFlag if flag & FATAL} == FATAL_NAMES
    assert {meaning.name for meaning in describe(PixelFlag) if meaning.fatal} == FATAL_NAMES
    assert not any(meaning.fatal for meaning in describe(VetFlag))


@pytest.mark.parametrize("kind", [PixelFlag, VetFlag])
def test_every_flag_is_described_once(kind: type[PixelFlag] | type[VetFlag]) -> None:
    meanings = describe(kind)
    assert [meaning.name for meaning in meanings] == [flag.name for flag in kind]
    assert [1 << meaning.bit for meaning in meanings] == [flag.value for flag in kind]
    assert all(len(meaning.description) > 5 for meaning in meanings)
    assert len({meaning.description for meaning in meanings}) == len(meanings)


@pytest.mark.parametrize("kind", [PixelFlag, VetFlag])
def test_names_go_in_and_come_out_lowest_bit_first(kind: type[PixelFlag] | type[VetFlag]) -> None:
    names = [str(flag.name) for flag in kind]
    assert decode(encode(reversed(names), kind), kind) == names
    assert decode(0, kind) == []
    assert encode([], kind) == 0
    for name in names:
        assert decode(np.uint32(encode([name, name], kind)), kind) == [name]


def test_an_unknown_name_or_bit_of_a_mask_is_refused() -> None:
    with pytest.raises(KeyError, match="SEEM"):
        encode(["SEEM"], VetFlag)
    with pytest.raises(ValueError, match=r"0x80000001 has bits that PixelFlag does not define: 0x80000000"):
        decode(0x80000001, PixelFlag)
    with pytest.raises(ValueError, match="VetFlag"):
        decode(-1, VetFlag)


def test_a_vet_flag_of_a_later_version_is_told_by_its_bit() -> None:
    assert decode((1 << 27) | (1 << 31) | int(VetFlag.SEAM), VetFlag) == ["SEAM", "bit 27", "bit 31"]


def test_a_mask_folds_to_whoever_set_a_bit() -> None:
    survey, found = mask_value(PixelFlag.TRAIL), mask_value(PixelFlag.HALO, found=True)
    mask = np.array([0, survey, found, survey | found], np.uint32)
    folded = either(mask)
    assert folded.dtype == np.uint32
    assert [decode(value, PixelFlag) for value in folded] == [[], ["TRAIL"], ["HALO"], ["TRAIL", "HALO"]]
    assert has(mask, PixelFlag.TRAIL).tolist() == [False, True, False, True]
    assert has(mask, PixelFlag.TRAIL | PixelFlag.HALO).tolist() == [False, True, True, True]
    assert has(mask, PixelFlag.SEAM).tolist() == [False] * 4


def test_every_flag_of_either_half_is_fatal_or_not_as_it_should_be() -> None:
    for flag in PixelFlag:
        for found in (False, True):
            mask = np.array([[mask_value(flag, found)]], np.uint32)
            assert fatal(mask).tolist() == [[flag.name in FATAL_NAMES]]
            assert bool(mask[0, 0] & FATAL_MASK) == (flag.name in FATAL_NAMES)


def test_the_highest_found_flag_is_a_uint32() -> None:
    assert mask_value(PixelFlag.LOW_EXPOSURE, found=True) == np.uint32(1 << 31)
    assert decode(either(np.array([1 << 31], np.uint32))[0], PixelFlag) == ["LOW_EXPOSURE"]
