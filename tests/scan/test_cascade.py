"""A gate in front of the members: who is stopped, what the others get, and what the catalogue says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ModelMismatch
from pipeline.flags import PixelFlag, VetFlag, mask_value
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.cascade import Cascade, CascadeConfig
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage
from pipeline.scan.score import MemberAnswers, ask_members
from pipeline.scan_config import ScoreConfig
from tests.cards import card

BANDS = ("g", "r", "i")
CALIBRATION = Calibration(slope=2, offset=-1, prior=0.5, n_lenses=1, n_others=1, fitted_on="")


def package(architecture: str) -> ModelPackage:
    torch.manual_seed(5)
    network = build(architecture, 2 * len(BANDS) + 1, {"width": 8}).eval()
    own = card(name=architecture, architecture=architecture, bands=BANDS)
    return ModelPackage(Path(), own, network, "none", CALIBRATION)


def gated(ensemble: Ensemble, threshold: float, views: int = 1) -> Ensemble:
    config = CascadeConfig(
        gate="cnn",
        views=views,
        threshold=threshold,
        loss=0.001,
        prior=1e-4,
        floor=1e-4,
        n_candidates=1,
        passed=0.1,
        calibration=CALIBRATION,
    )
    return replace(ensemble, cascade=Cascade(package("cnn"), config))


@pytest.fixture(scope="module")
def whole() -> Ensemble:
    return Ensemble("test", (package("multiscale"), package("preact_resnet")), (1.0, 1.0), "mean_log_odds", views=2)


def cutouts(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10, (n, 3, 78, 78)).astype(np.float32)


def ask(image: np.ndarray, ensemble: Ensemble, mask: np.ndarray | None = None, cascade: bool = True) -> MemberAnswers:
    config = ScoreConfig(batch=8, device="cpu", cascade=cascade)
    return ask_members(image, None, mask, pixel_scale=0.262, bands=BANDS, ensemble=ensemble, config=config)


def middle(ensemble: Ensemble, image: np.ndarray) -> float:
    """A threshold that stops half of some cutouts."""
    gate = ask(image, gated(ensemble, -1e9)).gate
    assert gate is not None
    return float(np.median(gate))


def test_what_passes_the_gate_has_the_logits_of_the_whole_ensemble_and_what_does_not_has_none(whole: Ensemble):
    image = cutouts(21)
    threshold = middle(whole, image)
    answers, plain = ask(image, gated(whole, threshold)), ask(image, whole, cascade=False)
    assert answers.gate is not None
    stopped = answers.gate < threshold
    assert 5 < stopped.sum() < 16
    np.testing.assert_allclose(answers.logits[~stopped], plain.logits[~stopped], atol=1e-5)
    assert np.isnan(answers.logits[stopped]).all()
    assert plain.gate is None


def test_the_gate_is_asked_only_where_the_config_says_so(whole: Ensemble):
    image = cutouts(5)
    assert np.isfinite(ask(image, gated(whole, 1e9), cascade=False).logits).all()
    assert np.isnan(ask(image, gated(whole, 1e9)).logits).all()


def test_a_gate_looks_as_a_member_of_its_own_would(whole: Ensemble):
    image = cutouts(11)
    for views in (1, 4):
        cascade = gated(whole, 0.0, views)
        alone = Ensemble("gate", (package("cnn"),), (1.0,), "mean", views=views)
        assert ask(image, cascade).gate.tobytes() == ask(image, alone, cascade=False).logits[:, 0].tobytes()


def test_a_stamp_that_the_gate_cannot_score_is_not_stopped(whole: Ensemble):
    image, mask = cutouts(9), np.zeros((9, 3, 78, 78), np.uint32)
    mask[4] = mask_value(PixelFlag.SATURATED)
    answers = ask(image, gated(whole, 1e9), mask)
    assert answers.gate is not None
    assert np.isnan(answers.gate).tolist() == [row == 4 for row in range(9)]
    cascade = gated(whole, 1e9).gate()
    assert cascade.stops(answers.gate).tolist() == [row != 4 for row in range(9)]


def test_the_same_shard_gives_the_same_bytes_behind_a_gate(whole: Ensemble):
    image = cutouts(37)
    ensemble = gated(whole, middle(whole, image))
    first, second = ask(image, ensemble), ask(image.copy(), ensemble)
    assert first.logits.tobytes() == second.logits.tobytes()
    assert first.gate.tobytes() == second.gate.tobytes()


def test_no_stamps_and_no_survivors_give_no_logits(whole: Ensemble):
    none = ask(cutouts(0), gated(whole, 0.0))
    assert none.logits.shape == (0, 2)
    assert none.gate.shape == (0,)


def test_a_cascade_that_is_not_there_is_a_mismatch(whole: Ensemble):
    with pytest.raises(ModelMismatch, match="has no cascade"):
        ask(cutouts(2), whole)
    with pytest.raises(ModelMismatch, match="calibrate test --cascade"):
        whole.fingerprint(cascade=True)


def test_scores_behind_another_gate_are_other_scores(whole: Ensemble):
    plain, gate = whole.fingerprint(), gated(whole, 0.5)
    assert gate.fingerprint() == plain
    wanted = {
        plain,
        *(one.fingerprint(cascade=True) for one in (gate, gated(whole, 0.6), gated(whole, 0.5, views=2))),
    }
    assert len(wanted) == 4
    assert gated(whole, 0.5).fingerprint(cascade=True) == gate.fingerprint(cascade=True)


def test_a_gates_probability_is_that_of_its_logit_at_the_prior(whole: Ensemble):
    cascade = gated(whole, 0.0).gate()
    odds = np.array([2 * 1.5 - 1 + np.log(0.1 / 0.9), np.nan])
    np.testing.assert_allclose(cascade.score(np.array([1.5, np.nan], np.float32), 0.1), 1 / (1 + np.exp(-odds)))


def test_stopped_is_a_bit_of_its_own():
    assert int(VetFlag.STOPPED_BY_GATE) == 1 << 11
