"""Variations of a batch: what they may change, and that chance is only the generator's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.train.augment import augment
from pipeline.train.augment_config import AugmentConfig
from pipeline.train.augment_picture import through_picture
from pipeline.train.augment_place import blurred

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
    shares = ("gap", "edge", "noise", "blur", "zoom", "shuffle", "background", "picture", "dropout", "jpeg")
    answer, kept = vary(AugmentConfig.model_validate({f"{name}_share": 1.0 for name in shares}), n=40)
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
    assert kept.float().mean() > 0.6


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


def test_the_input_is_left_as_it_was():
    image, valid = batch()
    before, known = image.clone(), valid.clone()
    shares = ("gap", "edge", "noise", "shuffle", "picture", "dropout")
    everything = AugmentConfig.model_validate({f"{name}_share": 1.0 for name in shares})
    augment(image, valid, everything, torch.Generator().manual_seed(1), size=64, pixel_scale=0.3)
    assert torch.equal(image.nan_to_num(), before.nan_to_num())
    assert torch.equal(valid, known)


def star(fwhm: float, size: int = 65) -> torch.Tensor:
    """A round Gaussian of flux 1 in the centre."""
    axis = torch.arange(size) - size // 2
    squared = (axis[:, None].square() + axis[None, :].square()).float()
    image = torch.exp2(-squared / (fwhm / 2) ** 2)
    return (image / image.sum())[None, None]


@pytest.mark.parametrize("profile", ["gaussian", "moffat"])
def test_a_worse_seeing_keeps_the_flux(profile: str):
    image = star(3.0)
    answer, _ = blurred(image, torch.ones_like(image, dtype=torch.bool), 2.5, profile)
    assert answer.sum().item() == pytest.approx(1, abs=1e-3)
    assert answer.max() < image.max()


def test_widths_of_seeing_and_gaussian_kernel_add_in_quadrature():
    image = star(4.0)
    answer, _ = blurred(image, torch.ones_like(image, dtype=torch.bool), 3.0)
    torch.testing.assert_close(answer, star(5.0), atol=3e-4, rtol=0)


def test_nothing_spreads_out_of_invalid_pixels_or_in_from_the_edge():
    image = torch.full((1, 1, 24, 24), 7.0)
    valid = torch.ones_like(image, dtype=torch.bool)
    valid[..., 10:13, 5:20] = False
    answer, kept = blurred(image.masked_fill(~valid, 0.0), valid, 3.0)
    assert torch.equal(kept, valid)
    torch.testing.assert_close(answer[valid], image[valid])
    assert (answer[~valid] == 0).all()


def test_shuffled_bands_are_the_same_bands_in_another_order():
    image, valid = batch(60)
    answer, kept = vary(NOTHING.model_copy(update={"shuffle_share": 1.0}), n=60)
    before = torch.where(valid, image, 0.0)
    assert not torch.equal(answer, before)
    assert torch.equal(answer.flatten(2).sum(-1).sort(1).values, before.flatten(2).sum(-1).sort(1).values)
    assert torch.equal(kept.flatten(2).sum(-1).sort(1).values, valid.flatten(2).sum(-1).sort(1).values)


def test_a_missing_band_is_invalid_everywhere_and_the_others_untouched():
    _, valid = batch(60)
    _, kept = vary(NOTHING.model_copy(update={"dropout_share": 1.0}), n=60)
    gone = ~kept.flatten(2).any(-1)
    assert (gone.sum(1) == 1).all()
    assert gone.any(0).all()
    assert torch.equal(kept[~gone], valid[~gone])


def test_the_only_band_is_never_missing():
    image = torch.ones(8, 1, 64, 64)
    config = NOTHING.model_copy(update={"dropout_share": 1.0, "shuffle_share": 1.0})
    keys = {"size": 64, "pixel_scale": 0.3}
    _, kept = augment(image, image > 0, config, torch.Generator().manual_seed(1), **keys)
    assert kept.all()


def test_a_background_is_a_plane_of_at_most_so_many_sigma():
    image, valid = batch(60)
    answer, _ = vary(NOTHING.model_copy(update={"background_share": 1.0, "background": 2.0}), n=60)
    added = (answer - torch.where(valid, image, 0.0))[:, 0].numpy()
    y, x = np.mgrid[:64, :64] / 31.5 - 1
    terms = np.stack([np.ones_like(y), y, x], -1).reshape(-1, 3)
    fitted, residual, *_ = np.linalg.lstsq(terms, added.reshape(60, -1).T, rcond=None)
    assert np.sqrt(residual / 4096).max() < 1e-3
    assert 10 < np.abs(fitted).max() < 2 * 10 * 1.5


def test_a_picture_without_variation_is_the_stamp_to_within_its_stretch():
    radius = star(9.0, 64)
    image = (3000 * radius / radius.max()).expand(4, 3, 64, 64) * torch.tensor([0.5, 0.8, 1.0])[:, None, None]
    image = image + torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    config = NOTHING.model_copy(
        update={"picture_share": 1.0, "jpeg_share": 0.0, "picture_gamma": 0.0, "picture_brightness": 0.0}
    )
    answer = through_picture(image.clone(), image > -1e9, config, torch.Generator().manual_seed(3))
    assert torch.isfinite(answer).all()
    # The order of the pixels' values survives where the picture is neither black nor white.
    for before, after in zip(image, answer, strict=True):
        between = (after > 0.1 * after.max()) & (after < 0.9 * after.max())
        assert between.sum() > 100
        assert np.corrcoef(before[between], after[between])[0, 1] > 0.9


def test_jpeg_moves_pixels_by_little():
    image, valid = batch(12)
    image = torch.where(valid, image, 0.0) + 2000 * star(9.0, 64) / star(9.0, 64).max()
    keep = {"picture_share": 1.0, "picture_gamma": 0.0, "picture_brightness": 0.0}

    def answer(jpeg: float) -> torch.Tensor:
        config = NOTHING.model_copy(update={**keep, "jpeg_share": jpeg, "jpeg_quality": (90, 95)})
        return through_picture(image.clone(), valid, config, torch.Generator().manual_seed(3))

    plain, compressed = answer(0.0), answer(1.0)
    assert not torch.equal(plain, compressed)
    assert (plain - compressed).abs().mean() < 0.1 * plain.std()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_any_number_of_bands_goes_through_a_picture(bands: int):
    noise = torch.rand((6, bands, 32, 32), generator=torch.Generator().manual_seed(1))
    image = noise + 200 * star(9.0, 32) / star(9.0, 32).max()
    config = NOTHING.model_copy(update={"picture_share": 1.0, "jpeg_share": 1.0})
    answer = through_picture(image.clone(), image > -1, config, torch.Generator().manual_seed(2))
    assert answer.shape == image.shape
    assert torch.isfinite(answer).all()
    for band in range(bands):
        assert np.corrcoef(image[:, band].flatten(), answer[:, band].flatten())[0, 1] > 0.8


def test_edges_of_gaps_are_told_apart_by_band_or_hit_all():
    _, kept = vary(NOTHING.model_copy(update={"gap_share": 1.0, "gap": 6.0}), n=300)
    lost = (~kept[:, 0] | ~kept[:, 2]).flatten(1).sum(1)
    assert lost.max() <= 64 * 64
    assert math.isclose((lost > 0).float().mean().item(), 0.8, abs_tol=0.15)


def test_a_gap_through_the_middle_of_one_band_is_among_what_training_shows_and_leaves_the_other_bands():
    _, kept = vary(NOTHING.model_copy(update={"gap_share": 1.0, "gap": 6.0}), n=300)
    whole = kept[:, [0, 2]].flatten(2).all(2)
    middle_lost = ~kept[:, [0, 2], 27:37, 27:37].flatten(2).any(2)
    alone = middle_lost & whole.flip(1)
    assert 0.005 < alone.any(1).float().mean() < 0.2


def test_beyond_an_edge_of_the_image_all_bands_miss_the_same_pixels_and_the_middle_stays():
    _, kept = vary(NOTHING.model_copy(update={"edge": 3.0, "edge_share": 1.0}), n=300)
    assert torch.equal(kept[:, 0], kept[:, 2])
    assert kept[:, 0, 23:41, 23:41].all()  # 10 px around the middle, less the shift
    rows, columns = kept[:, 0].any(2), kept[:, 0].any(1)
    assert torch.equal(kept[:, 0], rows[:, :, None] & columns[:, None, :])
    lost = torch.stack([~rows[:, 0], ~rows[:, -1], ~columns[:, 0], ~columns[:, -1]], 1).sum(1)
    assert lost.max() == 2
    assert 0.2 < (lost == 2).float().mean() < 0.45
    assert 0.6 < kept[:, 0].float().mean() < 0.8


def test_an_edge_farther_than_the_stamp_reaches_takes_nothing():
    _, kept = vary(NOTHING.model_copy(update={"edge": 30.0, "edge_share": 1.0}))
    assert torch.equal(kept, batch()[1])
