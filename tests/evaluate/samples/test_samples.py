"""Samples: pools read a shard at a time, and real lenses against the neighbours in their stamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.evaluate.baselines import baselines
from pipeline.evaluate.config import BaselineConfig, PoolsConfig, RealLensesConfig, load_evaluation
from pipeline.evaluate.samples.lenses import open_real_lenses
from pipeline.evaluate.samples.pools import open_pools

BANDS = ("g", "r", "i")


def write_pool(path: Path, n: int = 6, *, seed: int = 1, without: tuple[str, ...] = (), **more: Any) -> None:
    rng = np.random.default_rng(seed)
    values = {
        "image": rng.normal(0, 1, (n, 3, 8, 8)).astype(np.float32),
        "label": np.arange(n) % 2,
        "bands": np.array(BANDS),
        "pixel_scale": np.float64(0.3),
        "kinds": np.array(["lens", "spiral"]),
        "kind": 1 - np.arange(n) % 2,
        "theta_E": rng.uniform(1, 2, n).astype(np.float32),
        "seeing": np.tile([0.5, 0.6, 0.9], (n, 1)),
        "seed": np.int64(seed),
    }
    values.update(more)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value for name, value in values.items() if name not in without})


def pools(folder: Path, **more: Any) -> PoolsConfig:
    return PoolsConfig(name="p", column="simulations", kind="pools", pools=(str(folder / "pool-*.npz"),), **more)


def real(folder: Path, **more: Any) -> RealLensesConfig:
    values = {
        "name": "real",
        "column": "real",
        "kind": "stamps",
        "stamps": str(folder / "stamps"),
        "labels": str(folder / "labels.csv"),
        "select": {"cls": "galaxy", "snr": "> 10"},
        "bands": BANDS,
        "pixel_scale": "0.25 arcsec",
        "size": "10 arcsec",
        "magnitude_quantiles": (0.0, 1.0),
        "most_missing": 0.5,
        "match_padding": False,
        **more,
    }
    return RealLensesConfig.model_validate(values)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three frames of 100 pixels with an object in the middle, one 8 arcsec to the right, one 3 arcsec below."""
    (tmp_path / "stamps").mkdir()
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:100, :100]
    for number, name in enumerate(("a", "b", "c")):
        light = sum(
            flux * np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / 2.5**2)
            for px, py, flux in ((49.5, 49.5, 300 + 50 * number), (81.5, 49.5, 330), (49.5, 37.5, 330))
        )
        images = [fits.ImageHDU(rng.normal(0, 1, (100, 100)) + light, name=band) for band in BANDS]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "stamps" / f"{name}.fits")
    (tmp_path / "labels.csv").write_text("name,cls,snr\na,galaxy,20\nb,galaxy,\nc,galaxy,11\nd,quasar,50\n")
    return tmp_path


def test_a_pool_is_read_in_order_with_kinds_by_name_and_the_median_over_bands(tmp_path):
    write_pool(tmp_path / "pool-00000.npz", 4, seed=1)
    write_pool(tmp_path / "pool-00001.npz", 6, seed=2)
    sample = open_pools(pools(tmp_path, limit=9, against=("theta_E", "kind")))
    assert len(sample) == 9
    assert sample.truth["kind"][:2].tolist() == ["spiral", "lens"]
    assert (sample.truth["seeing"] == 0.6).all()
    image = np.concatenate([part.image for part in sample.parts()])
    assert len(image) == 9
    assert (sample.stamp(5).image == image[5]).all()


def test_a_clear_lens_passes_every_condition_and_others_are_never_clear(tmp_path):
    radius = np.array([9.0, 0.9, 9.0, 0.5, 9.0, 0.7], np.float32)
    snr = np.array([99.0, 30.0, 99.0, 30.0, 99.0, 10.0], np.float32)
    write_pool(tmp_path / "pool-0.npz", theta_E=radius, arc_snr=snr)
    sample = open_pools(pools(tmp_path, clear={"arc_snr": 20.0, "theta_E_over_seeing": 1.2}))
    # The seeing is 0.6 arcsec; the second, fourth and sixth are lenses.
    assert sample.truth["clear"].tolist() == ["", "clear", "", "not clear", "", "not clear"]
    assert sample.against == ("clear",)
    assert any("arc_snr > 20" in note for note in sample.notes)


