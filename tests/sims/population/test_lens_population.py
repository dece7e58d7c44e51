"""Deflectors, their dispersions and their Einstein radii."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.population import Population
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.population.cosmology import dispersion_of, distances, einstein_radius
from pipeline.sims.population.dispersion import dispersion, magnitude
from pipeline.sims.population.lenses import Foreground, draw_deflector, draw_theta_e, lens_system, mass_of

BANDS = ("g", "r", "i", "z")


@pytest.fixture(scope="module")
def population() -> Population:
    loaded = load_sims("demo-sky")
    assert isinstance(loaded, SkyConfig)
    return loaded.population


def test_einstein_radius_of_a_dispersion_by_hand() -> None:
    # 4 pi (250 / 299792.458)^2 = 8.7386e-6 rad = 1.8025 arcsec, times D_ls / D_s = 0.6.
    assert einstein_radius(250.0, 0.6) == pytest.approx(1.0815, abs=2e-4)
    assert dispersion_of(1.0815, 0.6) == pytest.approx(250.0, abs=0.02)


def test_distances_are_integrals_over_redshift() -> None:
    table, step = distances(70.0, 0.3), 1e-4
    redshift = np.arange(step / 2, 2.0, step)
    parts = 299792.458 / 70 * step / np.sqrt(0.3 * (1 + redshift) ** 3 + 0.7)
    near, far = parts[redshift < 0.5].sum(), parts.sum()
    assert table.ratio(0.5, 2.0) == pytest.approx((far - near) / far, rel=1e-5)
    assert table.modulus(0.5) == pytest.approx(5 * np.log10(near * 1.5 * 1e5), abs=1e-3)
    assert table.ratio(1.0, 0.5) == 0.0
    assert dispersion_of(1.0, 0.0) == np.inf


def test_dispersion_of_a_galaxy_by_hand(population: Population) -> None:
    # r = 19.3 at z = 0.5: M = 19.3 - 42.2606 - 0.79 + 0.85 x 0.5 = -23.3256,
    # log10 sigma = 2.203 + 0.102 x 2.1756 = 2.4249.
    sigma = dispersion(population.lenses.dispersion, 19.3, 0.5, 42.2606)
    assert sigma == pytest.approx(10**2.4249, rel=1e-3)
    assert sigma == pytest.approx(266.0, abs=0.5)


def test_dispersion_at_l_star_is_that_of_other_measurements(population: Population) -> None:
    # Choi, Park & Vogeley (2007): 161 +- 5 km/s at L* of early types, near M_r = -21.3; a modulus of 40 at redshift 0.
    assert dispersion(population.lenses.dispersion, 18.7, 0.0, 40.0) == pytest.approx(161.0, abs=5.0)


def test_magnitude_of_a_dispersion_is_the_inverted_line_and_the_bias(population: Population) -> None:
    relation = population.lenses.dispersion
    sigma = dispersion(relation, 19.3, 0.5, 42.2606)
    assert magnitude(relation, sigma, 0.5, 42.2606) == pytest.approx(19.3 + relation.magnitude_bias, abs=1e-6)


def test_magnitudes_stop_rising_at_the_limit_of_dispersions(population: Population) -> None:
    relation = population.lenses.dispersion
    at_limit, above = (magnitude(relation, sigma, 0.5, 42.26) for sigma in (relation.limit, 600.0))
    assert above == at_limit


def test_einstein_radii_stay_in_their_range(population: Population) -> None:
    rng = np.random.default_rng(1)
    drawn = np.array([draw_theta_e(rng, population.lenses) for _ in range(2000)])
    low, high = population.lenses.theta_E
    assert low <= drawn.min() <= drawn.max() <= high
    # The range cuts more of the small ones, so that the median is a little above the parent's.
    assert np.median(drawn) == pytest.approx(population.lenses.theta_E_median, rel=0.12)


def test_deflectors_from_dispersions_have_the_einstein_radius_of_their_dispersion(population: Population) -> None:
    lenses = population.lenses.model_copy(update={"theta_E_drawn": "from_dispersion"})
    natural = population.model_copy(update={"lenses": lenses})
    rng, universe = np.random.default_rng(1), distances(70.0, 0.3)
    drawn = [draw_deflector(rng, natural) for _ in range(400)]
    for item in drawn:
        ratio = universe.ratio(item.redshift, item.source_redshift)
        assert item.theta_e == pytest.approx(einstein_radius(item.dispersion, ratio))
        assert lenses.theta_E[0] <= item.theta_e <= lenses.theta_E[1]
    # Nature's are smaller than those that training is given.
    assert np.median([item.theta_e for item in drawn]) < 1.5


def test_population_without_deflectors_in_the_range_is_an_error(population: Population) -> None:
    update = {"theta_E_drawn": "from_dispersion", "deflector_magnitude": (24.0, 24.5), "theta_E": (4.0, 5.0)}
    blind = population.model_copy(update={"lenses": population.lenses.model_copy(update=update)})
    with pytest.raises(ConfigError, match="deflector_magnitude"):
        draw_deflector(np.random.default_rng(1), blind)


def test_given_galaxy_keeps_its_place_and_angle_and_a_given_einstein_radius(population: Population) -> None:
    rng = np.random.default_rng(1)
    galaxy = Foreground(0.4, -0.1, 19.0, 0.4, 0.8, 0.3)
    around = [Foreground(3.0, 0.0, 20.5, 0.4, 0.9, 0.0)]
    masses = [mass_of(rng, population, galaxy, 1.5, 1.4, around) for _ in range(200)]
    assert {(mass.x, mass.y, mass.theta_E) for mass in masses} == {(0.4, -0.1, 1.4)}
    assert np.mean([mass.angle for mass in masses]) == pytest.approx(0.3, abs=0.05)
    assert all(0 < mass.neighbours[0].theta_E < 2.5 for mass in masses)


def test_sources_are_behind_their_deflectors(population: Population) -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_deflector(rng, population, quasar=quasar) for quasar in (False, True) for _ in range(300)]
    assert min(item.source_redshift - item.redshift for item in drawn) >= 0.25


def test_deflectors_are_red_and_most_sources_blue(population: Population) -> None:
    rng = np.random.default_rng(1)
    systems = [lens_system(rng, population, BANDS, (0.0, 0.0)) for _ in range(300)]
    deflector = np.array([system.light.sersics[0].flux for system in systems])
    source = np.array([system.colour for system in systems])
    assert np.median(-2.5 * np.log10(deflector[:, 0] / deflector[:, 1])) > 1.2
    assert np.median(-2.5 * np.log10(source[:, 0] / source[:, 1])) < 0.5
    assert np.mean([system.red for system in systems]) == pytest.approx(0.13, abs=0.06)


def test_groups_shine_where_their_masses_are(population: Population) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        system = lens_system(rng, population, BANDS, (0.5, -0.3))
        light = [(item.x, item.y) for item in system.light.sersics[1:]]
        mass = [(item.x, item.y) for item in system.source.deflector.neighbours]
        assert np.allclose(light, mass)
