"""Images of point sources, against the isothermal sphere's closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.population.lenses import lens_system
from pipeline.sims.population.quasars import image_positions, quasar_behind
from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Grid, Sersic
from pipeline.sims.render.mass import Deflector, Sphere, deflection

BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def config() -> SimsConfig:
    loaded = load_sims("stamps")
    assert isinstance(loaded, SimsConfig)
    return loaded


@pytest.mark.parametrize("beta", [0.1, 0.6, 1.2])
def test_images_behind_a_sphere_are_theta_e_on_either_side_of_the_source(beta: float) -> None:
    # theta = beta +- theta_E, mu = theta / beta (Narayan & Bartelmann 1996, eqs. 58 and 62).
    images = image_positions(Deflector(0.3, -0.2, 1.5, 1.0, 0.0), 0.3 + beta * 0.8, -0.2 + beta * 0.6)
    along = (images.x - 0.3) * 0.8 + (images.y + 0.2) * 0.6
    np.testing.assert_allclose(along, [beta + 1.5, beta - 1.5], atol=1e-5)
    np.testing.assert_allclose(images.magnification, [(beta + 1.5) / beta, (beta - 1.5) / beta], rtol=1e-4)
    assert np.abs(images.magnification).sum() == pytest.approx(2 * 1.5 / beta, rel=1e-4)


def test_source_outside_the_einstein_radius_of_a_sphere_has_one_image() -> None:
    images = image_positions(Deflector(0, 0, 1.0, 1.0, 0.0), 1.3, 0.0)
    assert images.x == pytest.approx([2.3], abs=1e-5)


def test_source_inside_the_caustic_has_four_images_and_outside_two() -> None:
    deflector = Deflector(0, 0, 1.5, 0.6, 0.4)
    assert len(image_positions(deflector, 0.02, 0.03).x) == 4
    assert len(image_positions(deflector, 0.5, 0.55).x) == 2


@pytest.mark.parametrize("seed", range(8))
def test_every_image_solves_the_lens_equation_and_parities_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    deflector = Deflector(
        0.1, 0.0, 1.4, rng.uniform(0.5, 0.95), rng.uniform(0, 3), 0.04, -0.05, rng.uniform(2.0, 2.3), 0.03,
        (Sphere(3.0, 1.0, 0.3),),
    )  # fmt: skip
    x, y = rng.uniform(-0.4, 0.4, 2)
    images = image_positions(deflector, x, y)
    seen = [torch.from_numpy(part)[None, None] for part in (images.x, images.y)]
    ax, ay = deflection([deflector], *seen)
    np.testing.assert_allclose(images.x - ax[0, 0].numpy(), x, atol=1e-5)
    np.testing.assert_allclose(images.y - ay[0, 0].numpy(), y, atol=1e-5)
    # A singular mass hides one maximum: minima less saddles are nought, or one beside a neighbour's hidden maximum.
    assert np.sign(images.magnification).sum() in (-1, 0, 1)
    assert len(images.x) in (2, 3, 4, 5)


@pytest.mark.parametrize("place", [(0.05, 0.02), (0.4, -0.3)])
def test_magnifications_of_the_points_add_up_to_that_of_a_small_source(place: tuple[float, float]) -> None:
    deflector = Deflector(0, 0, 1.5, 0.65, 0.5, 0.03, 0.02, 2.1)
    grid = Grid(size=200, scale=0.04, oversampling=4, margin=0)
    small = LensedSource(deflector, (Sersic(*place, 0.02, 1.0, 1.0, 0, np.array([1.0])),))
    total = np.abs(image_positions(deflector, *place).magnification).sum()
    assert lensed([small], [grid])[0].sum() == pytest.approx(total, rel=0.03)


def test_drawn_quasars_are_multiple_with_their_brightest_image_first(config: SimsConfig) -> None:
    rng = np.random.default_rng(2)
    numbers = []
    for _ in range(25):
        system = lens_system(rng, config.population, BANDS, (0.2, 0.1), quasar=True)
        assert system.quasar is not None
        flux = np.array([point.flux[1] for point in system.quasar.points])
        assert (np.diff(flux) <= 0).all()
        assert 0.5 < system.quasar.separation / system.source.deflector.theta_E < 4.0
        share = sum(part.flux[0] for part in system.source.components)
        assert 0 <= share <= config.population.lenses.quasars.host_share[1]
        numbers.append(len(flux))
    assert numbers.count(2) > 5
    assert numbers.count(4) > 1


def test_quasar_without_a_second_image_is_an_error_that_says_what_to_change(config: SimsConfig) -> None:
    lenses = config.population.lenses
    far = lenses.model_copy(update={"quasars": lenses.quasars.model_copy(update={"reach": 500.0})})
    with pytest.raises(ConfigError, match=r"quasars\.reach"):
        quasar_behind(np.random.default_rng(1), far, Deflector(0, 0, 1.0, 0.9, 0.0), BANDS)
