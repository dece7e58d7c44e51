"""Most probable models, samples and re-simulations of lenses whose truth is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.lensfit import nuts
from pipeline.lensfit.fit_map import MapFit, fit_map
from pipeline.lensfit.observation import Observation, observe
from pipeline.lensfit.parameters import SIZE, VECTOR, physical_of
from pipeline.lensfit.picture import resimulation_png
from pipeline.lensfit.resimulate import resimulate
from tests.lensfit.lenses import SCALE, SEEING, TRUE, near_truth, observed, quick, simulated


@pytest.fixture(scope="module")
def stamp() -> Observation:
    return observed()


@pytest.fixture(scope="module")
def best(stamp: Observation) -> MapFit:
    return fit_map(stamp, quick(), samples=near_truth())


def test_most_probable_model_has_the_true_parameters_within_its_errors(best: MapFit) -> None:
    for name, true in TRUE.items():
        value, std = best.values[name]
        assert abs(value - true) < 3.5 * std, name
    assert best.values["theta_E"][1] < 0.05
    assert best.converged
    # A model of the right kind leaves noise: chi-squared is the number of pixels, give or take sqrt(2 n).
    expected = best.pixels / best.noise_factor[0]
    assert abs(best.chi2 - expected) < 4 * np.sqrt(2 * best.pixels)


def test_posterior_of_a_fit_is_that_of_its_values(best: MapFit) -> None:
    assert best.posterior.samples.shape == (1, 1000, 9)
    assert best.posterior.std[0, 0] == pytest.approx(best.values["theta_E"][1], rel=1e-3)


def test_lens_is_found_without_a_network_too(stamp: Observation) -> None:
    config = quick()
    config = config.model_copy(update={"map": config.map.model_copy(update={"screened": 150})})
    found = fit_map(stamp, config)
    assert abs(found.values["theta_E"][0] - TRUE["theta_E"]) < 3.5 * found.values["theta_E"][1]


def test_another_galaxy_beside_the_lens_is_left_out(stamp: Observation, best: MapFit) -> None:
    y, x = np.indices(stamp.image.shape[1:])
    blob = 400 * np.exp(-0.5 * ((x - 24) ** 2 + (y - 23) ** 2) / 1.2**2)
    crowded = observe(stamp.image + blob, stamp.weight, None, bands=("r",), pixel_scale=SCALE, seeing=[SEEING])
    found = fit_map(crowded, quick(), samples=near_truth())
    assert found.observation.weight[0, 23, 24] == 0
    assert found.observation.weight[0, 14, 14] > 0
    assert abs(found.values["theta_E"][0] - best.values["theta_E"][0]) < 2 * best.values["theta_E"][1]


class Elsewhere:
    """A Gaussian posterior a standard deviation from a fit's optimum, and half as wide again as its covariance."""

    def __init__(self, best: MapFit) -> None:
        self.root = 1.5 * torch.linalg.cholesky(torch.from_numpy(best.covariance))
        self.mean = torch.from_numpy(best.vector) + self.root @ torch.full((SIZE,), 1 / 1.5, dtype=torch.float64)
        self.dtype, self.evaluations = torch.float64, 0

    def potential(self, vectors: torch.Tensor) -> torch.Tensor:
        self.evaluations += len(vectors)
        plain = torch.linalg.solve_triangular(self.root, (vectors - self.mean).T, upper=False)
        return 0.5 * plain.square().sum(0)


def test_nuts_draws_the_likelihoods_posterior_and_tells_how_sure_it_is(
    best: MapFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.random.get_rng_state()
    config, posterior = quick(), Elsewhere(best)
    monkeypatch.setattr(nuts, "Likelihood", lambda *given: posterior)
    drawn = nuts.fit_nuts(config, best)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn.posterior.samples.shape == (1, 200, 9)
    normal = np.random.default_rng(5).standard_normal((20000, SIZE))
    vectors = posterior.mean + torch.from_numpy(normal) @ posterior.root.T
    expected = physical_of(vectors, config.priors).numpy()
    for name in ("theta_E", "source_x", "lens_x"):
        mean, std = drawn.values[name]
        true, width = expected[:, VECTOR.index(name)].mean(), expected[:, VECTOR.index(name)].std()
        # The fit's own widths are two thirds of these, and 200 draws tell a standard deviation to some 5 %.
        assert std == pytest.approx(width, rel=0.25), name
        assert abs(mean - true) < 0.3 * width, name
    assert (drawn.r_hat < 1.15).all()
    assert (drawn.effective_draws > 40).all()
    assert not drawn.converged  # by a config that asks for 1,000 effective draws
    assert drawn.evaluations == posterior.evaluations > 200


def test_resimulation_of_a_network_holds_its_mass_and_finds_the_light(stamp: Observation) -> None:
    samples = np.repeat(simulated().physical[None, :9], 5, axis=0)
    made = resimulate(stamp, quick(), samples=samples)
    for name, true in TRUE.items():
        assert made.values[name] == pytest.approx(true, abs=1e-6), name
    assert made.values["source_radius"] == pytest.approx(0.3, abs=0.1)
    assert made.values["light_radius"] == pytest.approx(0.9, abs=0.5)
    assert "the network's" in made.text
    assert abs(made.chi2 - made.pixels) < 5 * np.sqrt(2 * made.pixels)


def test_picture_shows_four_panels_and_marks_the_model(stamp: Observation, best: MapFit) -> None:
    made = resimulate(best.observation, quick(), fit=best)
    with Image.open(io.BytesIO(resimulation_png(made, "objid 7"))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] == 4 * 304 + 16
    # The critical line is red, the caustic green and the Einstein radius blue, all in the second panel alone.
    second = np.zeros(pixels.shape[:2], bool)
    second[:, 320:608] = True
    for ink in ((255, 80, 60), (90, 230, 90), (90, 190, 255)):
        inked = (pixels == ink).all(-1)
        assert inked[second].sum() > 20
        assert not inked[~second].any()


def test_resimulation_needs_one_thing_to_show(stamp: Observation, best: MapFit) -> None:
    with pytest.raises(ConfigError, match="either samples or a fit"):
        resimulate(stamp, quick())
    with pytest.raises(ConfigError, match="aren't finite"):
        resimulate(stamp, quick(), samples=np.full((3, 9), np.nan))
