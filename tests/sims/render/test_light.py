"""Light drawn onto a grid, against integrals of the profiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammainc

from pipeline.sims.render.light import Grid, Light, Point, Ring, Sersic, draw, sersic_b

ONE = np.array([1000.0])


def radii(grid: Grid, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    axis = grid.axis()
    return np.hypot(axis[None, :] - x, axis[:, None] - y)


@pytest.mark.parametrize("n", [0.7, 1.0, 2.5, 4.0])
def test_flux_inside_a_radius_is_the_incomplete_gamma_function(n: float) -> None:
    grid = Grid(size=161, scale=0.2, oversampling=2, margin=0)
    sersic = Sersic(0.03, -0.05, 1.0, n, 1.0, 0.0, ONE)
    image = draw(Light((sersic,)), grid, 1, faintest=1e-9)[0]
    distance = radii(grid, 0.03, -0.05)
    for radius in (1.0, 3.0, 10.0):
        expected = gammainc(2 * n, sersic_b(n) * radius ** (1 / n))
        assert image[distance <= radius].sum() / 1000 == pytest.approx(expected, abs=0.015)


def test_half_the_light_is_inside_the_effective_radius_of_a_small_cuspy_galaxy() -> None:
    # A de Vaucouleurs profile of two pixels' radius: without subpixels in the core it would be off by a tenth.
    grid = Grid(size=101, scale=0.15, oversampling=1, margin=0)
    image = draw(Light((Sersic(0.0, 0.0, 0.3, 4.0, 1.0, 0.0, ONE),)), grid, 1, 1e-9)[0]
    inside = gammainc(8, sersic_b(4) * (7.5 / 0.3) ** 0.25)
    assert image[radii(grid) <= 7.5].sum() / 1000 == pytest.approx(inside, abs=0.02)


def test_axis_ratio_and_angle_are_those_of_the_second_moments() -> None:
    grid = Grid(size=161, scale=0.1, oversampling=1, margin=0)
    image = draw(Light((Sersic(0, 0, 0.8, 1.0, 0.5, np.pi / 2, ONE),)), grid, 1, 1e-9)[0]
    axis = grid.axis()
    along_x = (image.sum(axis=0) * axis**2).sum()
    along_y = (image.sum(axis=1) * axis**2).sum()
    assert np.sqrt(along_y / along_x) == pytest.approx(2.0, rel=0.01)


def test_arms_move_light_but_keep_the_flux() -> None:
    grid = Grid(size=129, scale=0.2, oversampling=1, margin=0)
    plain = Sersic(0, 0, 1.5, 1.0, 0.7, 0.4, ONE)
    armed = Sersic(0, 0, 1.5, 1.0, 0.7, 0.4, ONE, arms=0.9, pitch=0.3, phase=1.0)
    one, other = (draw(Light((sersic,)), grid, 1, 1e-9)[0] for sersic in (plain, armed))
    assert other.sum() == pytest.approx(one.sum(), rel=0.01)
    assert np.abs(other - one).sum() > 0.2 * one.sum()


def test_ring_has_its_flux_at_its_radius() -> None:
    grid = Grid(size=129, scale=0.2, oversampling=1, margin=0)
    image = draw(Light((), (Ring(0, 0, 3.0, 0.3, 1.0, 0.0, 1.0, 2.0, ONE),)), grid, 1, 1e-9)[0]
    assert image.sum() == pytest.approx(1000, rel=0.01)
    assert (image * radii(grid)).sum() / image.sum() == pytest.approx(3.0, abs=0.05)


def test_point_keeps_flux_and_centroid() -> None:
    grid = Grid(size=32, scale=0.3)
    image = draw(Light((), (), (Point(0.41, -1.07, ONE),)), grid, 1, 1e-9)[0]
    axis = grid.axis()
    assert image.sum() == pytest.approx(1000)
    assert (image.sum(axis=0) * axis).sum() / 1000 == pytest.approx(0.41, abs=1e-4)
    assert (image.sum(axis=1) * axis).sum() / 1000 == pytest.approx(-1.07, abs=1e-4)


def test_objects_off_the_grid_leave_it_empty() -> None:
    grid = Grid(size=32, scale=0.3)
    far = Light((Sersic(90, 0, 0.3, 1.0, 0.8, 0.0, ONE),), (), (Point(-90, 0, ONE),))
    assert not draw(far, grid, 1, 1e-3).any()


def test_moved_and_brighter_light_is_the_same_light_elsewhere() -> None:
    light = Light((Sersic(0, 0, 1, 1, 1, 0, ONE),), (Ring(0, 0, 1, 0.1, 1, 0, 0, 0, ONE),), (Point(0, 0, ONE),))
    moved = light.moved(1.0, -2.0).brighter(2.0)
    for item in (*moved.sersics, *moved.rings, *moved.points):
        assert (item.x, item.y, item.flux[0]) == (1.0, -2.0, 2000.0)
    assert moved.flux(0) == 6000.0


def test_profiles_drawn_together_are_those_drawn_alone() -> None:
    grid = Grid(size=40, scale=0.2, oversampling=2, margin=3)
    profiles = [
        Sersic(0.3, -0.2, 0.8, 4.0, 0.3, 0.7, ONE),
        Sersic(-2.0, 1.0, 0.1, 1.0, 0.1, 2.0, ONE),
        Sersic(4.45, 4.5, 0.5, 2.5, 0.6, 0.1, ONE),
        Sersic(1.0, 2.0, 1.2, 1.0, 0.7, 0.4, ONE, arms=0.8, pitch=0.3, phase=1.0),
    ]
    together = draw(Light(tuple(profiles)), grid, 1, 1e-6)
    alone = sum(draw(Light((profile,)), grid, 1, 1e-6) for profile in profiles)
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
