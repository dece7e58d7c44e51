"""A gate in front of the members: who is stopped, what the others get, and what the catalogue says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import ModelMismatch
from pipeline.flags import PixelFlag, VetFlag, mask_value
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.cascade import Cascade
from pipeline.models.cascade_config import CascadeConfig, GateConfig
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
    return ModelPackage(Path(), own, "none", CALIBRATION, network=network)


def gated(ensemble: Ensemble, *thresholds: float, views: int = 1) -> Ensemble:
    """One or two gates; the second judges by half of each logit."""
    weights = ((1.0,), (0.5, 0.5))
    gates = tuple(
        GateConfig(package=name, weights=weights[number], threshold=threshold, calibration=CALIBRATION)
        for number, (name, threshold) in enumerate(zip(("cnn", "multiscale"), thresholds, strict=False))
    )
    config = CascadeConfig(views=views, loss=0.001, prior=1e-4, floor=1e-4, n_candidates=1, passed=0.1, gates=gates)
    return replace(ensemble, cascade=Cascade(tuple(package(gate.package) for gate in gates), config))


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
    gates = ask(image, gated(ensemble, -1e9)).gates
    assert gates is not None
    return float(np.median(gates))


def test_what_passes_the_gate_has_the_logits_of_the_whole_ensemble_and_what_does_not_has_none(whole: Ensemble):
    image = cutouts(21)
    threshold = middle(whole, image)
    answers, plain = ask(image, gated(whole, threshold)), ask(image, whole, cascade=False)
    assert answers.gates is not None
    stopped = answers.gates[:, 0] < threshold
    assert 5 < stopped.sum() < 16
    np.testing.assert_allclose(answers.logits[~stopped], plain.logits[~stopped], atol=1e-5)
    assert np.isnan(answers.logits[stopped]).all()
    assert plain.gates is None


def test_the_gate_is_asked_only_where_the_config_says_so(whole: Ensemble):
    image = cutouts(5)
    assert np.isfinite(ask(image, gated(whole, 1e9), cascade=False).logits).all()
    assert np.isnan(ask(image, gated(whole, 1e9)).logits).all()


def test_a_gate_looks_as_a_member_of_its_own_would(whole: Ensemble):
    image = cutouts(11)
    for views in (1, 4):
        cascade = gated(whole, 0.0, views=views)
        alone = Ensemble("gate", (package("cnn"),), (1.0,), "mean", views=views)
        assert ask(image, cascade).gates.tobytes() == ask(image, alone, cascade=False).logits.tobytes()


def test_a_stamp_that_the_gate_cannot_score_is_not_stopped(whole: Ensemble):
    image, mask = cutouts(9), np.zeros((9, 3, 78, 78), np.uint32)
    mask[4] = mask_value(PixelFlag.SATURATED)
    answers = ask(image, gated(whole, 1e9), mask)
    assert answers.gates is not None
    assert np.isnan(answers.gates[:, 0]).tolist() == [row == 4 for row in range(9)]
    cascade = gated(whole, 1e9).gates()
    assert cascade.stops(answers.gates).tolist() == [row != 4 for row in range(9)]


def test_the_same_shard_gives_the_same_bytes_behind_a_gate(whole: Ensemble):
    image = cutouts(37)
    ensemble = gated(whole, middle(whole, image))
    first, second = ask(image, ensemble), ask(image.copy(), ensemble)
    assert first.logits.tobytes() == second.logits.tobytes()
    assert first.gates.tobytes() == second.gates.tobytes()


def test_no_stamps_and_no_survivors_give_no_logits(whole: Ensemble):
    none = ask(cutouts(0), gated(whole, 0.0))
    assert none.logits.shape == (0, 2)
    assert none.gates.shape == (0, 1)


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
        gated(whole, 0.5, 0.5).fingerprint(cascade=True),
    }
    assert len(wanted) == 5
    assert gated(whole, 0.5).fingerprint(cascade=True) == gate.fingerprint(cascade=True)


def test_a_second_gate_sees_what_the_first_passes_and_judges_by_both(whole: Ensemble):
    image = cutouts(33)
    alone = Ensemble("gates", (package("cnn"), package("multiscale")), (1.0, 1.0), "mean")
    both = ask(image, alone, cascade=False).logits
    first = float(np.median(both[:, 0]))
    second = float(np.median(both[both[:, 0] >= first].mean(axis=1)))
    answers = ask(image, gated(whole, first, second))
    assert answers.gates is not None
    passed = both[:, 0] >= first
    np.testing.assert_array_equal(answers.gates[:, 0], both[:, 0])
    np.testing.assert_allclose(answers.gates[passed, 1], both[passed, 1], atol=1e-5)
    assert np.isnan(answers.gates[~passed, 1]).all()
    through = passed & (both.mean(axis=1) >= second + 1e-5)
    assert 3 < through.sum() < passed.sum()
    assert np.isfinite(answers.logits[through]).all()
    assert np.isnan(answers.logits[~passed]).all()


def test_gates_probability_is_that_of_the_last_one_that_has_looked(whole: Ensemble):
    cascade = gated(whole, 0.0, 0.0).gates()
    logits = np.array([[1.5, np.nan], [1.0, 3.0], [np.nan, np.nan]], np.float32)
    odds = np.array([2 * 1.5 - 1, 2 * 2.0 - 1, np.nan]) + np.log(0.1 / 0.9)
    np.testing.assert_allclose(cascade.score(logits, 0.1), 1 / (1 + np.exp(-odds)), rtol=1e-6)
    assert cascade.stops(logits).tolist() == [False, False, False]
    assert cascade.stops(np.array([[-1, np.nan], [1, -3]], np.float32)).tolist() == [True, True]


def test_a_gate_without_a_weight_for_each_gate_so_far_is_refused(whole: Ensemble):
    values = gated(whole, 0.0, 0.0).gates().config.model_dump()
    values["gates"][1]["weights"] = (1.0,)
    with pytest.raises(ValidationError, match="gate 2, multiscale, needs 2 weights"):
        CascadeConfig.model_validate(values)


def test_stopped_is_a_bit_of_its_own():
    assert int(VetFlag.STOPPED_BY_GATE) == 1 << 11
