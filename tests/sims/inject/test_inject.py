"""Injection against closed forms and the pixels that it started from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag, has
from pipeline.io.cutout_store import Stamps
from pipeline.sims.config.injection import INJECTION_KINDS
from pipeline.sims.inject.lens import InjectedLens, Injection
from pipeline.sims.inject.objects import read_cutouts
from pipeline.sims.inject.plan import InjectionPlan, prepare
from pipeline.sims.inject.simulate import inject, inject_stamps
from pipeline.sims.inject.stamps import on_grid, turned, turned_vector
from pipeline.sims.inject.truth import InjectedStamps
from pipeline.sims.render.lensing import LensedSource
from pipeline.sims.render.light import Sersic
from pipeline.sims.render.mass import Deflector
from pipeline.sims.render.photometry import flux_of
from pipeline.sims.sources.hst import Galaxy
from tests.sims.scan_of_galaxies import BANDS, LONG, SCALE, SHORT, SIDE, TILT, injection_config, write_scan

GAIN = np.array([5.0, 4.0])
COLOUR = np.array([0.7, 1.0, 1.2])
ONE = np.array([1.0])


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "out")


@pytest.fixture(scope="module")
def plan(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> InjectionPlan:
    return prepare(injection_config(tmp_path_factory.mktemp("config"), scan), [scan])


@pytest.fixture(scope="module")
def stamps(plan: InjectionPlan) -> InjectedStamps:
    return inject_stamps(plan, 40, seed=4)


def lens_of(source: LensedSource, snr: float) -> InjectedLens:
    return InjectedLens(0, source, COLOUR, 0.4, 1.5, 250.0, -1, False, snr, 0.0)


def made_of(plan: InjectionPlan, source: LensedSource, snr: float = 300.0) -> tuple[Injection, Stamps]:
    cutout = read_cutouts(plan.objects, plan.deflectors.index[:1], plan.config.bands)[0]
    rng = np.random.default_rng(1)
    return inject(plan, [lens_of(source, snr)], {0: cutout}, rng)[0], cutout


def test_flux_of_the_arc_is_magnification_times_the_source_in_every_band(plan: InjectionPlan) -> None:
    # A singular isothermal sphere magnifies a point at beta < theta_E by 2 theta_E / beta, and a small round source of
    # mean square radius s^2 by 1 + s^2 / (4 beta^2) more: 0.4 % for an exponential of 0.1 arcsec.
    theta_e, beta = 2.0, 1.2
    source = LensedSource(Deflector(0, 0, theta_e, 0.9999, 0), (Sersic(beta, 0, 0.1, 1.0, 1.0, 0, ONE),))
    made, _ = made_of(plan, source)
    expected = 1.004 * 2 * theta_e / beta * flux_of(made.source_mag) * COLOUR
    assert made.arc.sum(axis=(1, 2)) == pytest.approx(expected, rel=0.01)


def test_light_lands_where_the_lens_equation_sends_it(plan: InjectionPlan) -> None:
    # Without mass the source is seen where it is: 2.1 arcsec to the right of the stamp's centre, 0.9 below.
    source = LensedSource(Deflector(0, 0, 1e-6, 0.9, 0), (Sersic(2.1, -0.9, 0.1, 1.0, 1.0, 0, ONE),))
    arc = made_of(plan, source)[0].arc[1]
    y, x = (np.indices(arc.shape) - (SIDE - 1) / 2) * SCALE
    assert (arc * x).sum() / arc.sum() == pytest.approx(2.1, abs=0.01)
    assert (arc * y).sum() / arc.sum() == pytest.approx(-0.9, abs=0.01)


def test_what_is_added_is_the_arc_and_its_photon_noise_and_nothing_else(plan: InjectionPlan) -> None:
    source = LensedSource(Deflector(0, 0, 1.5, 0.9, 0), (Sersic(0.3, 0.1, 0.5, 1.0, 1.0, 0, ONE),))
    made, before = made_of(plan, source, snr=2000.0)
    known = np.isfinite(before.image)
    np.testing.assert_array_equal(made.stamps.mask, before.mask)
    np.testing.assert_array_equal(np.isfinite(made.stamps.image), known)
    np.testing.assert_array_equal(made.stamps.ivar[~known], before.ivar[~known])
    for band, gain in enumerate(GAIN):
        variance = made.arc[band] / gain
        lit = known[band] & (made.arc[band] > 50)
        added = (made.stamps.image - before.image)[band] - made.arc[band]
        assert np.square(added[lit]).mean() == pytest.approx(variance[lit].mean(), rel=0.25)
        assert abs(added[lit].mean()) < 4 * np.sqrt(variance[lit].mean() / lit.sum())
        np.testing.assert_allclose(
            1 / made.stamps.ivar[band][lit] - 1 / before.ivar[band][lit], variance[lit], rtol=2e-3, atol=0.02
        )
        dark = known[band] & (made.arc[band] == 0)
        np.testing.assert_array_equal(made.stamps.image[band][dark], before.image[band][dark])


def test_s_n_of_the_arc_is_the_one_asked_for(plan: InjectionPlan) -> None:
    source = LensedSource(Deflector(0, 0, 1.5, 0.9, 0), (Sersic(0.3, 0.1, 0.2, 1.0, 1.0, 0, ONE),))
    made, before = made_of(plan, source, snr=40.0)
    reached = np.sqrt((np.square(made.arc) * np.median(before.ivar)).sum(axis=(1, 2)))
    assert reached.max() == pytest.approx(40.0, rel=1e-3)


def test_mass_follows_the_light_of_the_real_galaxies(plan: InjectionPlan) -> None:
    # 48 of the 144 objects are galaxies: Gaussians, with a PSF that is nearly one and a pixel in them.
    assert len(plan.deflectors) == 48
    star = (0.8 / 2.3548) ** 2 + SCALE**2 / 12
    expected = np.sqrt((SHORT**2 - star) / (LONG**2 - star))
    assert np.median(plan.deflectors.q) == pytest.approx(expected, abs=0.03)
    assert np.median(plan.deflectors.angle) == pytest.approx(TILT, abs=0.03)
    assert np.abs(np.median(plan.deflectors.x)) < 0.02


def test_stamps_are_the_same_for_the_same_seed(plan: InjectionPlan, stamps: InjectedStamps) -> None:
    again = inject_stamps(plan, 40, seed=4)
    np.testing.assert_array_equal(again.image, stamps.image)
    np.testing.assert_array_equal(again.truth.theta_E, stamps.truth.theta_E)
    assert not np.array_equal(inject_stamps(plan, 40, seed=5).label, stamps.label)


def test_only_lenses_have_arcs_and_every_stamp_its_object(plan: InjectionPlan, stamps: InjectedStamps) -> None:
    truth, lens = stamps.truth, stamps.label == 1
    assert 0 < lens.sum() < 40
    np.testing.assert_array_equal(lens, truth.kind == INJECTION_KINDS.index("lens"))
    np.testing.assert_array_equal(lens, np.isfinite(truth.theta_E))
    np.testing.assert_array_equal(lens, stamps.arc.any(axis=(1, 2)))
    assert truth.objid.dtype == np.int64
    assert np.isin(truth.objid, plan.objects.objid).all()
    galaxies = plan.objects.objid[plan.deflectors.index]
    assert np.isin(truth.objid[truth.kind < 2], galaxies).all()
    assert (truth.theta_E[lens] >= 0.8).all()
    assert (truth.source_id == -1).all()


def test_negatives_are_the_survey_s_own_pixels(plan: InjectionPlan, stamps: InjectedStamps) -> None:
    index = int(np.flatnonzero(stamps.truth.kind == 2)[0])
    row = np.flatnonzero(plan.objects.objid == stamps.truth.objid[index]).astype(np.int64)
    cutout = read_cutouts(plan.objects, row, BANDS)[0]
    turn = int(stamps.truth.turn[index])
    there = Stamps(turned(cutout.image, turn), turned(cutout.ivar, turn), turned(cutout.mask, turn))
    np.testing.assert_array_equal(on_grid(there, SCALE, 32, 0.4)[0], stamps.image[index])


@pytest.mark.parametrize("turn", range(8))
def test_a_point_goes_where_its_pixel_goes(turn: int) -> None:
    image = np.zeros((9, 9))
    image[6, 1] = 1  # x = -3, y = 2 from the centre
    row, column = np.argwhere(turned(image, turn))[0]
    assert turned_vector(-3.0, 2.0, turn) == (column - 4, row - 4)


def test_eight_turns_are_all_different() -> None:
    image = np.arange(9).reshape(3, 3)
    assert len({turned(image, turn).tobytes() for turn in range(8)}) == 8


def test_another_grid_keeps_surface_brightness_variance_and_flags() -> None:
    image, ivar = np.full((1, 40, 40), 8.0, np.float32), np.full((1, 40, 40), 0.25, np.float32)
    mask = np.zeros((1, 40, 40), np.uint32)
    mask[0, 20, 30] = PixelFlag.COSMIC_RAY
    light, weight, flags = on_grid(Stamps(image, ivar, mask), 0.3, 20, 0.6)
    # Pixels of four times the area hold four times the light, with four times its standard deviation.
    np.testing.assert_allclose(light, 32.0, rtol=1e-5)
    np.testing.assert_allclose(weight, 0.25 / 16, rtol=1e-5)
    assert flags.shape == (1, 20, 20)
    light, weight, flags = on_grid(Stamps(image, ivar, mask), 0.3, 50, 0.3)
    assert np.isnan(light[0, 0, 0])
    assert weight[0, 0, 0] == 0
    assert has(flags, PixelFlag.NODATA)[0, 0, 0]
    assert flags[0, 25, 35] == PixelFlag.COSMIC_RAY
    np.testing.assert_array_equal(weight[0, 5:45, 5:45], ivar[0])


def test_splits_share_neither_sky_nor_source(scan: Path, tmp_path: Path) -> None:
    config = injection_config(tmp_path, scan)
    seen: dict[str, InjectionPlan] = {}
    for split in ("train", "validation", "test"):
        sky = config.sky.model_copy(update={"split": split})
        seen[split] = prepare(config.model_copy(update={"sky": sky}), [scan])
    ids = [set(part.objects.objid.tolist()) for part in seen.values()]
    assert all(ids)
    # Those across a border are in none.
    assert len(set.union(*ids)) == sum(map(len, ids)) < 144
    train, test = seen["train"].objects, seen["test"].objects
    across = np.abs(train.ra[:, None] - test.ra) * np.cos(np.radians(2.0)) * 3600
    along = np.abs(train.dec[:, None] - test.dec) * 3600
    # Square stamps of 13.5 arcsec share a pixel where both are nearer than that.
    assert (np.maximum(across, along) >= SIDE * SCALE).all()


def test_hst_sources_of_a_split_are_told_in_the_truth(plan: InjectionPlan) -> None:
    y, x = np.indices((64, 64)) - 31.5
    texture = np.exp(-(x**2 + y**2) / 50).astype(np.float32)
    galaxy = Galaxy(77, texture / texture.sum(), 1.92, 0.18, 24.0, (0.2, 0.1, 0.1), 2.0, 100.0)
    sources = plan.config.sources.model_copy(update={"hst_share": 1.0})
    with_hst = replace(plan, config=plan.config.model_copy(update={"sources": sources}), sources=(galaxy,))
    truth = inject_stamps(with_hst, 12, seed=1).truth
    assert (truth.source_id[truth.kind == 0] == 77).all()
    assert (truth.source_id[truth.kind != 0] == -1).all()
    np.testing.assert_allclose(truth.source_redshift[truth.kind == 0], 2.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 32", "size = 40", "scan again with cutouts.size"),
        ('"17 mag", "20 mag"', '"10 mag", "11 mag"', "none of 144 detections is a galaxy"),
        ('split = "all"\ncell = "1 arcmin"', 'split = "train"\ncell = "0.1 arcmin"', "sky.cell"),
        ('["g", "r", "i"]\ndet', '["g", "r", "i", "z"]\ndet', "noise has no gain and no sky_brightness for band z"),
        ("deflectors = {", "deflectors = { colours = { g-y = ['0 mag', '1 mag'] },", "deflectors.colours"),
        ("correlation = 0.0", "correlation = 'none'", "measured"),
    ],
)
def test_what_cannot_be_injected_is_said(scan: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(injection_config(tmp_path, scan, (old, new)), [scan])


def test_a_folder_without_cutouts_is_said(plan: InjectionPlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lensscan scan"):
        prepare(plan.config, [tmp_path])
