"""Images of a fit's model against the simulations' own renderer, which shares no profile and no deflection with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.lensfit.config import load_fit
from pipeline.lensfit.curves import caustics, critical_lines
from pipeline.lensfit.observation import observe
from pipeline.lensfit.parameters import MASS, SIZE, VECTOR, lens_of, physical_of, vector_of_mass
from pipeline.lensfit.scene import canvas_of, images
from pipeline.models.posterior import NAMES
from tests.lensfit.lenses import SCALE, SEEING, simulated
from tests.lensfit.lenses import SIZE as SIDE

PRIORS = load_fit().priors


def rendered(physical: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    blank = np.zeros((1, SIDE, SIDE))
    observation = observe(blank, blank + 1, None, bands=("r",), pixel_scale=SCALE, seeing=[SEEING])
    canvas = canvas_of(observation, load_fit().rendering, centre)
    return images(lens_of(torch.from_numpy(physical)[None]), canvas)[0].numpy()


def test_deflector_and_arc_are_those_of_the_simulations() -> None:
    made = simulated()
    galaxy, arc = rendered(made.physical, (0.05, -0.08))
    np.testing.assert_allclose(galaxy, made.galaxy, atol=0.01 * made.galaxy.max())
    np.testing.assert_allclose(arc, made.arc, atol=0.01 * made.arc.max())
    assert galaxy.sum() == pytest.approx(made.galaxy.sum(), rel=0.005)
    assert arc.sum() == pytest.approx(made.arc.sum(), rel=0.005)


def test_cusp_is_averaged_wherever_the_deflector_is_expected() -> None:
    physical = simulated().physical.copy()
    physical[VECTOR.index("light_sersic")] = 5.0
    # Moved by whole pixels, a deflector is the same picture, moved.
    near = rendered(physical, (0.05, -0.08))[0]
    moved = physical.copy()
    moved[VECTOR.index("lens_x")] += 4 * SCALE
    far = rendered(moved, (0.05 + 4 * SCALE, -0.08))[0]
    np.testing.assert_allclose(far[:, 2:-2, 8:-4], near[:, 2:-2, 4:-8], atol=2e-3 * near.max())


def test_a_vector_begins_with_the_networks_parameters_and_means_them() -> None:
    assert VECTOR[:MASS] == NAMES
    given = np.array(
        [[1.7, 0.2, -0.1, 0.04, -0.03, 0.3, 0.1, -0.2, 0.4], [0.8, -0.4, 0.3, 0.0, 0.1, 0.0, -0.2, 0.0, 0.1]]
    )
    back = physical_of(torch.from_numpy(vector_of_mass(given, PRIORS)), PRIORS)
    np.testing.assert_allclose(back[:, :MASS], given, atol=1e-12)


def test_no_vector_is_flatter_than_what_has_a_deflection() -> None:
    wild = 50 * torch.randn((100, SIZE), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lens = lens_of(physical_of(wild.clamp(-50, 50), PRIORS))
    assert float(lens.q.min()) > 0.17
    assert float(lens.light_q.min()) > 0.17


def test_round_lens_is_critical_at_its_einstein_radius_and_its_caustic_is_a_point() -> None:
    physical = simulated().physical.copy()
    physical[[1, 2, 3, 4]] = 0.0, 1e-6, 0.0, 0.0
    lens = lens_of(torch.from_numpy(physical)[None])
    (line,) = critical_lines(lens)
    assert np.hypot(line[:, 0] - 0.05, line[:, 1] + 0.08) == pytest.approx(1.4, abs=0.01)
    (point,) = caustics(lens, [line])
    np.testing.assert_allclose(point, np.broadcast_to([0.05, -0.08], point.shape), atol=0.02)
