"""Fitting the criterion of score and map on made-up maps whose worth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate.calibration.joint import with_joint
from pipeline.models.calibration import logit
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.models.ensemble_publish import save_ensemble
from pipeline.models.mapper import Mapper
from pipeline.models.package import load_package
from pipeline.scan.maps import LensLight
from tests.workflows.conftest import write_member


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """One untrained member, which also draws; its network is not asked anything here."""
    folder = tmp_path_factory.mktemp("packages")
    write_member(folder, "drawer", 1, architecture="unet")
    package = load_package(folder / "drawer")
    return Ensemble("one", (package,), (1.0,), "mean_log_odds", mapper=Mapper(package))


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, LensLight, np.ndarray]:
    """Logits whose log likelihood ratio they are, and maps of which `sides` tells lenses apart, the rest nothing."""
    rng = np.random.default_rng(seed)
    lens = rng.random(n) < 0.5
    logits = (np.where(lens, 1.0, -1.0) + rng.normal(0, np.sqrt(2), n)).astype(np.float32)
    sides = (np.where(lens, 0.6, 0.4) + rng.normal(0, 0.1, n)).astype(np.float32)
    noise = [rng.random(n).astype(np.float32) for _ in range(6)]
    return logits[:, None], LensLight(*noise[:5], sides=sides, off_centre=noise[5]), lens


def test_the_score_keeps_its_weight_and_the_map_gets_what_it_is_worth(ensemble: Ensemble):
    logits, light, lens = sample(40_000)
    fitted = with_joint(ensemble, logits, light, lens, "made up", 0.5).mapper
    assert fitted is not None
    joint = fitted.joint
    assert joint is not None
    # Two normal distributions of equal width s, d apart, have a log likelihood ratio that rises by d / s^2.
    assert joint.score == pytest.approx(1.0, abs=0.05)
    assert joint.sides == pytest.approx(0.2 / 0.1**2, rel=0.05)
    assert abs(joint.light) < 0.5
    assert abs(joint.off_centre) < 0.5


def test_the_prior_of_the_fit_is_not_in_the_evidence(ensemble: Ensemble):
    logits, light, lens = sample(40_000)
    evidence = []
    for prior in (0.5, 0.05):
        mapper = with_joint(ensemble, logits, light, lens, "made up", prior).mapper
        assert mapper is not None
        assert mapper.joint is not None
        evidence.append(mapper.joint.evidence(ensemble.evidence(logits, prior), light.features()))
    assert np.abs(evidence[0] - evidence[1]).mean() < 0.3
    assert logit(0.05) < -2.9


def test_rows_without_a_map_or_a_score_are_left_out(ensemble: Ensemble):
    logits, light, lens = sample(2000)
    logits[:50] = np.nan
    sides = light.sides.copy()
    sides[50:100] = np.nan
    mapper = with_joint(ensemble, logits, replace(light, sides=sides), lens, "made up", 0.5).mapper
    assert mapper is not None
    assert mapper.joint is not None
    assert mapper.joint.n_lenses + mapper.joint.n_others == 1900


def test_too_few_of_a_class_leave_the_ensemble_without_a_criterion(ensemble: Ensemble):
    fitted = with_joint(ensemble, *sample(1000), "made up", 0.5)
    logits, light, lens = sample(300)
    assert fitted.mapper is not None
    assert fitted.mapper.joint is not None
    again = with_joint(fitted, logits, light, lens, "made up", 0.5).mapper
    assert again is not None
    assert again.joint is None


def test_without_a_drawer_nothing_is_fitted(ensemble: Ensemble):
    plain = replace(ensemble, mapper=None)
    assert with_joint(plain, *sample(100)[:2], sample(100)[2], "made up", 0.5) is plain


def test_an_ensemble_with_a_joint_criterion_is_read_as_it_was_written(ensemble: Ensemble, tmp_path: Path):
    logits, light, lens = sample(500)
    fitted = with_joint(ensemble, logits, light, lens, "made up", 0.1)
    save_ensemble(tmp_path / "fitted.toml", fitted, "made up")
    read = load_ensemble(tmp_path / "fitted.toml")
    assert read.mapper is not None
    assert fitted.mapper is not None
    assert read.mapper.joint == fitted.mapper.joint
    assert read.mapper.package.weights_sha256 == fitted.mapper.package.weights_sha256
