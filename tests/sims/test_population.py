"""Draws of galaxies, stars and lenses."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sims.config import SimsConfig, load_sims
from pipeline.sims.negatives import NEGATIVES
from pipeline.sims.population import counted_magnitude, draw_theta_e, field_light, flux_of, fluxes, lens_system

BANDS = ("g", "r", "i", "z")


@pytest.fixture(scope="module")
def config() -> SimsConfig:
    loaded = load_sims("stamps")
    assert isinstance(loaded, SimsConfig)
    return loaded


def test_magnitude_of_the_zero_point_is_one_nanojansky() -> None:
    assert flux_of(31.4) == pytest.approx(1.0)
    assert flux_of(23.9) == pytest.approx(1000.0)


def test_colours_become_flux_ratios() -> None:
    g, r, i, z = fluxes(21.4, (0.5, 0.25, 0.1), BANDS)
    assert -2.5 * np.log10(np.array([g / r, r / i, i / z])) == pytest.approx([0.5, 0.25, 0.1])
    assert r == pytest.approx(10000.0)


def test_counts_rise_by_the_slope() -> None:
    drawn = counted_magnitude(np.random.default_rng(1), (18.0, 24.0), 0.33, 200_000)
    bright, faint = ((drawn > low) & (drawn < low + 1) for low in (21.0, 22.0))
    assert np.log10(faint.sum() / bright.sum()) == pytest.approx(0.33, abs=0.02)
    assert drawn.min() >= 18.0
    assert drawn.max() <= 24.0


def test_flat_counts_are_uniform() -> None:
    drawn = counted_magnitude(np.random.default_rng(1), (18.0, 20.0), 0.0, 10_000)
    assert drawn.mean() == pytest.approx(19.0, abs=0.05)


def test_field_galaxies_have_the_density_of_the_population(config: SimsConfig) -> None:
    light = field_light(np.random.default_rng(1), config.population, 300.0, BANDS)
    assert len(light.sersics) == pytest.approx(25 * config.population.galaxies.density, rel=0.1)


def test_einstein_radii_stay_in_their_range(config: SimsConfig) -> None:
    rng = np.random.default_rng(1)
    drawn = np.array([draw_theta_e(rng, config.population.lenses) for _ in range(2000)])
    assert drawn.min() >= 0.8
    assert drawn.max() <= 5.0
    assert np.median(drawn) == pytest.approx(1.9, rel=0.08)


def test_deflectors_are_red_and_most_sources_blue(config: SimsConfig) -> None:
    rng = np.random.default_rng(1)
    systems = [lens_system(rng, config.population, BANDS, (0.0, 0.0)) for _ in range(300)]
    deflector = np.array([light.sersics[0].flux for light, *_ in systems])
    source = np.array([colour for _, _, colour, *_ in systems])
    assert np.median(-2.5 * np.log10(deflector[:, 0] / deflector[:, 1])) > 1.2
    assert np.median(-2.5 * np.log10(source[:, 0] / source[:, 1])) < 0.5
    assert np.mean([red for *_, red in systems]) == pytest.approx(0.13, abs=0.06)


@pytest.mark.parametrize("kind", list(NEGATIVES))
def test_every_negative_has_light_in_the_middle(kind: str, config: SimsConfig) -> None:
    for seed in range(10):
        light = NEGATIVES[kind](np.random.default_rng(seed), config.population, BANDS)
        items = (*light.sersics, *light.rings, *light.points)
        assert all(np.isfinite(item.flux).all() and (item.flux > 0).all() for item in items)
        assert min(np.hypot(item.x, item.y) for item in items) < 0.1
