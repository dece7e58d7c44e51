"""Pools: what is read, what is refused, and the order of drawing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag, mask_value
from pipeline.train.data import Stamps, allotted, draw_order, read_stamps, read_unlabelled
from pipeline.train.data_config import PoolsConfig

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


def pixels(stamps: Stamps) -> np.ndarray:
    rows = np.arange(len(stamps))
    return stamps.take(rows, np.zeros(len(rows), bool))[0].numpy()


def test_pools_are_joined_in_sorted_order_and_limited(tmp_path: Path):
    write_pool(tmp_path / "pool-1.npz", seed=1)
    write_pool(tmp_path / "pool-0.npz", seed=0)
    stamps = read_stamps([str(tmp_path / "pool-*.npz")], BANDS, 0.3)
    with np.load(tmp_path / "pool-0.npz") as first:
        np.testing.assert_allclose(pixels(stamps)[:6], first["image"], rtol=5e-4, atol=1e-6)
    assert len(stamps) == 12
    assert stamps.lens.tolist()[:2] == [False, True]
    assert len(read_stamps([str(tmp_path / "pool-*.npz")], BANDS, 0.3, limit=8)) == 8


def test_fatal_pixels_are_invalid_where_the_mask_is_told_of(tmp_path: Path):
    mask = np.zeros((6, 3, 8, 8), np.uint32)
    mask[:2, 0, 3, 1] = mask_value(PixelFlag.COSMIC_RAY)
    mask[:2, 0, 0, 1] = mask_value(PixelFlag.HALO)
    image = np.ones((6, 3, 8, 8), np.float32)
    image[:, 1, 5, 6] = np.nan
    write_pool(tmp_path / "pool-0.npz", mask=mask, image=image)
    stamps = read_stamps([str(tmp_path / "*.npz")], BANDS, 0.3)
    _, valid, _ = stamps.take(np.array([0, 1, 2]), np.array([True, False, True]))
    expected = np.ones((3, 3, 8, 8), bool)
    expected[:, 1, 5, 6] = False
    expected[0, 0, 3, 1] = False
    np.testing.assert_array_equal(valid.numpy(), expected)


def test_bands_are_taken_by_name(tmp_path: Path):
    write_pool(tmp_path / "pool-0.npz")
    stamps = read_stamps([str(tmp_path / "*.npz")], ("i", "g"), 0.3)
    with np.load(tmp_path / "pool-0.npz") as pool:
        np.testing.assert_allclose(pixels(stamps), pool["image"][:, [2, 0]], rtol=5e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "needs label"),
        ({"bands": np.array(["g", "r", "z"])}, "i is missing"),
        ({"bands": np.array(["g", "r", "i", "z"])}, r"image of shape \(6, 3, 8, 8\); needs \(n, 4, side, side\)"),
        ({"pixel_scale": 0.2}, "0.2 arcsec"),
        ({"label": np.array([0, 1, 2, 0, 1, 0])}, "label 2 is neither 0 nor 1"),
        ({"label": np.array([0, 1]), "kind": None}, "2 labels for 6 stamps"),
        ({"label": np.ones(6, int)}, "6 stamps, all of them lenses"),
        ({"label": np.zeros(6, int)}, "6 stamps, all of them non-lenses"),
        ({"kind": np.arange(6), "kinds": np.array(["lens"])}, "kind is 0 to 5, but there are 1 kinds"),
        ({"mask": np.zeros((6, 3, 4, 4), np.uint32)}, "mask of shape"),
        ({"image": np.array([{"a": 1}] * 6, dtype=object)}, "unpickled"),
        (
            {"image": np.where(np.arange(6)[:, None, None, None] == 4, np.nan, np.ones((6, 3, 8, 8)))},
            "stamp 4: not one",
        ),
    ],
)
def test_a_pool_that_does_not_fit_says_why(tmp_path: Path, changes: dict[str, object], message: str):
    write_pool(tmp_path / "pool-0.npz", **changes)
    with pytest.raises(ConfigError, match=message):
        read_stamps([str(tmp_path / "*.npz")], BANDS, 0.3)


def test_no_pool_and_a_damaged_pool_are_config_errors(tmp_path: Path):
    with pytest.raises(ConfigError, match="lensscan simulate"):
        read_stamps([str(tmp_path / "*.npz")], BANDS, 0.3)
    (tmp_path / "pool-0.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ConfigError, match="not a pool"):
        read_stamps([str(tmp_path / "*.npz")], BANDS, 0.3)


def test_a_pool_that_ends_early_is_a_config_error(tmp_path: Path):
    write_pool(tmp_path / "pool-0.npz")
    with zipfile.ZipFile(tmp_path / "pool-0.npz") as whole, zipfile.ZipFile(tmp_path / "pool-1.npz", "w") as part:
        for name in whole.namelist():
            part.writestr(name, whole.read(name)[: -64 if name == "image.npy" else None])
    with pytest.raises(ConfigError, match=r"pool-1.npz: not a pool of stamps \(image ends after 5 of 6 rows\)"):
        read_stamps([str(tmp_path / "pool-1.npz")], BANDS, 0.3)


def test_pools_of_other_sizes_are_refused_by_name(tmp_path: Path):
    write_pool(tmp_path / "pool-0.npz")
    write_pool(tmp_path / "pool-1.npz", image=np.ones((6, 3, 10, 10), np.float32))
    with pytest.raises(ConfigError, match=r"pool-1.npz: stamps of 10 px; those of .*pool-0.npz have 8"):
        read_stamps([str(tmp_path / "*.npz")], BANDS, 0.3)
    with pytest.raises(ConfigError, match="pools of different size"):
        read_stamps([str(tmp_path / "pool-0.npz"), str(tmp_path / "pool-1.npz")], BANDS, 0.3)


def test_many_rows_in_any_storage_order_come_back_in_theirs(tmp_path: Path):
    image = np.random.default_rng(1).normal(size=(600, 3, 8, 8)).astype(np.float32)
    write_pool(tmp_path / "c.npz", n=600, image=image)
    write_pool(tmp_path / "f.npz", n=600, image=np.asfortranarray(image))
    for name in ("c", "f"):
        held = read_stamps([str(tmp_path / f"{name}.npz")], BANDS, 0.3, limit=551)
        np.testing.assert_allclose(pixels(held), image[:551], rtol=5e-4, atol=1e-6)


def test_a_limit_is_shared_among_sources_in_proportion(tmp_path: Path):
    write_pool(tmp_path / "a.npz", n=30)
    write_pool(tmp_path / "b.npz", n=10, kind=np.array(["ring", "lens"] * 5))
    both = [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
    held = read_stamps(both, BANDS, 0.3, limit=20)
    assert (held.kind == "ring").sum() == 3
    assert len(held) == 20
    assert allotted([3, 3, 3], 5) == [2, 2, 1]
    own = [PoolsConfig(pattern=both[0], limit=4), PoolsConfig(pattern=both[1])]
    assert len(read_stamps(own, BANDS, 0.3)) == 14


def test_classes_can_have_limits_of_their_own(tmp_path: Path):
    write_pool(tmp_path / "a.npz", n=30)
    pattern = str(tmp_path / "a.npz")
    held = read_stamps([PoolsConfig(pattern=pattern, most_lenses=2, most_others=5)], BANDS, 0.3)
    rows = [0, 1, 2, 3, 4, 6, 8]
    with np.load(pattern) as pool:
        np.testing.assert_allclose(pixels(held), pool["image"][rows], rtol=5e-4, atol=1e-6)
    assert held.lens.tolist() == [row % 2 == 1 for row in rows]
    few = read_stamps([PoolsConfig(pattern=pattern, most_lenses=2, limit=4)], BANDS, 0.3)
    np.testing.assert_array_equal(pixels(few), pixels(held)[:4])
    assert read_stamps([PoolsConfig(pattern=pattern, most_others=7)], BANDS, 0.3).lens.sum() == 15
    with pytest.raises(ConfigError, match="all of them lenses"):
        read_stamps([PoolsConfig(pattern=pattern, most_others=0)], BANDS, 0.3)


def test_a_digest_is_of_what_is_held_and_not_of_how_it_lay_in_files(tmp_path: Path):
    image = np.random.default_rng(1).normal(size=(6, 3, 8, 8)).astype(np.float32)
    label, kind = np.arange(6) % 2, np.array(["other", "lens"] * 3)
    write_pool(tmp_path / "whole.npz", image=image)
    write_pool(tmp_path / "half-0.npz", image=image[:4], label=label[:4], kind=kind[:4])
    write_pool(tmp_path / "half-1.npz", image=image[4:], label=label[4:], kind=kind[4:])
    write_pool(tmp_path / "other.npz", image=image + 1)
    write_pool(tmp_path / "whole-2.npz", image=image, kind=kind)
    digests = [
        read_stamps([str(tmp_path / f"{name}.npz")], BANDS, 0.3).digest for name in ("half-*", "whole-2", "other")
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_weight_of_a_source_sets_how_often_it_is_drawn(tmp_path: Path):
    write_pool(tmp_path / "a.npz", n=30)
    write_pool(tmp_path / "b.npz", n=30, kind=np.array(["ring", "lens"] * 15))
    sources = [PoolsConfig(pattern=str(tmp_path / "a.npz")), PoolsConfig(pattern=str(tmp_path / "b.npz"), weight=2.0)]
    held = read_stamps(sources, BANDS, 0.3)
    order = draw_order(held, {}, seed=1, epoch=0)
    assert (order >= 30).sum() == 40
    rings = [(held.kind[draw_order(held, {"ring": 3.0}, 1, epoch)] == "ring").mean() for epoch in range(20)]
    assert np.mean(rings) == pytest.approx(15 * 6 / (30 + 15 * 6 + 15 * 2), abs=0.02)


def test_unlabelled_stamps_have_neither_label_nor_kind(tmp_path: Path):
    write_pool(tmp_path / "a.npz", label=np.ones(6, int))
    held = read_unlabelled([str(tmp_path / "a.npz")], BANDS, 0.3)
    assert held is not None
    assert not held.lens.any()
    assert set(held.kind) == {"unlabelled"}
    assert read_unlabelled([], BANDS, 0.3) is None


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
