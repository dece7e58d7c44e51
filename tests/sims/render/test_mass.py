"""Deflections against closed forms, and against caustics' own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caustics.lenses.func import reduced_deflection_angle_epl, reduced_deflection_angle_sie

from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Grid, Sersic
from pipeline.sims.render.mass import Deflector, Sphere, deflection

ONE = np.array([1.0])


def plane(n: int = 1, half: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    # An even number of points, so that none is at a centre.
    axis = torch.linspace(-half, half, 60, dtype=torch.float64)
    return axis.expand(n, 1, 60), axis[:, None].expand(n, 60, 1)


@pytest.mark.parametrize("q", [0.3, 0.7, 0.99])
def test_power_law_of_slope_two_is_the_isothermal_ellipsoid_of_caustics(q: float) -> None:
    x, y = plane()
    ax, ay = deflection([Deflector(0.1, -0.2, 1.7, q, 0.6)], x, y)
    values = (torch.tensor(value, dtype=torch.float64) for value in (0.1, -0.2, q, 0.6, 1.7))
    bx, by = reduced_deflection_angle_sie(*values, x, y, 0.0)
    np.testing.assert_allclose(ax, bx, atol=2e-6)
    np.testing.assert_allclose(ay, by, atol=2e-6)


@pytest.mark.parametrize("slope", [1.6, 2.3])
def test_power_law_is_that_of_caustics(slope: float) -> None:
    x, y = plane()
    ax, ay = deflection([Deflector(0.1, -0.2, 1.7, 0.6, 2.0, slope=slope)], x, y)
    values = [torch.tensor(value, dtype=torch.float64) for value in (0.1, -0.2, 0.6, 2.0, 1.7, slope - 1)]
    bx, by = reduced_deflection_angle_epl(*values, x, y, 60, 1)
    np.testing.assert_allclose(ax, bx, atol=2e-6)
    np.testing.assert_allclose(ay, by, atol=2e-6)


@pytest.mark.parametrize("slope", [1.7, 2.0, 2.4])
def test_round_mass_deflects_by_theta_e_at_theta_e_whatever_its_slope(slope: float) -> None:
    # alpha(r) = theta_E (theta_E / r)^(slope - 2) for a round power law.
    r = torch.tensor([0.5, 1.5, 3.0], dtype=torch.float64)[None, None]
    ax, ay = deflection([Deflector(0, 0, 1.5, 1.0, 0.3, slope=slope)], r, torch.zeros_like(r))
    np.testing.assert_allclose(ax[0, 0], 1.5 * (1.5 / r[0, 0]) ** (slope - 2), rtol=1e-6)
    np.testing.assert_allclose(ay, 0, atol=1e-6)


@pytest.mark.parametrize("slope", [1.8, 2.0, 2.3])
def test_source_on_the_axis_of_a_round_power_law_is_a_ring_at_theta_e(slope: float) -> None:
    grid = Grid(size=80, scale=0.1, oversampling=2, margin=0)
    deflector = Deflector(0, 0, 2.0, 1.0, 0, slope=slope)
    image = lensed([LensedSource(deflector, (Sersic(0, 0, 0.05, 1.0, 1.0, 0, ONE),))], [grid])[0]
    axis = grid.axis()
    r = np.hypot(axis[None, :], axis[:, None])
    assert (image * r)[r > 0.8].sum() / image[r > 0.8].sum() == pytest.approx(2.0, abs=0.02)


def test_convergence_of_the_mass_is_half_the_divergence_of_the_deflection() -> None:
    # kappa = (3 - slope) / 2 (theta_E sqrt(q) / rho)^(slope - 1), Tessore & Metcalf (2015), eq. 2.
    deflector = Deflector(0, 0, 1.2, 0.6, 0.0, slope=2.2)
    at, h = np.array([0.9, -0.7]), 1e-5
    x = torch.tensor([at[0] + h, at[0] - h, at[0], at[0]], dtype=torch.float64)[None, None]
    y = torch.tensor([at[1], at[1], at[1] + h, at[1] - h], dtype=torch.float64)[None, None]
    ax, ay = (part[0, 0].numpy() for part in deflection([deflector], x, y))
    divergence = (ax[0] - ax[1] + ay[2] - ay[3]) / (2 * h)
    rho = np.hypot(0.6 * at[0], at[1])
    assert divergence / 2 == pytest.approx(0.4 * (1.2 * np.sqrt(0.6) / rho) ** 1.2, rel=1e-5)


def test_sheet_and_shear_are_linear_about_the_deflector() -> None:
    x, y = torch.tensor([[[1.5]]], dtype=torch.float64), torch.tensor([[[-1.0]]], dtype=torch.float64)
    deflector = Deflector(0.5, 0.0, 1e-12, 0.8, 0.0, shear_1=0.1, shear_2=0.05, convergence=0.2)
    ax, ay = deflection([deflector], x, y)
    assert float(ax) == pytest.approx((0.2 + 0.1) * 1.0 + 0.05 * -1.0)
    assert float(ay) == pytest.approx(0.05 * 1.0 + (0.2 - 0.1) * -1.0)


def test_neighbour_deflects_as_a_sphere_and_leaves_the_centre_where_it_is() -> None:
    x, y = torch.tensor([[[0.0, 3.0, 5.0]]], dtype=torch.float64), torch.zeros((1, 1, 3), dtype=torch.float64)
    deflector = Deflector(0, 0, 1e-12, 0.8, 0.0, neighbours=(Sphere(4.0, 0.0, 0.7),))
    ax, _ = deflection([deflector], x, y)
    # 0.7 towards the neighbour on both of its sides, less the -0.7 at the deflector's centre.
    np.testing.assert_allclose(ax[0, 0], [0.0, 0.0, 1.4], atol=1e-6)


def test_batch_deflects_as_each_alone() -> None:
    deflectors = [
        Deflector(0.1, 0.0, 1.5, 0.7, 0.3, 0.02, 0.01, 2.2, 0.05, (Sphere(3, 1, 0.4), Sphere(-2, 2, 0.2))),
        Deflector(0.0, 0.2, 1.0, 0.5, 1.3),
        Deflector(0.0, 0.2, 1.0, 0.9, 1.3, neighbours=(Sphere(2, 2, 0.5),)),
    ]
    together = deflection(deflectors, *plane(3))
    for index, deflector in enumerate(deflectors):
        alone = deflection([deflector], *plane())
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_allclose(all_of_them[index], one[0], atol=1e-6)
