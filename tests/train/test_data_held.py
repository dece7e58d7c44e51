"""Stamps in memory: what float16 keeps, what is invalid, what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.train.held import Stamps, packed, room_for, some_of


def hold(image: np.ndarray, flagged: np.ndarray | None = None) -> Stamps:
    half, scale = packed(image)
    n, bands = image.shape[:2]
    bits = np.zeros(image.shape, bool) if flagged is None else flagged
    names = tuple("grizy"[:bands])
    lens = np.arange(n) % 2 == 0
    return Stamps(half, np.packbits(bits, axis=-1), lens, np.where(lens, "lens", "other"), names, 0.3, "", scale)


def noise(n: int = 8, side: int = 32, sigma: float = 10.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sigma, (n, 3, side, side)).astype(np.float32)


def test_a_pixel_keeps_ten_bits_and_noise_a_thousandth_of_itself():
    image = noise()
    image[:, :, 16, 16] = 3e4
    image[:, :, 3, 3] = -700
    back, valid, _ = hold(image).take(np.arange(8), np.ones(8, bool))
    assert back.dtype == torch.float32
    assert valid.all()
    error = np.abs(back.numpy() - image)
    assert (error <= np.maximum(np.abs(image) * 2.0**-11, 10 * 2.0**-20)).all()


@pytest.mark.parametrize("peak", [1e5, 1e9, 3e30])
def test_a_core_of_any_brightness_does_not_overflow(peak: float):
    image = noise()
    image[2, 1, 16, 16] = peak
    image[3, 1, 16, 16] = -peak
    half, _ = packed(image)
    assert np.isfinite(half).all()
    back = hold(image).take(np.array([2, 3]), np.ones(2, bool))[0]
    assert back[0, 1, 16, 16].item() == pytest.approx(peak, rel=5e-4)
    assert back[1, 1, 16, 16].item() == pytest.approx(-peak, rel=5e-4)


@pytest.mark.parametrize("unit", [1e-10, 1e-3, 1.0, 1e12])
def test_the_unit_of_the_pixels_does_not_matter(unit: float):
    image = noise()
    one, other = hold(image), hold((image * np.float32(unit)).astype(np.float32))
    first = one.take(np.arange(8), np.ones(8, bool))[0].numpy()
    second = other.take(np.arange(8), np.ones(8, bool))[0].numpy()
    np.testing.assert_allclose(second / np.float32(unit), first, rtol=1e-3, atol=1e-4)


def test_missing_infinite_and_flat_stamps_are_held_without_a_warning():
    image = noise(n=5)
    image[0] = 0
    image[1] = np.nan
    image[2, 0] = np.inf
    image[3, :, :, :30] = np.nan
    image[4, 0] = 7.0
    back, valid, _ = hold(image).take(np.arange(5), np.ones(5, bool))
    np.testing.assert_array_equal(valid.numpy(), np.isfinite(image))
    assert (back[0] == 0).all()
    assert (back[4, 0] == 7).all()
    assert torch.isnan(back[2, 0]).all()


def test_packing_what_was_packed_changes_nothing():
    image = noise()
    image[0, 0, 5, 5] = 1e7
    half, scale = packed(image)
    again, same = packed(half.astype(np.float32) * scale[:, :, None, None])
    np.testing.assert_array_equal(again, half)
    np.testing.assert_array_equal(same, scale)
    np.testing.assert_array_equal(np.log2(scale) % 1, 0)


def test_flags_hide_pixels_only_where_they_are_told_of():
    flagged = np.zeros((8, 3, 30, 30), bool)
    flagged[1, 2, 4, 29] = flagged[2, 0, 0, 0] = True
    held = hold(noise(side=30), flagged)
    rows = np.array([2, 1, 1, 0])
    _, valid, labels = held.take(rows, np.array([True, True, False, True]))
    expected = np.ones((4, 3, 30, 30), bool)
    expected[0, 0, 0, 0] = expected[1, 2, 4, 29] = False
    np.testing.assert_array_equal(valid.numpy(), expected)
    assert labels.tolist() == [1, 0, 0, 1]


def test_what_is_taken_may_be_changed():
    held = hold(noise())
    before = held.image.copy()
    image, valid, _ = held.take(np.array([0, 1]), np.ones(2, bool))
    image.zero_()
    valid.zero_()
    np.testing.assert_array_equal(held.image, before)


def test_two_hundred_thousand_stamps_would_fit_in_five_and_a_half_gigabytes():
    held = room_for(200, ("g", "r", "i"), 64, 0.3)
    assert held.nbytes * 1000 < 5.5e9


def test_some_stamps_are_those_rows_with_a_digest_of_their_own():
    stamps = hold(noise(6, 16))
    part = some_of(stamps, np.array([5, 1]))
    assert part.kind.tolist() == ["other", "other"]
    assert part.image.tobytes() == stamps.image[[5, 1]].tobytes()
    assert part.scale is not None
    assert part.scale.tobytes() == stamps.scale[[5, 1]].tobytes()
    assert some_of(stamps, np.array([2, 3])).lens.tolist() == [True, False]
    assert part.digest != some_of(stamps, np.array([1, 5])).digest
