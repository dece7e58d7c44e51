"""Splits: the same for ever, of the shares asked for, and apart on the sky."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.splits import SPLITS, USUAL_SHARES, Shares, cell_order, in_split, sky_cells, split_of, stamps_in_split

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def test_a_split_never_changes():
    # The digest's first 8 bytes over 2**64 against 0.8 and 0.9.
    for key in (7, "7", "imageEUC_VIS-100000", -3):
        place = int(hashlib.blake2b(str(key).encode(), digest_size=8).hexdigest(), 16) / 2**64
        expected = "train" if place < 0.8 else "validation" if place < 0.9 else "test"
        assert split_of(key, SHARES) == expected
    known = "train test train validation train train train test"
    assert [split_of(key, USUAL_SHARES) for key in range(8)] == known.split()


def test_every_thing_is_in_one_split_and_the_shares_are_met():
    keys = np.arange(20000) + 2**60
    parts = [in_split(keys, split, SHARES) for split in SPLITS]
    assert (np.sum(parts, axis=0) == 1).all()
    assert [part.mean() for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_the_order_of_rows_and_what_else_is_there_do_not_matter():
    keys = np.arange(500)
    whole = in_split(keys, "test", SHARES)
    np.testing.assert_array_equal(in_split(keys[::-1][:100], "test", SHARES), whole[::-1][:100])


def test_ids_that_went_through_a_float_are_refused():
    with pytest.raises(TypeError, match="lost digits"):
        in_split(np.array([1.0]), "train", SHARES)  # type: ignore[arg-type]


@pytest.mark.parametrize("shares", [{"train": 1.0}, {"train": 0.5, "validation": 0.1, "test": 0.1}])
def test_shares_must_be_of_all_splits_and_add_up(shares: dict[str, float]):
    with pytest.raises(ValidationError, match="add up to 1"):
        TypeAdapter(Shares).validate_python(shares)


@pytest.mark.parametrize(("side", "order"), [(58.6, 0), (0.916, 6), (0.5, 7), (1.5 / 60, 11), (1e-12, 29)])
def test_the_order_of_a_cell_is_the_nearest(side: float, order: int):
    assert cell_order(side) == order


def test_stamps_of_different_splits_share_no_pixel():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 0.5, 3000) + 149.9, rng.uniform(0, 0.5, 3000) + 60
    reach = 10 / 3600
    parts = {split: stamps_in_split(ra, dec, reach, split, 0.05, USUAL_SHARES) for split in SPLITS}
    assert all(part.sum() > 50 for part in parts.values())
    assert (np.sum(list(parts.values()), axis=0) <= 1).all()
    # Any two stamps that overlap are in one split.
    names = list(SPLITS)
    for first, one in enumerate(names):
        for other in names[first + 1 :]:
            a, b = parts[one], parts[other]
            across = np.abs(ra[a][:, None] - ra[b][None]) * np.cos(np.radians(60.25))
            apart = (across > 2 * reach * 0.98) | (np.abs(dec[a][:, None] - dec[b][None]) > 2 * reach * 0.98)
            assert apart.all()


def test_a_stamp_that_fits_into_its_cell_is_in_its_cell_s_split():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 300), rng.uniform(-89, 89, 300)
    parts = [stamps_in_split(ra, dec, 1e-9, split, 1.0, SHARES) for split in SPLITS]
    assert np.sum(parts, axis=0).mean() > 0.99
    cells = sky_cells(ra, dec, cell_order(1.0))
    for row in range(20):
        named = split_of(f"sky/{cell_order(1.0)}/{cells[row]}", SHARES)
        assert parts[SPLITS.index(named)][row]


def test_nothing_is_in_no_split():
    empty = np.empty(0)
    assert stamps_in_split(empty, empty, 0.001, "train", 0.5, SHARES).shape == (0,)
    assert in_split([], "train", SHARES).shape == (0,)
