from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import PixelFlag, VetFlag
from pipeline.scan.cutouts_stats import stamp_stats
from pipeline.scan.vet import vet_flags
from pipeline.scan_config import VetConfig

CONFIG = VetConfig()


def flags_of(mask: np.ndarray, std: float | None = None, bands_used: int = 0xFF) -> VetFlag:
    stats = stamp_stats(mask[None].astype(np.uint32), 3.0)
    spread = None if std is None else np.array([std], np.float32)
    return VetFlag(int(vet_flags(stats, spread, CONFIG, mask.shape[1] * mask.shape[2], bands_used)[0]))


def blank() -> np.ndarray:
    return np.zeros((2, 40, 40), np.uint32)


def test_a_clean_stamp_has_no_flag():
    assert flags_of(blank(), std=0.1) == VetFlag(0)


@pytest.mark.parametrize("half", [0, 16])
@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (PixelFlag.CHIP_GAP, VetFlag.CHIP_GAP_CROSSES),
        (PixelFlag.TRAIL, VetFlag.TRAIL_CROSSES),
        (PixelFlag.SEAM, VetFlag.SEAM),
        (PixelFlag.SATURATED, VetFlag.BRIGHT_STAR),
        (PixelFlag.HALO, VetFlag.BRIGHT_STAR),
    ],
)
def test_an_artefact_that_crosses_off_centre_is_named_from_either_half(flag, expected, half):
    mask = blank()
    mask[1, 3, :] = int(flag) << half
    assert flags_of(mask) == expected


def test_fewer_pixels_than_cross_are_let_pass():
    mask = blank()
    mask[0, 3, : CONFIG.crossing_pix - 1] = PixelFlag.CHIP_GAP
    assert flags_of(mask) == VetFlag(0)


def test_a_fatal_pixel_on_the_centre_masks_it():
    mask = blank()
    mask[0, 20, 20] = PixelFlag.COSMIC_RAY
    assert flags_of(mask) == VetFlag.CENTRE_MASKED
    mask[0, 20, 20] = PixelFlag.INTERPOLATED
    assert flags_of(mask) == VetFlag(0)


def test_missing_pixels_make_coverage_partial_and_a_missing_band_counts_where_it_is_used():
    mask = blank()
    mask[1, :5] = PixelFlag.NODATA
    assert flags_of(mask) == VetFlag.PARTIAL_COVERAGE
    mask[1] = PixelFlag.NODATA
    assert VetFlag.MISSING_BAND in flags_of(mask)
    assert VetFlag.MISSING_BAND not in flags_of(mask, bands_used=0b01)


def test_members_disagree_above_the_limit_and_not_where_nothing_was_scored():
    assert flags_of(blank(), std=CONFIG.disagree_log_odds - 0.1) == VetFlag(0)
    assert flags_of(blank(), std=CONFIG.disagree_log_odds + 0.1) == VetFlag.MEMBERS_DISAGREE
    assert flags_of(blank(), std=float("nan")) == VetFlag(0)


def test_no_stamps_have_no_flags():
    stats = stamp_stats(np.zeros((0, 2, 4, 4), np.uint32), 1.0)
    assert vet_flags(stats, np.zeros(0, np.float32), CONFIG, 16).shape == (0,)


def test_what_is_less_familiar_than_the_share_is_out_of_distribution_and_unknown_is_not():
    stats = stamp_stats(np.zeros((3, 2, 4, 4), np.uint32), 1.0)
    ood = np.array([CONFIG.unfamiliar_share, 1.0, np.nan], np.float32)
    assert vet_flags(stats, None, CONFIG, 16, ood=ood).tolist() == [0, VetFlag.OUT_OF_DISTRIBUTION, 0]
