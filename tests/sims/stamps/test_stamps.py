"""Stamps for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.flags import PixelFlag
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.names import ARTEFACTS, KINDS
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.pools import check_folder, shard_counts
from pipeline.sims.render.conditions import correlated_noise, sky_sigma
from pipeline.sims.stamps.pools import write_shard
from pipeline.sims.stamps.simulate import simulate_stamps
from pipeline.sims.stamps.truth import SimulatedStamps


@pytest.fixture(scope="module")
def config() -> SimsConfig:
    loaded = load_sims("stamps")
    assert isinstance(loaded, SimsConfig)
    return loaded


@pytest.fixture(scope="module")
def stamps(config: SimsConfig) -> SimulatedStamps:
    return simulate_stamps(config.model_copy(update={"artefact_share": 0.5}), 120, seed=3)


def test_stamps_have_the_documented_shapes_and_types(stamps: SimulatedStamps) -> None:
    assert stamps.image.shape == stamps.ivar.shape == stamps.mask.shape == (120, 3, 64, 64)
    assert stamps.arc.shape == (120, 64, 64)
    types = (stamps.image.dtype, stamps.ivar.dtype, stamps.mask.dtype, stamps.label.dtype, stamps.arc.dtype)
    assert types == (np.float32, np.float32, np.uint32, np.int8, np.float32)
    assert stamps.truth.seeing.shape == (120, 3)


def test_only_lenses_have_arcs_and_einstein_radii(stamps: SimulatedStamps) -> None:
    lens = stamps.label == 1
    assert 0.3 < lens.mean() < 0.7
    np.testing.assert_array_equal(lens, stamps.truth.kind == KINDS.index("lens"))
    assert (stamps.arc[lens].sum(axis=(1, 2)) > 0).all()
    assert not stamps.arc[~lens].any()
    assert np.isfinite(stamps.truth.theta_E[lens]).all()
    assert np.isnan(stamps.truth.theta_E[~lens]).all()


def test_lenses_are_visible_and_resolved(stamps: SimulatedStamps, config: SimsConfig) -> None:
    lens, lenses = stamps.label == 1, config.population.lenses
    lens &= stamps.truth.quasar_images == 0
    assert (stamps.truth.arc_share[lens] >= lenses.faint_visible_share).all()
    assert (stamps.truth.arc_snr[lens] >= lenses.faint_arc_snr[0] - 1e-3).all()
    seeing = np.median(stamps.truth.seeing[lens], axis=1)
    assert (stamps.truth.theta_E[lens] >= lenses.faint_theta_E_over_seeing * seeing - 1e-5).all()


def test_lensed_quasars_are_parted_by_the_seeing_with_a_second_image_that_is_seen(config: SimsConfig) -> None:
    every = config.model_copy(update={"lens_share": 1.0, "quasar_share": 1.0})
    stamps, quasars = simulate_stamps(every, 12, seed=4), config.population.lenses.quasars
    assert (stamps.truth.quasar_images >= 2).all()
    assert (stamps.label == 1).all()
    seeing = np.median(stamps.truth.seeing, axis=1)
    assert (stamps.truth.separation >= quasars.separation_over_seeing * seeing - 1e-5).all()
    assert (stamps.truth.arc_share >= quasars.visible_share).all()
    # Two images of that S/N at least; Moffat wings cost a little of it.
    assert (stamps.truth.arc_snr > quasars.second_image_snr[0]).all()
    assert (stamps.truth.source_redshift > stamps.truth.lens_redshift).all()


def test_missing_pixels_are_nan_without_weight_and_flagged(stamps: SimulatedStamps) -> None:
    missing = np.isnan(stamps.image)
    assert missing.any()
    np.testing.assert_array_equal(missing, stamps.ivar == 0)
    np.testing.assert_array_equal(missing, (stamps.mask & np.uint32(PixelFlag.NODATA)) != 0)


def test_noise_of_empty_sky_is_what_ivar_says(config: SimsConfig) -> None:
    quiet = config.model_copy(update={"lens_share": 0.0, "artefact_share": 0.0, "negatives": {"empty": 1.0}})
    stamps = simulate_stamps(quiet, 16, seed=1)
    pull = stamps.image * np.sqrt(stamps.ivar)
    # The lower 15.9 % quantile of a normal is one sigma below the median, and galaxies hardly move it.
    low = np.median(pull, axis=(2, 3)) - np.quantile(pull, 0.15866, axis=(2, 3))
    assert np.median(low) == pytest.approx(1.0, abs=0.05)


def test_artefacts_fall_on_lenses_as_often_as_on_others(config: SimsConfig) -> None:
    stamps = simulate_stamps(config.model_copy(update={"artefact_share": 1.0}), 60, seed=2)
    assert (stamps.truth.artefacts != 0).mean() > 0.8
    for lens in (0, 1):
        assert (stamps.truth.artefacts[stamps.label == lens] != 0).mean() > 0.7


def test_the_same_seed_gives_the_same_stamps_and_another_seed_others(config: SimsConfig) -> None:
    one, same, other = (simulate_stamps(config, 20, seed) for seed in (5, 5, 6))
    for name in ("image", "ivar", "mask", "label", "arc"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.image, other.image)


def test_population_without_visible_lenses_is_an_error_that_says_what_to_change(config: SimsConfig) -> None:
    lenses = config.population.lenses.model_copy(update={"visible_sigma": 1e9})
    population = config.population.model_copy(update={"lenses": lenses})
    blind = config.model_copy(update={"population": population, "lens_share": 1.0, "quasar_share": 0.0})
    with pytest.raises(ConfigError, match="visible_share"):
        simulate_stamps(blind, 1, seed=1)


def test_point_source_at_the_depth_is_seen_at_five_sigma() -> None:
    # Optimal S/N of a Gaussian star: flux / (sigma sqrt(4 pi s^2)); 24 mag are 912 nJy.
    sigma = float(sky_sigma(np.array(24.0), np.array(0.9), 0.3))
    spread = 0.9 / 2.3548 / 0.3
    x = np.arange(-30, 31)
    profile = np.exp(-0.5 * (x / spread) ** 2)
    star = 912.0 * np.outer(profile, profile) / profile.sum() ** 2
    assert np.sqrt((star**2).sum()) / sigma == pytest.approx(5.0, rel=0.01)


def test_correlated_noise_has_unit_variance() -> None:
    noise = correlated_noise(np.random.default_rng(1), (2, 400, 400), 0.3)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert np.mean(noise[:, :, 1:] * noise[:, :, :-1]) == pytest.approx(2 * 0.3 / (1 + 2 * 0.09), abs=0.02)


def test_shards_of_a_pool_hold_the_stamps_of_their_seed(config: SimsConfig, tmp_path: Path) -> None:
    small = config.model_copy(update={"shard": 8, "stamps": 20})
    assert shard_counts(20, 8) == [8, 8, 4]
    check_folder(tmp_path / "pool")
    paths = [write_shard(small, tmp_path / "pool", 1, number, 6) for number in (0, 1)]
    assert [path.name for path in paths] == ["pool-00000.npz", "pool-00001.npz"]
    with np.load(paths[0]) as first, np.load(paths[1]) as second:
        assert first["image"].shape == (6, 3, 64, 64)
        assert first["bands"].tolist() == ["g", "r", "i"]
        assert float(first["pixel_scale"]) == 0.3
        assert first["kinds"][first["kind"]].tolist().count("lens") == first["label"].sum()
        assert not np.array_equal(first["image"], second["image"])
    with pytest.raises(ProductMismatch, match="holds a pool"):
        check_folder(tmp_path / "pool")


def test_stamps_of_a_space_telescope_have_one_sharp_band_with_gaps_and_cosmic_rays() -> None:
    vis = load_sims("vis-stamps")
    assert isinstance(vis, SimsConfig)
    stamps = simulate_stamps(vis.model_copy(update={"artefact_share": 1.0}), 30, seed=2)
    assert stamps.image.shape == (30, 1, vis.size, vis.size)
    assert (stamps.truth.seeing < 0.21).all()
    seen = np.bitwise_or.reduce(stamps.truth.artefacts)
    assert seen & np.uint32(PixelFlag.CHIP_GAP)
    assert seen & np.uint32(PixelFlag.COSMIC_RAY)
    # Rings that no ground-based stamp resolves.
    assert np.nanmin(stamps.truth.theta_E) < 0.8


def test_every_artefact_falls_on_every_kind(config: SimsConfig) -> None:
    # The draw of artefacts knows nothing of the kind: a rare kind gets them all, too.
    only = {"lens_share": 0.0, "artefact_share": 1.0, "negatives": {"blue_point": 1.0}}
    for name in ARTEFACTS:
        weights = config.model_copy(update={**only, "artefact_weights": {name: 1.0}})
        stamps = simulate_stamps(weights, 8, seed=1)
        assert (stamps.truth.artefacts != 0).any(), name


def test_without_a_share_of_quasars_there_are_none(config: SimsConfig) -> None:
    stamps = simulate_stamps(config.model_copy(update={"lens_share": 1.0, "quasar_share": 0.0}), 8, seed=1)
    assert not stamps.truth.quasar_images.any()
    assert np.isnan(stamps.truth.separation).all()
    assert (stamps.truth.dispersion > 100).all()
