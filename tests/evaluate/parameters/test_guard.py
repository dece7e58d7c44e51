"""What the shipped network trusts itself with: simulated lenses, and far less of what is none."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from pipeline.config import config_root
from pipeline.evaluate.realism.probe import embeddings
from pipeline.evaluate.samples.sample import Part
from pipeline.models.calibration import sigmoid
from pipeline.models.card import find_package
from pipeline.models.package import ModelPackage, load_package
from pipeline.models.parameter_truth import TRUTH_COLUMNS, parameters_of
from pipeline.models.posterior import PosteriorHead, base_samples, trustworthy
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.stamps.simulate import simulate_stamps
from pipeline.sims.stamps.truth import SimulatedStamps

N = 60


@pytest.fixture(scope="module")
def config() -> SimsConfig:
    loaded = load_sims(Path(config_root()) / "sims" / "lens-parameters.toml")
    assert isinstance(loaded, SimsConfig)
    return loaded


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return load_package(find_package("ground_lensnet"))


@pytest.fixture(scope="module")
def lenses(config: SimsConfig) -> SimulatedStamps:
    return simulate_stamps(config.model_copy(update={"lens_share": 1.0, "artefact_share": 0.0}), N, 901)


def trusted(package: ModelPackage, part: Part, config: SimsConfig) -> float:
    """Share of some stamps whose posteriors are trusted, and the samples of all."""
    embedding = torch.from_numpy(embeddings(part, package, bands=config.bands, pixel_scale=config.pixel_scale))
    head = cast("PosteriorHead", package.network.head)
    assert package.familiarity is not None
    with torch.inference_mode():
        drawn = head.sample(embedding, base_samples(128, 1))
        beyond = ((drawn < head.support[0]) | (drawn > head.support[1])).float().mean(1).amax(1)
        lens = sigmoid(head.classify(embedding).double().numpy())
        unfamiliar = package.familiarity.share_nearer(package.familiarity.distance(embedding).numpy())
    kept = trustworthy(lens, unfamiliar, beyond.numpy(), least_lens=0.5, unfamiliar_share=0.99, beyond_share=0.16)
    return float(kept.mean())


def part_of(stamps: SimulatedStamps) -> Part:
    return Part(stamps.image, stamps.ivar, stamps.mask)


def test_simulated_lenses_are_trusted_and_measured(
    package: ModelPackage, lenses: SimulatedStamps, config: SimsConfig
) -> None:
    assert trusted(package, part_of(lenses), config) > 0.85
    truth = parameters_of({name: getattr(lenses.truth, name) for name in TRUTH_COLUMNS})
    embedding = embeddings(part_of(lenses), package, bands=config.bands, pixel_scale=config.pixel_scale)
    with torch.inference_mode():
        head = cast("PosteriorHead", package.network.head)
        mean, std = head.mean_and_std(torch.from_numpy(embedding), base_samples(256, 1))
    away = (mean.numpy()[:, 0] - truth[:, 0]) / truth[:, 0]
    assert abs(np.nanmedian(away)) < 0.04
    assert 1.4826 * np.nanmedian(np.abs(away)) < 0.12
    inside = np.abs(mean.numpy()[:, 0] - truth[:, 0]) < std.numpy()[:, 0]
    assert 0.5 < inside.mean() < 0.88


@pytest.mark.parametrize(("kinds", "most"), [({"star": 1.0}, 0.3), ({"elliptical": 1.0, "spiral": 1.0}, 0.6)])
def test_what_is_no_lens_is_trusted_far_less_often(
    package: ModelPackage, config: SimsConfig, kinds: dict[str, float], most: float
) -> None:
    others = config.model_copy(update={"lens_share": 0.0, "negatives": kinds, "artefact_share": 0.0})
    assert trusted(package, part_of(simulate_stamps(others, N, 902)), config) < most


def test_lenses_under_a_glare_that_no_mask_tells_of_are_trusted_less_often(
    package: ModelPackage, lenses: SimulatedStamps, config: SimsConfig
) -> None:
    image = lenses.image.copy()
    noise = 1 / np.sqrt(lenses.ivar[..., :1, :1])
    image[..., :24] += 40 * noise
    assert trusted(package, Part(image, lenses.ivar, lenses.mask), config) < 0.5
