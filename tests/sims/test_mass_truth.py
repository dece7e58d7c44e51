"""What is told of masses: by turning pictures, by differences, and by lenses that look the same."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pipeline.models.parameter_truth import TRUTH_COLUMNS, parameters_of
from pipeline.models.posterior import NAMES
from pipeline.sims.inject.stamps import turned
from pipeline.sims.mass_truth import MassTruth, mass_truth, tell_mass, tides
from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Grid, Sersic
from pipeline.sims.render.mass import Deflector, Sphere, deflection
from pipeline.sims.stamps.truth import StampTruth

GRID = Grid(40, 0.25, 2, 0)
LENS = LensedSource(
    Deflector(0.4, -0.3, 1.5, 0.7, 0.5, shear_1=0.05, shear_2=-0.08, slope=2.2, convergence=0.1),
    (Sersic(0.75, -0.1, 0.4, 1.0, 1.0, 0.0, np.array([1.0])),),
)


def lens_of(mass: MassTruth, theta_e: float) -> LensedSource:
    """A lens with a round source, of what is told of it; the dumber way back."""
    ellipticity = np.hypot(mass.e1, mass.e2)
    deflector = Deflector(
        mass.lens_x,
        mass.lens_y,
        theta_e,
        float((1 - ellipticity) / (1 + ellipticity)),
        float(np.arctan2(mass.e2, mass.e1) / 2),
        mass.shear_1,
        mass.shear_2,
        mass.slope,
        mass.convergence,
    )
    x, y = mass.lens_x + mass.source_x, mass.lens_y + mass.source_y
    return LensedSource(deflector, (replace(LENS.components[0], x=x, y=y),))


def picture(lens: LensedSource) -> np.ndarray:
    return lensed([lens], [GRID])[0]


def test_a_lens_made_of_what_is_told_of_it_is_the_lens():
    assert np.allclose(picture(lens_of(mass_truth(LENS), 1.5)), picture(LENS), atol=1e-5)


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_picture_is_that_of_the_turned_truth(turn: int):
    made = picture(lens_of(mass_truth(LENS).turned(turn % 4, turn >= 4), 1.5))
    assert np.allclose(made, turned(picture(LENS), turn), atol=2e-4 * made.max())


def test_tides_of_neighbours_are_the_gradient_of_their_deflection():
    spheres = (Sphere(4.0, 1.0, 0.8), Sphere(-3.0, 5.0, 0.4))
    deflector = Deflector(0.5, -0.2, 1.0, 0.9999, 0.0, neighbours=spheres)
    alone = replace(deflector, neighbours=())
    step = 1e-4
    x = torch.tensor([[0.5 - step, 0.5 + step, 0.5, 0.5]], dtype=torch.float64)
    y = torch.tensor([[-0.2, -0.2, -0.2 - step, -0.2 + step]], dtype=torch.float64)
    with_x, with_y = (plane[0, 0] for plane in deflection([deflector], x[:, None], y[:, None]))
    without_x, without_y = (plane[0, 0] for plane in deflection([alone], x[:, None], y[:, None]))
    ax, ay = (with_x - without_x).numpy(), (with_y - without_y).numpy()
    xx, xy, yy = (ax[1] - ax[0]) / (2 * step), (ay[1] - ay[0]) / (2 * step), (ay[3] - ay[2]) / (2 * step)
    assert tides(deflector) == pytest.approx(((xx + yy) / 2, (xx - yy) / 2, xy), abs=1e-5)


def test_a_neighbour_inside_the_einstein_radius_counts_as_if_on_it():
    near = Deflector(0.0, 0.0, 2.0, 0.8, 0.0, neighbours=(Sphere(0.5, 0.0, 0.4),))
    assert tides(near) == pytest.approx((0.1, -0.1, 0.0))


def test_what_is_told_is_written_into_the_columns_of_the_same_names():
    truth = StampTruth.empty(2, bands=1)
    mass = mass_truth(LENS)
    tell_mass(truth, 1, mass)
    for item in fields(mass):
        column = getattr(truth, item.name)
        assert np.isnan(column[0])
        assert column[1] == pytest.approx(getattr(mass, item.name))


def columns(mass: MassTruth, theta_e: float, magnified: float = 1.0) -> dict[str, np.ndarray]:
    known = {"theta_E": theta_e, "magnified": magnified}
    return {name: np.array([known.get(name, getattr(mass, name, 0.0))]) for name in TRUTH_COLUMNS}


def test_parameters_are_those_of_a_lens_without_a_sheet_that_looks_the_same():
    mass = mass_truth(LENS)
    named = dict(zip(NAMES, parameters_of(columns(mass, 1.5))[0].tolist(), strict=True))
    bare = replace(
        mass,
        convergence=0.0,
        **{name: named[name] for name in NAMES if name != "theta_E"},
    )
    same = lens_of(bare, named["theta_E"])
    # Its source is as much larger as its distance is; surface brightness stays.
    source = replace(same.components[0], radius=0.4 / 0.9, flux=np.array([1 / 0.9**2]))
    assert named["theta_E"] == pytest.approx(1.5 * 0.9 ** (-1 / 1.2))
    made = picture(replace(same, components=(source,)))
    assert np.allclose(made, picture(LENS), atol=2e-4 * made.max())


def test_angles_are_those_that_the_stamp_shows():
    once, larger = (parameters_of(columns(mass_truth(LENS), 1.5, zoom))[0] for zoom in (1.0, 1.2))
    expected = [1.2, 1, 1, 1, 1, 1.2, 1.2, 1.2, 1.2]
    assert larger / once == pytest.approx(expected, rel=1e-5)


def test_stamps_without_a_lens_and_lenses_in_too_much_convergence_have_no_parameters():
    truth = StampTruth.empty(3, bands=1)
    for row, convergence in ((1, 0.2), (2, 0.9)):
        truth.theta_E[row] = 1.0
        tell_mass(truth, row, replace(mass_truth(LENS), convergence=convergence))
    found = parameters_of({name: getattr(truth, name) for name in TRUTH_COLUMNS})
    assert np.isfinite(found).all(1).tolist() == [False, True, False]
    assert np.isnan(found[[0, 2]]).all()
