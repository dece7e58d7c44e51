"""Figures of merit and their intervals against counting by hand, plain resampling and scikit-learn."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.evaluate.curves import curve, reliability
from pipeline.evaluate.figures import (
    Bootstrap,
    Figure,
    confusion,
    purity_at_rate,
    rank_figures,
    threshold_at,
    threshold_figures,
    yield_at,
)
from pipeline.evaluate.tally import tally


def sample(n: int, m: int, seed: int = 0, shift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(shift, 1, n), rng.normal(0, 1, m)]), np.arange(n + m) < n


def figures(scores: np.ndarray, labels: np.ndarray, rates: tuple[float, ...] = (1e-2, 1e-3)) -> dict[str, Figure]:
    drawn = Bootstrap.of(tally(scores, labels), 300, 1)
    return {figure.name: figure for figure in rank_figures(drawn, rates)}


def test_area_and_average_precision_are_scikit_learns_with_ties_and_without():
    scores, labels = sample(300, 900)
    for values in (scores, np.round(scores, 1)):
        found = figures(values, labels)
        assert found["AUROC"].value == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
        assert found["average precision"].value == pytest.approx(average_precision_score(labels, values), abs=1e-12)


def test_tpr0_and_tpr10_are_counted_by_hand():
    # Others 0 ... 99: none is above 99.5, nine are above 90.5 (91 ... 99), ten above 89.5.
    lenses = np.array([99.5, 99.2, 90.5, 89.5, 10.5, -1.0, 98.0, 200.0])
    scores, labels = np.concatenate([lenses, np.arange(100.0)]), np.arange(108) < 8
    found = figures(scores, labels)
    assert found["TPR0"].value == 3 / 8
    assert found["TPR10"].value == 5 / 8


def test_a_lens_tied_with_the_first_false_alarm_is_not_found_before_it():
    scores = np.array([3.0, 2.0, 2.0, 1.0])
    assert figures(scores, np.array([True, True, False, False]))["TPR0"].value == 0.5


def test_a_rate_that_the_others_are_too_few_for_is_not_measured():
    found = figures(*sample(50, 900))
    assert found["completeness at FPR 0.01"].value is not None
    tenth = found["completeness at FPR 0.001"]
    assert tenth.value is None
    assert "900 others are too few: it needs 1,000" in str(tenth.reason)
    assert tenth.n_others == 900


def test_intervals_are_those_of_plain_resampling():
    scores, labels = sample(200, 2000, shift=1.5)
    found = figures(scores, labels)
    rng = np.random.default_rng(5)
    lenses, others = scores[labels], scores[~labels]
    area, tpr = [], []
    for _ in range(600):
        some, rest = rng.choice(lenses, 200), rng.choice(others, 2000)
        area.append(roc_auc_score(np.arange(2200) < 200, np.concatenate([some, rest])))
        tpr.append((some > np.sort(rest)[-21]).mean())
    for name, values in (("AUROC", area), ("completeness at FPR 0.01", tpr)):
        figure = found[name]
        width = np.quantile(values, 0.84) - np.quantile(values, 0.16)
        assert figure.high - figure.low == pytest.approx(width, rel=0.2)
        assert figure.low == pytest.approx(np.quantile(values, 0.16), abs=0.3 * width)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    # AUROC of two unit normals 1 apart is Phi(1 / sqrt 2) = 0.76025.
    hits = 0
    for seed in range(60):
        found = figures(*sample(150, 300, seed, 1.0))["AUROC"]
        hits += found.low <= 0.76025 <= found.high
    assert 30 <= hits <= 52


def test_the_same_seed_gives_the_same_intervals():
    assert figures(*sample(50, 500)) == figures(*sample(50, 500))


def test_a_hundred_thousand_others_take_seconds():
    scores, labels = sample(50_000, 100_000)
    began = time.perf_counter()
    found = figures(scores, labels, (1e-2, 1e-3, 1e-4))
    assert time.perf_counter() - began < 10
    assert found["completeness at FPR 0.0001"].value is not None


def test_what_has_no_score_is_found_last():
    scores = np.array([np.nan, 3.0, 1.0, np.nan])
    found = figures(scores, np.array([True, True, False, False]))
    assert found["TPR0"].value == 0.5
    assert threshold_at(tally(scores, np.array([True, True, False, False])), 0.5) == -np.inf


def test_purity_and_yield_follow_from_the_rates():
    # At FPR 0.01 one of 100 others passes, 98.5 and 99.5 of four lenses do.
    scores = np.concatenate([np.array([98.5, 99.5, 50.0, 97.5]), np.arange(100.0)])
    drawn = Bootstrap.of(tally(scores, np.arange(104) < 4), 100, 1)
    assert purity_at_rate(drawn, 0.01, 0.1).value == pytest.approx(0.1 * 0.5 / (0.1 * 0.5 + 0.9 * 0.01))
    # 1000 detections, 100 lenses: 99 and above are 25 lenses and 9 others; 98.5 adds 25 lenses.
    assert yield_at(drawn, 60, 1000, 0.1).value == 50.0
    assert yield_at(drawn, 33, 1000, 0.1).value == 25.0
    assert "too few" in str(yield_at(drawn, 5, 1000, 0.1).reason)


def test_the_confusion_matrix_and_what_follows_from_it():
    scores = np.array([0.9, 0.8, 0.2, np.nan, 0.7, 0.5, 0.1])
    labels = np.array([True, True, True, True, False, False, False])
    counted = tally(scores, labels)
    matrix = confusion(counted, 0.5)
    assert (matrix.true_positives, matrix.false_negatives) == (2, 2)
    assert (matrix.false_positives, matrix.true_negatives) == (1, 2)
    values = [figure.value for figure in threshold_figures(counted, 0.5, 100, 1)]
    assert values == pytest.approx([0.5, 1 / 3, 2 / 3, 4 / 7, 4 / 7])


def test_curves_are_thin_and_keep_their_ends():
    line = curve(tally(*sample(5000, 20_000)), 1e-4, 1_000_000)
    assert len(line.threshold) <= 400
    assert line.true_positive_rate[-1] == line.false_positive_rate[-1] == 1
    assert (np.diff(line.threshold) < 0).all()
    assert line.found[-1] == pytest.approx(100)
    assert line.inspected[-1] == pytest.approx(1_000_000)


def test_a_calibrated_score_is_reliable_and_a_boast_is_not():
    rng = np.random.default_rng(2)
    n, prior = 60_000, 1e-3
    scores = np.concatenate([rng.normal(2, 1, n), rng.normal(0, 1, n)])
    labels = np.arange(2 * n) < n
    odds = 2 * scores - 2 + np.log(prior / (1 - prior))
    settings = {"share": 0.01, "bins": 5, "replicates": 200, "seed": 1}
    good = reliability(tally(1 / (1 + np.exp(-odds)), labels), prior, **settings)
    bad = reliability(tally(1 / (1 + np.exp(-odds - 2)), labels), prior, **settings)
    assert len(good) == 5
    assert all(item.observed == pytest.approx(item.expected, rel=0.2) for item in good)
    assert all(item.expected > 2 * item.observed for item in bad[1:])
    weights = [item.n_lenses * prior / n + item.n_others * (1 - prior) / n for item in good]
    assert weights == pytest.approx([0.002] * 5, rel=0.02)


def test_one_class_has_no_figures_but_reasons():
    found = figures(np.arange(20.0), np.zeros(20, bool))
    assert all(figure.value is None and figure.reason == "no lens" for figure in found.values())
