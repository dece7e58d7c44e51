"""Pools: what is read, what is refused, and the order of drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag, mask_value
from pipeline.train.data import Stamps, draw_order, read_pools

BANDS = ("g", "r", "i")


def write_pool(path: Path, n: int = 6, seed: int = 0, **changes: object) -> None:
    rng = np.random.default_rng(seed)
    arrays = {
        "image": rng.normal(size=(n, 3, 8, 8)).astype(np.float32),
        "label": np.arange(n) % 2,
        "kind": np.array(["spiral", "lens"] * (n // 2)),
        "bands": np.array(BANDS),
        "pixel_scale": 0.3,
    }
    arrays.update(changes)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_pools_are_joined_in_sorted_order_and_limited(tmp_path: Path):
    write_pool(tmp_path / "pool-1.npz", seed=1)
    write_pool(tmp_path / "pool-0.npz", seed=0)
    stamps = read_pools([str(tmp_path / "pool-*.npz")], BANDS, 0.3)
    with np.load(tmp_path / "pool-0.npz") as first:
        np.testing.assert_array_equal(stamps.image[:6], first["image"])
    assert len(stamps) == 12
    assert stamps.lens.tolist()[:2] == [False, True]
    assert len(read_pools([str(tmp_path / "pool-*.npz")], BANDS, 0.3, limit=8)) == 8


def test_fatal_pixels_are_invalid_where_the_mask_is_told_of(tmp_path: Path):
    mask = np.zeros((6, 3, 8, 8), np.uint32)
    mask[:2, 0, 3, 1] = mask_value(PixelFlag.COSMIC_RAY)
    mask[:2, 0, 0, 1] = mask_value(PixelFlag.HALO)
    image = np.ones((6, 3, 8, 8), np.float32)
    image[:, 1, 5, 6] = np.nan
    write_pool(tmp_path / "pool-0.npz", mask=mask, image=image)
    stamps = read_pools([str(tmp_path / "*.npz")], BANDS, 0.3)
    _, valid, _ = stamps.take(np.array([0, 1, 2]), np.array([True, False, True]))
    expected = np.ones((3, 3, 8, 8), bool)
    expected[:, 1, 5, 6] = False
    expected[0, 0, 3, 1] = False
    np.testing.assert_array_equal(valid.numpy(), expected)


def test_bands_are_taken_by_name(tmp_path: Path):
    write_pool(tmp_path / "pool-0.npz")
    stamps = read_pools([str(tmp_path / "*.npz")], ("i", "g"), 0.3)
    with np.load(tmp_path / "pool-0.npz") as pool:
        np.testing.assert_array_equal(stamps.image, pool["image"][:, [2, 0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "needs label"),
        ({"bands": np.array(["g", "r", "z"])}, "i is missing"),
        ({"pixel_scale": 0.2}, "0.2 arcsec"),
    ],
)
def test_a_pool_that_does_not_fit_says_why(tmp_path: Path, changes: dict[str, object], message: str):
    write_pool(tmp_path / "pool-0.npz", **changes)
    with pytest.raises(ConfigError, match=message):
        read_pools([str(tmp_path / "*.npz")], BANDS, 0.3)


def test_no_pool_and_a_damaged_pool_are_config_errors(tmp_path: Path):
    with pytest.raises(ConfigError, match="lensscan simulate"):
        read_pools([str(tmp_path / "*.npz")], BANDS, 0.3)
    (tmp_path / "pool-0.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ConfigError, match="not a pool"):
        read_pools([str(tmp_path / "*.npz")], BANDS, 0.3)


def stamps(n: int = 1000) -> Stamps:
    kind = np.where(np.arange(n) % 10 == 0, "rare", "common")
    flagged = np.zeros((n, 1, 2, 1), np.uint8)
    return Stamps(np.zeros((n, 1, 2, 2), np.float32), flagged, kind == "rare", kind, ("r",), 0.3, "")


def test_an_even_epoch_draws_every_stamp_once():
    order = draw_order(stamps(), {}, seed=1, epoch=0)
    assert sorted(order) == list(range(1000))
    assert not np.array_equal(order, draw_order(stamps(), {}, seed=1, epoch=1))
    assert np.array_equal(order, draw_order(stamps(), {}, seed=1, epoch=0))


def test_weights_of_kinds_set_their_share():
    pool = stamps()
    drawn = pool.kind[draw_order(pool, {"rare": 9.0}, seed=1, epoch=0)]
    assert (drawn == "rare").mean() == pytest.approx(0.5, abs=0.01)
    assert (pool.kind[draw_order(pool, {"common": 0.0}, 1, 0)] == "rare").all()


def test_a_kind_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="names unicorn; the pools hold common, rare"):
        draw_order(stamps(), {"unicorn": 2.0}, 1, 0)
