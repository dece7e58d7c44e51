"""Rules of combination: against plain arithmetic on probabilities, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.models.combination import RULES, Combination, check_rule, combine
from pipeline.models.combination.independent_bayes import independent_bayes
from pipeline.models.combination.mean import mean
from pipeline.models.combination.mean_log_odds import mean_log_odds
from pipeline.models.combination.median import median
from pipeline.models.combination.rank import rank
from pipeline.models.combination.stacking import stacking

NAMES = ("a", "b", "c")
PARAMETERS = {
    "weighted": Combination(weights={"a": 1.0, "b": 3.0, "c": 0.0}, prior=0.1),
    "stacking": Combination(coefficients={"a": 0.5, "b": 0.25, "c": -0.1}, intercept=0.3),
    "independent_bayes": Combination(shrink=0.4),
    "rank": Combination(levels=(0.1, 0.5, 0.9), ranks=dict.fromkeys(NAMES, (-2.0, 0.0, 3.0))),
}
ODDS = np.random.default_rng(3).normal(-2, 4, (40, 3))


def probability(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def combined(rule: str, odds: np.ndarray, prior: float = 0.2) -> np.ndarray:
    return combine(
        rule,
        odds,
        odds,
        combination=PARAMETERS.get(rule, Combination()),
        names=NAMES,
        weights=(1.0, 1.0, 2.0),
        prior=prior,
    )


def test_every_rule_by_arithmetic():
    p = probability(ODDS)
    np.testing.assert_allclose(probability(mean(ODDS, np.array([1.0, 1.0, 2.0]))), p @ [0.25, 0.25, 0.5])
    np.testing.assert_allclose(probability(median(ODDS)), np.median(p, axis=1))
    product = (p / (1 - p)) ** [0.25, 0.25, 0.5]
    np.testing.assert_allclose(np.exp(mean_log_odds(ODDS, np.array([1.0, 1.0, 2.0]))), product.prod(axis=1))
    np.testing.assert_allclose(np.exp(independent_bayes(ODDS, 1.0)), (p / (1 - p)).prod(axis=1))
    np.testing.assert_allclose(
        stacking(ODDS, np.array([1.0, 0.0, -2.0]), 0.5), [row[0] - 2 * row[2] + 0.5 for row in ODDS]
    )


def test_members_that_agree_are_the_answer_but_for_what_counts_evidence_twice():
    same = np.repeat(np.linspace(-9, 9, 7)[:, None], 3, axis=1)
    for rule in ("mean", "mean_log_odds", "median", "weighted"):
        np.testing.assert_allclose(combined(rule, same), same[:, 0], atol=1e-9)
    assert independent_bayes(same, 1.0)[-1] == pytest.approx(27)
    np.testing.assert_allclose(independent_bayes(same, 1 / 3), same[:, 0])


def test_a_mean_of_near_certainties_loses_nothing():
    np.testing.assert_allclose(mean(np.array([[60.0, 60.0], [-700.0, -700.0]]), np.ones(2)), [60.0, -700.0])


@pytest.mark.parametrize("rule", RULES)
def test_a_missing_member_leaves_the_row_without_a_score_and_the_others_as_they_were(rule: str):
    gaps = ODDS.copy()
    gaps[::4, 1] = np.nan
    with_gaps, whole = combined(rule, gaps), combined(rule, ODDS)
    assert np.isnan(with_gaps[::4]).all()
    np.testing.assert_array_equal(np.delete(with_gaps, np.s_[::4]), np.delete(whole, np.s_[::4]))
    assert combined(rule, np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("rule", RULES)
def test_a_row_does_not_depend_on_the_others(rule: str):
    np.testing.assert_array_equal(combined(rule, ODDS)[5:9], combined(rule, ODDS[5:9]))


@pytest.mark.parametrize("rule", ["mean_log_odds", "median", "stacking", "independent_bayes", "weighted"])
def test_another_prior_moves_every_score_alike(rule: str):
    shift = np.log(0.01 / 0.99) - np.log(0.2 / 0.8)
    moved = combined(rule, ODDS + shift, prior=0.01)
    np.testing.assert_allclose(moved, combined(rule, ODDS) + shift, atol=1e-9)


def test_ranks_are_shares_of_the_stored_others_and_go_on_beyond_them():
    others = np.sort(np.random.default_rng(0).normal(0, 1, (5000, 1)), axis=0)
    levels = np.linspace(0.01, 0.99, 99)
    table = np.quantile(others, levels, axis=0).T
    found = probability(rank(np.array([[-0.7], [0.0], [1.3]]), levels, table))
    expected = [(others < value).mean() for value in (-0.7, 0.0, 1.3)]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    far = rank(np.linspace(-50, 50, 101)[:, None], levels, table)
    assert (np.diff(far) > 0).all()


@pytest.mark.parametrize(
    ("rule", "combination", "calibrated", "told"),
    [
        ("weighted", Combination(), True, "needs weights"),
        ("weighted", Combination(weights={"a": 1.0, "b": 1.0}), True, "c is missing"),
        ("weighted", Combination(weights={"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}), True, "d is no member"),
        ("stacking", Combination(coefficients={"a": 1.0, "b": 1.0, "c": 1.0}), True, "needs intercept"),
        ("median", Combination(shrink=0.5), True, "has no shrink"),
        ("rank", PARAMETERS["rank"], False, r"needs \[calibration\]"),
        ("mean", Combination(), True, r"needs combination\.prior"),
    ],
)
def test_parameters_that_are_not_the_rules_are_refused(rule, combination, calibrated, told):
    with pytest.raises(ValueError, match=told):
        check_rule(rule, combination, NAMES, calibrated=calibrated)


@pytest.mark.parametrize(
    "values",
    [
        {"weights": {"a": -1.0, "b": 1.0}},
        {"weights": {"a": 0.0}},
        {"levels": (0.5, 0.1)},
        {"levels": (0.0, 0.5)},
        {"levels": (0.1, 0.5), "ranks": {"a": (1.0,)}},
        {"levels": (0.1, 0.5), "ranks": {"a": (1.0, 1.0)}},
    ],
)
def test_impossible_parameters_are_refused(values):
    with pytest.raises(ValidationError):
        Combination(**values)