def test_masks_are_told_only_where_asked(tmp_path):
    write_pool(tmp_path / "pool-0.npz", mask=np.ones((6, 3, 8, 8), np.uint32), ivar=np.ones((6, 3, 8, 8)))
    assert next(open_pools(pools(tmp_path)).parts()).mask is not None
    assert next(open_pools(pools(tmp_path, masks=False)).parts()).mask is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ("label",)}, "no label in it"),
        ({"label": np.zeros(6)}, "all 6 stamps are others"),
        ({"label": np.ones(6)}, "all 6 stamps are lenses"),
        ({"label": np.full(6, 2)}, "neither 0 nor 1"),
        ({"image": np.zeros((6, 2, 8, 8))}, "image has shape"),
        ({"without": ("theta_E",)}, "no column theta_E"),
    ],
)
def test_a_pool_that_cannot_be_evaluated_says_why(tmp_path, change, message):
    write_pool(tmp_path / "pool-0.npz", **change)
    with pytest.raises(ConfigError, match=message):
        list(open_pools(pools(tmp_path, against=("theta_E",))).parts())


def test_a_file_that_is_no_pool_and_shards_of_two_kinds_are_named(tmp_path):
    (tmp_path / "pool-0.npz").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"pool-0\.npz: not a pool"):
        open_pools(pools(tmp_path))
    write_pool(tmp_path / "pool-0.npz")
    write_pool(tmp_path / "pool-1.npz", pixel_scale=np.float64(0.2))
    with pytest.raises(ConfigError, match="two samples"):
        open_pools(pools(tmp_path))


def test_a_pickle_in_a_pool_is_not_loaded(tmp_path):
    write_pool(tmp_path / "pool-0.npz", label=np.array([object()] * 6, dtype=object))
    with pytest.raises(ConfigError, match="not a pool"):
        open_pools(pools(tmp_path))


def test_real_lenses_stand_against_the_neighbours_far_from_the_centre(frames):
    sample = open_real_lenses(real(frames), BaselineConfig(), 1)
    # b has no S/N; each chosen frame has one neighbour beyond 5 arcsec, the other is too near.
    assert sample.lens.tolist() == [True, True, False, False]
    assert sample.truth["name"].tolist() == ["a", "c", "a", "c"]
    assert sample.truth["distance"][2:] == pytest.approx([8, 8], abs=0.1)
    assert sample.truth["snr"][:2].tolist() == [20, 11]
    assert np.isnan(sample.truth["snr"][2:]).all()


def test_a_neighbours_stamp_is_centred_on_it_and_nan_off_the_image(frames):
    sample = open_real_lenses(real(frames), BaselineConfig(), 1)
    image = sample.stamp(2).image
    assert image.shape == (3, 40, 40)
    missing = np.isnan(image).all(axis=(0, 1))
    # Its centre is pixel 81.5 of 100: the stamp ends at 101.5, two columns beyond the image.
    assert missing.tolist() == [False] * 38 + [True] * 2
    brightest = np.unravel_index(np.nanargmax(image[1]), image[1].shape)
    assert np.abs(np.array(brightest) - 19.5).max() <= 2
    assert np.isfinite(sample.stamp(0).image).all()


def test_lenses_can_lack_what_neighbours_lack(frames):
    sample = open_real_lenses(real(frames, match_padding=True), BaselineConfig(), 1)
    assert [int(np.isnan(sample.stamp(row).image[0]).sum()) for row in range(4)] == [80] * 4


def test_neighbours_can_come_from_every_frame_and_are_held_to_the_lenses_magnitudes(frames):
    assert (~open_real_lenses(real(frames, neighbours_of="all"), BaselineConfig(), 1).lens).sum() == 3
    with pytest.raises(ConfigError, match="magnitude_quantiles"):
        open_real_lenses(real(frames, magnitude_quantiles=(0.0, 0.01)), BaselineConfig(), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": {"cls": "arc"}}, "none of 4 rows has cls = arc"),
        ({"select": {"kind": "arc"}}, "no column 'kind'"),
        ({"select": {"snr": "> ten"}}, "must be numbers"),
        ({"labels": "nowhere.csv"}, "labels can't be read"),
        ({"select": {"cls": "quasar"}}, "no stamp is named"),
        ({"against": ("theta_E",)}, "no column theta_E"),
    ],
)
def test_labels_that_do_not_fit_are_named(frames, change, message):
    with pytest.raises(ConfigError, match=message):
        open_real_lenses(real(frames, **change), BaselineConfig(), 1)


