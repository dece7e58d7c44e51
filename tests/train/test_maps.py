"""What a network that draws maps is shown, and how it is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.evaluate.map_metrics import overlap, peak_distance
from pipeline.flags import PixelFlag, mask_value
from pipeline.train.augment import augment_with_maps
from pipeline.train.augment_config import AugmentConfig
from pipeline.train.data import read_stamps
from pipeline.train.data_config import FoldersConfig
from pipeline.train.donors import Donors, paste
from pipeline.train.method_config import MapTargets
from pipeline.train.sources import open_rows
from pipeline.train.sources.pools import true_maps

BANDS = ("g", "r", "i")
QUIET = AugmentConfig(
    flips=False, shift="0.01 arcsec", zoom_share=0, noise_share=0, blur_share=0, gain=0, band_gain=0, gap_share=0
)


def pool(path: Path, **changes: object) -> None:
    rng = np.random.default_rng(4)
    arc = np.zeros((4, 8, 8), np.float32)
    arc[1, 2, 3], arc[3, 6:8, 1] = 3.0, 1.5
    mask = np.zeros((4, 3, 8, 8), np.uint32)
    mask[0, 2, 4, 4] = mask_value(PixelFlag.TRAIL, found=True)
    mask[2, 0, 1, 1] = mask_value(PixelFlag.BRIGHT_OBJECT)
    arrays = {
        "image": rng.normal(size=(4, 3, 8, 8)).astype(np.float32),
        "ivar": np.full((4, 3, 8, 8), 0.25, np.float32),
        "mask": mask,
        "arc": arc,
        "label": np.array([0, 1, 0, 1]),
        "bands": np.array(BANDS),
        "pixel_scale": 0.3,
    }
    arrays.update(changes)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_lens_light_is_where_the_arc_is_above_the_noise_and_artefact_where_a_flag_is(tmp_path: Path):
    pool(tmp_path / "pool-0.npz")
    stamps = read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3, targets=MapTargets())
    maps = stamps.take_maps(np.arange(4)).numpy()
    lit = np.zeros((4, 8, 8))
    # The noise is 2 nJy: an arc of 3 is above it, one of 1.5 is not.
    lit[1, 2, 3] = 1
    np.testing.assert_array_equal(maps[:, 0], lit)
    touched = np.zeros((4, 8, 8))
    touched[0, 4, 4] = 1
    np.testing.assert_array_equal(maps[:, 1], touched)


def test_maps_are_part_of_the_digest(tmp_path: Path):
    digests = set()
    for sigma in (1.0, 0.5):
        pool(tmp_path / "pool-0.npz")
        targets = MapTargets(arc_sigma=sigma)
        digests.add(read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3, targets=targets).digest)
    assert len(digests) == 2


def test_a_pool_without_arcs_is_refused_where_maps_are_wanted(tmp_path: Path):
    pool(tmp_path / "pool-0.npz", arc=None)
    with pytest.raises(ConfigError, match=r"pool-0\.npz: a pool needs arc"):
        read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3, targets=MapTargets())


def test_stamps_without_true_arcs_cannot_teach_maps(tmp_path: Path):
    source = FoldersConfig(kind="folders", path=str(tmp_path), pixel_scale="0.3 arcsec")
    with pytest.raises(ConfigError, match="no true arcs"):
        open_rows(source, BANDS, 0.3, MapTargets())


def test_an_unknown_flag_is_named():
    with pytest.raises(ValueError, match="no pixel flag 'GOST'"):
        MapTargets(artefacts=("GOST",))


def test_where_the_arcs_band_has_no_data_another_band_tells_the_noise():
    ivar = np.zeros((1, 3, 4, 4), np.float32)
    ivar[0, 2] = 1.0
    arc = np.full((1, 4, 4), 2.0, np.float32)
    maps = true_maps(arc, ivar, np.zeros((1, 3, 4, 4), np.uint32), 1, MapTargets())
    assert maps[0, 0].all()
    ivar[0, 2] = 0.0
    assert not true_maps(arc, ivar, np.zeros((1, 3, 4, 4), np.uint32), 1, MapTargets())[0, 0].any()


def test_maps_turn_and_shift_with_their_stamps():
    moving = QUIET.model_copy(update={"flips": True, "shift": 1.5, "zoom_share": 1.0})
    spot = torch.zeros(32, 1, 40, 40)
    spot[:, :, 12:16, 22:26] = 100.0
    maps = torch.zeros(32, 2, 40, 40)
    maps[:, 0] = (spot[:, 0] > 0).float()
    image, _, drawn = augment_with_maps(
        spot.expand(-1, 3, -1, -1).clone(),
        torch.ones(32, 3, 40, 40, dtype=torch.bool),
        maps,
        moving,
        torch.Generator().manual_seed(2),
        size=40,
        pixel_scale=0.3,
    )
    lit = image[:, 0] > 0.5 * image[:, 0].amax((1, 2), keepdim=True)
    assert overlap(drawn[:, 0].bool().numpy(), lit.numpy()).min() > 0.5
    assert len({tuple(place.tolist()) for place in lit.nonzero()[:, 1:]}) > 16


def test_what_variation_takes_away_is_artefact():
    image = torch.randn(8, 3, 40, 40)
    config = QUIET.model_copy(update={"gap_share": 1.0, "gap": 4.0})
    _, valid, drawn = augment_with_maps(
        image,
        torch.ones(image.shape, dtype=torch.bool),
        torch.zeros(8, 2, 40, 40),
        config,
        torch.Generator().manual_seed(3),
        size=40,
        pixel_scale=0.3,
    )
    assert torch.equal(drawn[:, 1].bool(), ~valid.all(1))
    assert drawn[:, 1].any()


@pytest.mark.parametrize("told", [0.0, 1.0])
def test_a_donated_artefact_stands_in_one_band_and_is_known_where_told_of(told: float):
    excess = np.full((1, 40, 40), np.nan, np.float16)
    excess[0, 10, 5:9] = 50.0
    image = torch.randn(64, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    before, valid, maps = image.clone(), torch.ones(image.shape, dtype=torch.bool), torch.zeros(64, 2, 40, 40)
    config = QUIET.model_copy(update={"donor_share": 0.5, "mask_share": told})
    paste(image, valid, maps, Donors(excess), config, torch.Generator().manual_seed(5))
    changed = image != before
    given = changed.flatten(1).any(1)
    assert 16 < int(given.sum()) < 48
    assert (changed.flatten(2).any(2).sum(1)[given] == 1).all()
    assert (changed.flatten(1).sum(1)[given] == 4).all()
    assert torch.equal(maps[:, 1].bool(), changed.any(1))
    assert torch.equal(~valid, changed if told else torch.zeros_like(changed))
    # 50 times the noise of the stamp, which is 1.
    assert (image - before)[changed].mean() == pytest.approx(50, rel=0.2)


def test_overlap_and_distance_of_maps_by_hand():
    drawn, truth = np.zeros((3, 6, 6), bool), np.zeros((3, 6, 6), bool)
    drawn[0, 1, 1:4] = truth[0, 1, 2:5] = True
    drawn[1, 0, 0] = True
    shares = overlap(drawn, truth)
    assert shares[:2].tolist() == [0.5, 0.0]
    assert np.isnan(shares[2])
    peaks = np.zeros((3, 6, 6))
    peaks[0, 1, 5], peaks[1, 2, 2] = 1.0, 1.0
    assert peak_distance(peaks, truth).tolist() == [1.0, np.inf, np.inf]
