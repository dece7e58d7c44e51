"""Fitting rules and surveys' calibrations on made-up logits whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.catalogue.purity import expected_purity
from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.compare import compare_rules, held_out_evidence
from pipeline.evaluate.calibration.data import logits_of_table
from pipeline.evaluate.calibration.fit import fit_beta, fit_platt
from pipeline.evaluate.calibration.purity import labelled_purity
from pipeline.evaluate.calibration.rules import fit_rule
from pipeline.evaluate.calibration.shift import fit_survey_ensemble, shift_ensemble
from pipeline.evaluate.calibration.survey import fit_offset, fit_unlabelled
from pipeline.evaluate.metrics import completeness_at_fpr
from pipeline.models.calibration import Calibration, log_odds, logit, sigmoid
from pipeline.models.card import find_package
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import load_package

NAMES = ("ground_multiscale", "ground_resnet", "ground_preact_resnet")


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Three of the shipped members by a plain rule; their networks are not asked anything here."""
    members = tuple(load_package(find_package(name)) for name in NAMES)
    return Ensemble("three", members, (1.0, 1.0, 1.0), "mean_log_odds")


def sample(n: int, seed: int = 0, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian logits of three members with errors in common and of their own; the first is the best."""
    rng = np.random.default_rng(seed)
    lens = rng.random(n) < share
    common = rng.normal(0, 1, n)
    members = [4 * lens - 2 + common + rng.normal(0, own, n) for own in (0.7, 1.5, 3.0)]
    return np.stack(members, axis=1), lens


def test_weights_of_classes_are_those_of_a_resampled_set():
    logits, lens = sample(4000)
    fit = fit_platt(logits[:, 1], lens, "weighted", prior=0.05)
    weight = np.where(lens, 0.05 / lens.sum(), 0.95 / (~lens).sum()) * len(lens)
    plain = LogisticRegression(C=np.inf).fit(logits[:, 1:2], lens, sample_weight=weight)
    assert (fit.slope, fit.offset) == pytest.approx((plain.coef_[0, 0], plain.intercept_[0]), rel=0.01)
    assert fit.prior == 0.05


def test_beta_finds_two_slopes_and_a_straight_line_where_there_is_one():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 3, 60_000)
    bent = 0.4 * np.logaddexp(0, x) - 1.5 * np.logaddexp(0, -x) - 0.3
    fit = fit_beta(x, rng.random(len(x)) < sigmoid(bent), "bent")
    assert fit.upper_slope is not None
    assert (fit.upper_slope, fit.slope, fit.offset) == pytest.approx((0.4, 1.5, -0.3), abs=0.08)
    np.testing.assert_allclose(log_odds(x, fit, fit.prior), bent, atol=0.5)
    straight = fit_beta(x, rng.random(len(x)) < sigmoid(0.7 * x), "straight")
    assert straight.upper_slope == pytest.approx(straight.slope, abs=0.08)


def test_a_stamp_without_a_logit_has_no_odds_by_any_method():
    common = {"slope": 1.0, "offset": 0.0, "prior": 0.5, "n_lenses": 1, "n_others": 1, "fitted_on": "-"}
    for more in ({}, {"method": "beta", "upper_slope": 2.0}):
        odds = log_odds(np.array([0.0, np.nan]), Calibration.model_validate({**common, **more}), 0.5)
        assert np.isfinite(odds[0])
        assert np.isnan(odds[1])


def test_stacking_agrees_with_logistic_regression_and_trusts_the_best_member():
    evidence, lens = sample(5000)
    found = fit_rule("stacking", evidence, evidence, lens, NAMES, prior=float(lens.mean()))
    plain = LogisticRegression(C=np.inf).fit(evidence, lens)
    assert found.coefficients is not None
    np.testing.assert_allclose(list(found.coefficients.values()), plain.coef_[0], rtol=0.01)
    assert found.intercept == pytest.approx(plain.intercept_[0] - logit(lens.mean()), abs=0.01)


def test_weights_are_on_the_simplex_and_no_other_of_a_grid_is_better():
    evidence, lens = sample(3000)
    found = fit_rule("weighted", evidence, evidence, lens, NAMES, prior=float(lens.mean()))
    assert found.weights is not None
    best = np.array(list(found.weights.values()))
    assert best.sum() == pytest.approx(1)
    p = sigmoid(evidence + logit(lens.mean()))

    def loss(weights: np.ndarray) -> float:
        pooled = p @ weights
        return float(-np.log(np.where(lens, pooled, 1 - pooled)).mean())

    grid = [np.array([a, b, 1 - a - b]) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 11)]
    assert loss(best) <= min(map(loss, grid)) + 1e-6


def test_members_that_repeat_each_other_shrink_the_product_to_one_of_them():
    rng = np.random.default_rng(5)
    lens = rng.random(20_000) < 0.5
    one = rng.normal(0, 2, len(lens)) + 4 * lens - 2
    repeated = np.repeat(one[:, None], 3, axis=1)  # the true log likelihood ratio is the number itself
    shrink = fit_rule("independent_bayes", repeated, repeated, lens, NAMES, prior=0.5).shrink
    assert shrink == pytest.approx(1 / 3, abs=0.01)
    apart = np.stack([rng.normal(0, 2, len(lens)) + 4 * lens - 2 for _ in range(3)], axis=1)
    assert fit_rule("independent_bayes", apart, apart, lens, NAMES, prior=0.5).shrink == pytest.approx(1, abs=0.03)


def test_the_comparison_is_held_out_calibrated_and_agrees_with_plain_counting(ensemble: Ensemble):
    logits, lens = sample(6000)
    keys = {"method": "platt", "prior": 0.5, "folds": 2, "seed": 1}
    found = held_out_evidence(ensemble, logits, lens, "made up", rules=("mean", "stacking"), **keys)
    lines = {line.name: line for line in compare_rules(ensemble, lens, found, replicates=60)}
    assert set(lines) == {"mean", "stacking", *NAMES}
    assert [line.is_rule for line in lines.values()] == [True, True, False, False, False]
    for name, line in lines.items():
        plain = completeness_at_fpr(found[name], lens, 0.01)
        assert line.completeness[0].value == pytest.approx(plain.value)
        assert line.completeness[0].low <= plain.value <= line.completeness[0].high
    assert lines["ground_multiscale"].gain.value == 0
    assert lines["stacking"].log_loss.value < lines["ground_multiscale"].log_loss.value
    p = sigmoid(found["stacking"] + logit(lens.mean()))
    assert p.mean() == pytest.approx(lens.mean(), abs=0.01)


def test_a_surveys_own_detections_bring_a_shifted_network_back():
    rng = np.random.default_rng(1)
    sky = np.concatenate([rng.normal(-2, 1, 60_000), rng.normal(2, 1, 600)])
    prior = 600 / 60_600
    # Of two unit Gaussians 4 apart, the log likelihood ratio is 4 x; the network is off by 3 on this survey.
    off = Calibration(slope=4.0, offset=3.0, prior=0.5, n_lenses=1, n_others=1, fitted_on="elsewhere")
    shift = fit_offset(off, sky, prior, "the survey", replicates=30)
    assert shift.moved == pytest.approx(-3, abs=0.2)
    assert shift.low <= shift.moved <= shift.high
    assert sigmoid(log_odds(sky, shift.calibration, prior)).mean() == pytest.approx(prior, rel=1e-6)
    fit = fit_unlabelled(rng.normal(2, 1, 4000), sky, prior, "the survey")
    assert fit.slope == pytest.approx(4, rel=0.05)
    assert fit.offset - logit(fit.prior) == pytest.approx(0, abs=0.2)


def test_an_ensemble_on_detections_has_the_prior_for_its_mean(ensemble: Ensemble):
    detections, _ = sample(5000, seed=3, share=0.01)
    lenses, is_lens = sample(3000, seed=4)
    moved = shift_ensemble(ensemble, detections, 0.01, "sky")
    assert set(moved.shifts) == {*NAMES, "ensemble"}
    assert moved.ensemble.score(detections, 0.01).score.mean() == pytest.approx(0.01, rel=1e-3)
    fitted = fit_survey_ensemble(ensemble, lenses[is_lens], detections, 0.01, "sky", rule="stacking")
    assert fitted.score(detections, 0.01).score.mean() == pytest.approx(0.01, rel=0.3)
    with pytest.raises(ConfigError, match="Scan more fields"):
        shift_ensemble(ensemble, detections[:50], 0.01, "sky")


def test_expected_purity_by_hand_and_from_labels():
    rows = expected_purity([np.array([0.5, 0.9, np.nan]), np.array([0.99], np.float32)], (0.9, 0.999))
    assert [(row.candidates, row.purity) for row in rows] == [(2, pytest.approx(0.945)), (0, None)]
    lens = np.arange(10) < 5
    scores = np.array([0.9, 0.9, 0.2, 0.2, 0.2, 0.9, 0.1, 0.1, 0.1, np.nan])
    (row,) = labelled_purity(scores, lens, prior=0.1, detections=1000, thresholds=(0.5,))
    assert (row.lenses, row.candidates) == (pytest.approx(40), pytest.approx(220))
    assert (row.observed, row.expected) == (pytest.approx(40 / 220), pytest.approx(0.9))


def table(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_table_of_logits_is_read_with_its_labels_or_joined_by_objid(ensemble: Ensemble, tmp_path: Path):
    logits = {f"logit_{name}": [1.0, 2.0, None] for name in NAMES}
    with_label = table(tmp_path / "a.parquet", label=[True, False, True], **logits)
    found = logits_of_table(with_label, ensemble)
    assert found.lens.tolist() == [True, False, True]
    assert np.isnan(found.logits[2]).all()
    ids = table(tmp_path / "b.parquet", objid=[7, 8, 9], **logits)
    (tmp_path / "labels.csv").write_text("objid,label\n8,1\n7,0\n")
    joined = logits_of_table(ids, ensemble, tmp_path / "labels.csv")
    assert joined.logits[:, 0].tolist() == [2.0, 1.0]
    assert joined.lens.tolist() == [True, False]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("objid,label\n8,1\n11,0\n", "1 of 2 ids are not in .* such as 11"),
        ("objid,label\n8,1\n8,0\n", "stands there twice"),
        ("objid,label\n8,3\n", "label must be 0 or 1"),
        ("objid,label\n8,\n", "label must be 0 or 1"),
        ("id,label\n8,1\n", "no column objid"),
        ("objid,label\n8.5,1\n", "whole numbers"),
    ],
)
def test_labels_that_do_not_match_are_refused(ensemble: Ensemble, tmp_path: Path, labels: str, told: str):
    ids = table(tmp_path / "b.parquet", objid=[7, 8], **{f"logit_{name}": [1.0, 2.0] for name in NAMES})
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(ConfigError, match=told):
        logits_of_table(ids, ensemble, tmp_path / "labels.csv")
