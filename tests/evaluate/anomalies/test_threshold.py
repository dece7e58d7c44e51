"""The threshold study against going through every threshold by hand, scikit-learn, and simulated surveys."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from pipeline.evaluate.anomalies.threshold import best_on_itself, figures_at_prior, threshold_study
from pipeline.evaluate.figures import Bootstrap
from pipeline.evaluate.tally import tally


def sample(n: int, m: int, seed: int = 0, shift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(shift, 1, n), rng.normal(0, 1, m)]), np.arange(n + m) < n


def f1(labels: np.ndarray, called: np.ndarray) -> float:
    return float(2 * (called & labels).sum() / (called.sum() + labels.sum()))


def test_the_chosen_threshold_is_the_best_of_all_at_the_samples_own_mix():
    scores, labels = sample(300, 5700)
    study = threshold_study(tally(scores, labels), share=300 / 6000)
    by_hand = max(f1(labels, scores > threshold) for threshold in np.linspace(0, 4, 2001))
    assert f1(labels, scores > study.best) == pytest.approx(by_hand, abs=0.003)
    assert study.f1_at_best == pytest.approx(by_hand, abs=0.005)


def test_a_sample_with_more_anomalies_gives_the_threshold_of_its_weighted_mix():
    # Thrice the anomalies, weighted down to 5 %: the same threshold as in a sample that has 5 % of them.
    rich = threshold_study(tally(*sample(3000, 7000, seed=1)), share=0.05)
    plain = threshold_study(tally(*sample(500, 9500, seed=2)), share=0.05)
    assert rich.best == pytest.approx(plain.best, abs=0.25)
    assert rich.f1_at_best == pytest.approx(plain.f1_at_best, abs=0.04)
    rare = threshold_study(tally(*sample(3000, 7000, seed=1)), share=1e-3)
    assert rare.best > rich.best + 0.5


def test_curves_are_those_of_scikit_learn_but_for_the_half_false_alarm():
    scores, labels = sample(200, 3800, seed=3)
    study = threshold_study(tally(scores, labels), share=0.05)
    for place in (40, 100, 150):
        called = scores > study.threshold[place]
        assert study.recall[place] == pytest.approx(recall_score(labels, called), abs=1e-12)
        assert study.precision[place] == pytest.approx(precision_score(labels, called), abs=0.01)
        assert study.f1[place] == pytest.approx(f1(labels, called), abs=0.01)
    assert (np.diff(study.threshold) < 0).all()


def test_a_threshold_without_false_alarms_among_few_normals_is_not_taken_to_be_pure():
    scores, labels = np.r_[np.full(50, 2.0), np.full(50, 0.5), np.zeros(100)], np.arange(200) < 100
    study = threshold_study(tally(scores, labels), share=1e-3)
    # A half of a false alarm among 101: 0.001 / (0.001 + 0.999 * 0.00495).
    assert study.precision.max() == pytest.approx(0.1683, abs=1e-3)


def test_stamps_without_a_score_are_never_called():
    scores, labels = sample(100, 900, seed=4)
    scores[:50] = np.nan
    study = threshold_study(tally(scores, labels), share=0.1)
    assert np.isfinite(study.best)
    assert np.isfinite(study.threshold).all()
    assert study.recall.max() <= 0.5


def test_a_useless_score_calls_everything():
    study = threshold_study(tally(np.zeros(100), np.arange(100) < 10), share=0.1)
    assert study.best < 0
    assert study.recall.tolist() == [1.0]


def test_figures_at_a_prior_are_those_of_a_survey_with_so_many_anomalies():
    scores, labels = sample(500, 9500, seed=5, shift=3.0)
    threshold, prior = 3.0, 1e-2
    found = {
        figure.name.split()[0]: figure for figure in figures_at_prior(tally(scores, labels), threshold, prior, 4000, 1)
    }
    survey, truth = sample(20_000, 1_980_000, seed=6, shift=3.0)
    called = survey > threshold
    true, false = (called & truth).sum(), (called & ~truth).sum()
    values = {"precision": true / (true + false), "recall": true / 20_000, "F1": 2 * true / (true + false + 20_000)}
    for name, value in values.items():
        figure = found[name]
        assert figure.low - (figure.high - figure.low) < value < figure.high + (figure.high - figure.low)
        assert figure.low < figure.value < figure.high


def test_no_false_alarm_among_a_thousand_says_little_of_precision_at_a_low_prior():
    scores, labels = np.r_[np.ones(100), np.zeros(1000)], np.arange(1100) < 100
    precision = figures_at_prior(tally(scores, labels), 0.5, 1e-3, 20_000, 1)[0]
    # The rate of false alarms is Beta(1/2, 1000.5): 2e-5, 2.3e-4 and 9.9e-4 at 16, 50 and 84 %.
    assert precision.value == pytest.approx(0.81, abs=0.02)
    assert precision.low == pytest.approx(0.50, abs=0.03)
    assert precision.high == pytest.approx(0.98, abs=0.01)


def test_intervals_at_a_prior_hold_the_truth_about_as_often_as_they_say():
    inside = 0
    for seed in range(150):
        scores, labels = sample(80, 1500, seed=100 + seed, shift=2.5)
        figure = figures_at_prior(tally(scores, labels), 2.0, 1e-2, 1000, seed)[2]
        recall, false = 0.69146, 0.02275
        truth = 2 * 0.01 * recall / (0.01 * recall + 0.99 * false + 0.01)
        inside += figure.low < truth < figure.high
    assert 0.58 < inside / 150 < 0.79


def test_the_highest_f1_on_the_sample_itself_is_that_of_any_threshold():
    scores, labels = sample(60, 640, seed=7)
    figure = best_on_itself(Bootstrap.of(tally(scores, labels), 200, 1))
    assert figure.value == pytest.approx(max(f1(labels, scores >= score) for score in scores))
    assert figure.low < figure.value < figure.high + 0.05
