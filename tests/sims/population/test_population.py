"""Draws of galaxies, stars and lenses."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sims.config.load import load_sims
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.negatives.kinds import NEGATIVES
from pipeline.sims.population.galaxies import counted_magnitude, field_light, red_colours, red_redshift
from pipeline.sims.render.photometry import flux_of, fluxes

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


def test_vis_is_the_documented_sum_of_r_i_and_z() -> None:
    r, i, z, vis = fluxes(20.0, (0.7, 0.4, 0.3), ("r", "i", "z", "VIS"))
    assert vis == pytest.approx(0.48 * r + 0.36 * i + 0.16 * z)
    assert fluxes(20.0, (0.7, 0.4, 0.3), ("VIS",)) == pytest.approx(vis)


def test_redshift_of_a_galaxy_on_the_red_sequence_is_found_from_its_colours(config: SimsConfig) -> None:
    galaxies = config.population.galaxies
    for index, redshift in enumerate(galaxies.red_sequence.redshift):
        colours = galaxies.red_sequence.g_r[index], galaxies.red_sequence.r_i[index]
        assert red_redshift(galaxies, *colours) == pytest.approx(redshift, abs=0.006)


def test_red_colours_are_linear_between_the_redshifts_of_the_table(config: SimsConfig) -> None:
    galaxies = config.population.galaxies
    narrow = galaxies.model_copy(update={"red_sequence": galaxies.red_sequence.model_copy(update={"scatter": 0.0})})
    rng = np.random.default_rng(1)
    # 1.22 at 0.2 and 1.48 at 0.3 in g - r.
    assert red_colours(rng, narrow, 0.25)[0] == pytest.approx(1.35)
    assert red_colours(rng, narrow, 0.02)[0] == pytest.approx(0.95)
    assert red_colours(rng, narrow, 1.5)[2] == pytest.approx(0.64)


@pytest.mark.parametrize("kind", list(NEGATIVES))
def test_every_negative_has_light_in_the_middle(kind: str, config: SimsConfig) -> None:
    for seed in range(10):
        light = NEGATIVES[kind](np.random.default_rng(seed), config.population, BANDS)
        items = (*light.sersics, *light.rings, *light.points)
        assert all(np.isfinite(item.flux).all() and (item.flux > 0).all() for item in items)
        assert min(np.hypot(item.x, item.y) for item in items) < 0.1
