"""Artefacts touch what their truth says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import PixelFlag
from pipeline.sims.artefacts.draw import Scene, draw_artefacts
from pipeline.sims.artefacts.kinds import BadColumn, CosmicRay, Gap, Ghost, Seam, Trail, put_all
from pipeline.sims.artefacts.star import BrightStar
from pipeline.sims.artefacts.window import Artefact, Window
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.names import ARTEFACTS
from pipeline.sims.config.population import Population

SIGMA = np.array([10.0, 12.0])
STAR = BrightStar(
    x=48.3,
    y=40.8,
    flux=(3e6, 3e6),
    fwhm=(3.0, 3.0),
    beta=3.0,
    saturation=(3e4, 3e4),
    spike_flux=(3e4, 3e4),
    spike_length=8.0,
    halo_flux=(6e4, 6e4),
    halo_radius=20.0,
    bleed_length=15.0,
    bleed_width=3.0,
)
EACH: dict[str, tuple[Artefact, PixelFlag]] = {
    "gap": (Gap(20, 24.4, 0, 96, (1,)), PixelFlag.CHIP_GAP),
    "star": (STAR, PixelFlag.SATURATED),
    "trail": (Trail(40, 40, 0.6, 4.0, 200.0, (0,)), PixelFlag.TRAIL),
    "cosmic_ray": (CosmicRay(30, 50, 0.4, 9.0, 500.0, 1), PixelFlag.COSMIC_RAY),
    "bad_column": (BadColumn(33, 20, 70, -90.0, 0), PixelFlag.BADCOLUMN),
    "seam": (Seam(48, 48, 0.1, 2.0, 0.0, 3.0, (0, 1)), PixelFlag.SEAM),
    "step": (Seam(48, 48, np.pi, 1.0, 25.0, 3.0, (1,)), PixelFlag.SEAM),
    "ghost": (Ghost(30, 30, 6, 20, (40.0, 30.0)), PixelFlag.GHOST),
}


def window(shape: tuple[int, int] = (96, 80), y0: int = 0) -> Window:
    full = (2, *shape)
    # A sky of infinite brightness: artefact light then has no photon noise, and what it changes can be told.
    bright = np.full(2, 1e30)
    ivar = np.broadcast_to(SIGMA[:, None, None] ** -2, full).astype(np.float32)
    return Window(np.zeros(full, np.float32), ivar, np.zeros(full, np.uint32), SIGMA, bright, 0, y0)


# A seam's far side is changed on purpose without a flag: only its edge is one.
@pytest.mark.parametrize("name", [name for name in EACH if name not in ("seam", "step")])
def test_every_pixel_that_an_artefact_changed_by_more_than_the_limit_is_in_its_truth(name: str) -> None:
    artefact, flag = EACH[name]
    work = window()
    artefact.put(work, np.random.default_rng(1))
    assert (work.mask & np.uint32(flag)).any()
    # A star's wings, halo and spikes are flagged each by its own light, and here they add up.
    parts = 3 if name == "star" else 1
    changed = ~(np.abs(work.image) <= parts * SIGMA[:, None, None])
    assert (work.mask[changed] != 0).all()


@pytest.mark.parametrize("name", [name for name in EACH if name not in ("cosmic_ray", "bad_column")])
def test_truth_does_not_depend_on_the_strips_that_an_image_is_made_in(name: str) -> None:
    artefact, _ = EACH[name]
    whole = window()
    artefact.put(whole, np.random.default_rng(1))
    strips = [window((48, 80), y0) for y0 in (0, 48)]
    for strip in strips:
        artefact.put(strip, np.random.default_rng(2))
    np.testing.assert_array_equal(np.concatenate([strip.mask for strip in strips], axis=1), whole.mask)
    np.testing.assert_array_equal(np.concatenate([strip.ivar for strip in strips], axis=1), whole.ivar)


def test_gap_has_no_data_from_edge_to_edge() -> None:
    work = window()
    EACH["gap"][0].put(work, np.random.default_rng(1))
    # 20 to 24.4: pixels 20, 21, 22, 23, 24.
    assert np.isnan(work.image[1]).all(axis=0).nonzero()[0].tolist() == [20, 21, 22, 23, 24]
    assert (work.ivar[1] == 0).sum() == 5 * 96
    assert not np.isnan(work.image[0]).any()


def test_star_is_cut_off_at_saturation_and_bleeds_along_y() -> None:
    work = window()
    STAR.put(work, np.random.default_rng(1))
    saturated = (work.mask[0] & np.uint32(PixelFlag.SATURATED)) != 0
    bleed = (work.mask[0] & np.uint32(PixelFlag.BLEED)) != 0
    assert work.image[0].max() == pytest.approx(3e4)
    assert saturated[41, 48]
    assert bleed.any(axis=0).sum() == 3
    assert bleed.any(axis=1).sum() > 30
    for flag in (PixelFlag.SPIKE, PixelFlag.HALO, PixelFlag.BRIGHT_OBJECT):
        assert (work.mask[0] & np.uint32(flag)).any()


def test_wings_of_an_unsaturated_star_hold_its_flux() -> None:
    work = window()
    BrightStar(40.0, 48.0, (1e5, 2e5), (4.0, 4.0), 4.0, (1e9, 1e9)).put(work, np.random.default_rng(1))
    assert work.image.sum(axis=(1, 2)) == pytest.approx([1e5, 2e5], rel=0.01)
    assert not (work.mask & np.uint32(PixelFlag.SATURATED)).any()


def test_seam_raises_noise_and_lowers_ivar_on_one_side() -> None:
    work = window()
    Seam(0, 48, 0.0, 2.0, 0.0, 3.0, (0,)).put(work, np.random.default_rng(1))
    np.testing.assert_allclose(work.ivar[0, 49:], SIGMA[0] ** -2 / 4, rtol=1e-6)
    np.testing.assert_allclose(work.ivar[0, :48], SIGMA[0] ** -2, rtol=1e-6)
    # Noise of sqrt(2^2 - 1) sigma on top of what was there.
    assert work.image[0, 49:].std() == pytest.approx(SIGMA[0] * np.sqrt(3), rel=0.05)
    assert not work.image[0, :48].any()
    assert not work.image[1].any()


def test_trail_has_its_width_and_level() -> None:
    work = window()
    Trail(40, 48, 0.0, 6.0, 100.0, (0,)).put(work, np.random.default_rng(1))
    assert work.image[0, 48, 5] == pytest.approx(100.0)
    assert work.image[0, 51, 5] == pytest.approx(50.0, rel=1e-3)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_every_class_can_be_drawn_and_put(name: str) -> None:
    population: Population = load_sims("stamps").population
    scene = Scene((96, 80), ("g", "r"), 0.3, SIGMA, np.array([0.8, 0.9]), 3.0, 20.0)
    touched = 0
    for seed in range(20):
        work = window()
        put_all(draw_artefacts(np.random.default_rng(seed), name, population, scene), work, np.random.default_rng(0))
        touched += bool(work.mask.any())
    assert touched >= 15