def test_a_sample_whose_place_is_not_set_is_absent_and_the_rest_stays(tmp_path, monkeypatch):
    monkeypatch.delenv("LENSSCAN_NOWHERE", raising=False)
    text = 'name = "e"\n' + "".join(
        f'[[samples]]\nname = "{name}"\ncolumn = "{column}"\nkind = "pools"\npools = ["{place}"]\n'
        for name, column, place in (("a", "simulations", "x"), ("b", "real", "${LENSSCAN_NOWHERE}/x"))
    )
    (tmp_path / "e.toml").write_text(text)
    config, absent = load_evaluation(tmp_path / "e.toml")
    assert [sample.name for sample in config.samples] == ["a", "b"]
    assert list(absent) == ["b"]
    assert "LENSSCAN_NOWHERE" in absent["b"]


def test_two_samples_of_one_name_and_a_wrong_column_are_refused(tmp_path):
    block = '[[samples]]\nname = "a"\ncolumn = "sky"\nkind = "pools"\npools = ["x"]\n'
    (tmp_path / "e.toml").write_text('name = "e"\n' + block)
    with pytest.raises(ConfigError, match="column"):
        load_evaluation(tmp_path / "e.toml")
    (tmp_path / "e.toml").write_text('name = "e"\n' + 2 * block.replace("sky", "real"))
    with pytest.raises(ConfigError, match="two have one name"):
        load_evaluation(tmp_path / "e.toml")


def test_baselines_of_a_red_core_in_a_blue_ring_by_hand():
    y, x = (np.arange(64) - 31.5)[:, None] * 0.3, (np.arange(64) - 31.5)[None, :] * 0.3
    radius = np.hypot(x, y)
    core, ring = radius <= 1.1, (radius > 1.1) & (radius <= 4)
    image = np.stack([1.0 * core + 0.5 * ring, 2.0 * core, 4.0 * core])[None] + 7.0
    colour, excess, brightness = baselines(image, BANDS, 0.3, BaselineConfig())[0]
    assert colour == pytest.approx(2.5 * np.log10(4))
    assert excess == pytest.approx(0.5 / 2.0)
    # Within 1.5 arcsec the core's pixels have 2 nJy in r.
    assert brightness == pytest.approx(2.5 * np.log10(2.0 * (core & (radius <= 1.5)).sum()) - 31.4)


def test_baselines_are_nan_without_data_and_for_a_dark_core():
    image = np.stack([np.full((3, 64, 64), np.nan), np.zeros((3, 64, 64))])
    assert np.isnan(baselines(image, BANDS, 0.3, BaselineConfig())).all()


def test_stamps_of_one_object_belong_together_and_a_pool_without_ids_stands_for_itself(tmp_path):
    write_pool(tmp_path / "pool-0.npz", objid=np.array([7, 7, 8, 8, 9, 9]))
    write_pool(tmp_path / "pool-1.npz", objid=np.array([9, 7, 5, 5, 5, 5]), field_id=np.array(list("aabbcc")))
    group = open_pools(pools(tmp_path)).group
    assert group.tolist() == [7, 7, 8, 8, 9, 9, 9, 7, 5, 5, 5, 5]
    with pytest.raises(ConfigError, match="no column field_id"):
        open_pools(pools(tmp_path, group="field_id"))
    write_pool(tmp_path / "pool-1.npz")
    assert len(np.unique(open_pools(pools(tmp_path)).group)) == 3 + 6
    write_pool(tmp_path / "pool-0.npz")
    assert open_pools(pools(tmp_path)).group is None


def test_a_real_lens_is_drawn_with_the_neighbours_of_its_frame(frames):
    assert open_real_lenses(real(frames), BaselineConfig(), 1).group.tolist() == ["a", "c", "a", "c"]


def test_a_pool_of_one_large_shard_is_read_in_parts_and_a_row_alone(tmp_path):
    write_pool(tmp_path / "pool-0.npz", 1300, ivar=np.ones((1300, 3, 8, 8), np.float32))
    sample = open_pools(pools(tmp_path, limit=1200))
    parts = list(sample.parts())
    assert [len(part.image) for part in parts] == [512, 512, 176]
    assert [part.ivar.shape for part in parts] == [part.image.shape for part in parts]
    whole = np.load(tmp_path / "pool-0.npz")["image"]
    assert (np.concatenate([part.image for part in parts]) == whole[:1200]).all()
    assert (sample.stamp(1100).image == whole[1100]).all()
    assert parts[0].image.flags.writeable
