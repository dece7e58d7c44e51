"""Variations of a batch: what they may change, and that chance is only the generator's."""

from __future__ import annotations

import pytest
import torch

from pipeline.train.augment import augment
from pipeline.train.config import AugmentConfig

NOTHING = AugmentConfig(
    flips=False,
    shift="0.01 arcsec",
    zoom=1.0,
    zoom_share=0,
    noise=0,
    noise_share=0,
    blur_share=0,
    gain=0,
    band_gain=0,
    gap_share=0,
)


def batch(n: int = 32, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.randn((n, 3, size, size), generator=torch.Generator().manual_seed(1)) * 10
    valid = torch.ones(image.shape, dtype=torch.bool)
    valid[:, 1, 5:9, 40:50] = False
    return torch.where(valid, image, torch.nan), valid


def vary(config: AugmentConfig, seed: int = 7, **keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    return augment(*batch(**keys), config, torch.Generator().manual_seed(seed), size=64, pixel_scale=0.3)


def test_nothing_asked_for_changes_nothing_but_invalid_pixels_to_zero():
    image, valid = batch()
    answer, kept = vary(NOTHING)
    assert torch.equal(kept, valid)
    assert torch.equal(answer, torch.where(valid, image, 0.0))


def test_the_same_seed_gives_the_same_stamps_and_another_seed_others():
    everything = AugmentConfig()
    first, again, other = vary(everything), vary(everything), vary(everything, seed=8)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_everything_at_once_stays_finite_and_zero_where_invalid():
    answer, kept = vary(AugmentConfig(gap_share=1, noise_share=1, blur_share=1, zoom_share=1), n=40)
    assert answer.shape == kept.shape == (40, 3, 64, 64)
    assert torch.isfinite(answer).all()
    assert (answer[~kept] == 0).all()


def test_flips_keep_every_pixel():
    image, valid = batch()
    answer, kept = vary(NOTHING.model_copy(update={"flips": True}))
    before = torch.where(valid, image, 0.0).flatten(2).sort(-1).values
    assert torch.equal(answer.flatten(2).sort(-1).values, before)
    assert torch.equal(kept.flatten(2).sum(-1), valid.flatten(2).sum(-1))


@pytest.mark.parametrize("size", [60, 64, 65, 72])
def test_any_pool_size_comes_out_at_the_networks(size: int):
    answer, kept = vary(NOTHING.model_copy(update={"shift": 0.9}), size=size)
    assert answer.shape[-1] == 64
    assert kept.float().mean() > 0.8


def test_gaps_invalidate_about_the_share_asked_for_and_not_every_band_always():
    config = NOTHING.model_copy(update={"gap_share": 0.5, "gap": 4.0})
    _, kept = vary(config, n=400)
    lost = (~kept).flatten(2).sum(-1) > (~batch(400)[1]).flatten(2).sum(-1)
    assert 0.25 < lost.any(1).float().mean() < 0.55
    assert (lost.any(1) & ~lost.all(1)).any()


def test_added_noise_is_in_units_of_the_noise_there():
    config = NOTHING.model_copy(update={"noise": 1.0, "noise_share": 1.0})
    image, valid = batch(200)
    answer, _ = vary(config, n=200)
    added = (answer - torch.where(valid, image, 0.0))[:, 0].flatten(1).std(1)
    assert 0.2 < added.mean() / 10 < 0.8
    assert added.max() / 10 < 1.2
