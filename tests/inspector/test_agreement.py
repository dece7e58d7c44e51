"""Agreement of graders, against worked examples and against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from pipeline.inspector.agreement import (
    Metric,
    Weights,
    agreement,
    alpha_interval,
    cohen_kappa,
    confusion,
    disagreement,
    krippendorff_alpha,
)
from pipeline.inspector.history import Grade
from pipeline.inspector.ratings import NONE, ratings

KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Four observers (rows) of twelve units, from Krippendorff (2011), section C."""


def example() -> np.ndarray:
    rows = [line.split() for line in KRIPPENDORFF.strip().splitlines()]
    return np.array([[NONE if value == "." else int(value) - 1 for value in row] for row in rows], np.int64).T


@pytest.mark.parametrize(("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorff_s_example(metric: Metric, alpha: float):
    found = krippendorff_alpha(example(), 5, metric)
    assert found == pytest.approx(alpha, abs=5e-4)


def test_alpha_of_two_graders_by_hand():
    # Krippendorff (2011), section A: ten units, two observers, 0 or 1: the coincidences are 10, 4, 4, 2.
    first = np.array([0, 1, 0, 0, 0, 0, 0, 0, 1, 0])
    second = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0])
    found = krippendorff_alpha(np.stack([first, second], axis=1), 2, "nominal")
    assert found == pytest.approx(1 - 19 * 8 / (2 * 14 * 6))
    assert found == pytest.approx(0.095, abs=5e-4)


def slow_alpha(level: np.ndarray, levels: int, metric: Metric) -> float:
    """One pair of grades after the other."""
    pairs = []
    for row in level:
        given = [value for value in row.tolist() if value != NONE]
        pairs += [(a, b, 1 / (len(given) - 1)) for i, a in enumerate(given) for j, b in enumerate(given) if i != j]
    count = [sum(weight for a, _, weight in pairs if a == place) for place in range(levels)]

    def distance(a: int, b: int) -> float:
        a, b = min(a, b), max(a, b)
        if metric == "ordinal":
            return (sum(count[a : b + 1]) - (count[a] + count[b]) / 2) ** 2
        return float(a != b) if metric == "nominal" else float((a - b) ** 2)

    total = sum(count)
    observed = sum(weight * distance(a, b) for a, b, weight in pairs) / total
    chance = sum(count[a] * count[b] * distance(a, b) for a in range(levels) for b in range(levels))
    return 1 - observed / (chance / (total * (total - 1)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
def test_alpha_is_what_pairs_counted_one_by_one_give(seed: int, metric: Metric):
    rng = np.random.default_rng(seed)
    level = np.clip(rng.integers(0, 4, (30, 1)) + rng.integers(-1, 2, (30, 5)), 0, 3)
    level[rng.random(level.shape) < 0.4] = NONE
    assert krippendorff_alpha(level, 4, metric) == pytest.approx(slow_alpha(level, 4, metric))


def test_kappa_by_hand():
    # 50 objects: both yes 20, both no 15, only the first yes 5, only the second yes 10; chance agrees in half.
    first = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])
    second = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert confusion(first, second, 2).tolist() == [[20, 5], [10, 15]]
    assert cohen_kappa(first, second, 2) == pytest.approx(0.4)


@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_scikit_learn_s(weights: Weights, theirs: str | None, seed: int):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, 200)
    second = np.clip(first + rng.integers(-1, 2, 200), 0, 3)
    missing = rng.random(200) < 0.2
    given = np.where(missing, NONE, second)
    expected = cohen_kappa_score(first[~missing], second[~missing], labels=range(4), weights=theirs)
    assert cohen_kappa(first, given, 4, weights) == pytest.approx(expected)


def test_where_chance_agrees_fully_there_is_no_value():
    same, nothing = np.zeros((6, 2), np.int64), np.full((6, 2), NONE)
    lonely = np.array([[0, NONE], [NONE, 3], [2, NONE]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for level in (same, nothing, lonely, np.empty((0, 2), np.int64), np.empty((0, 0), np.int64)):
            assert krippendorff_alpha(level, 4) is None
            assert alpha_interval(level, 4) == (None, None, None)
        for level in (same, nothing, lonely):
            assert cohen_kappa(level[:, 0], level[:, 1], 4) is None


def test_alpha_is_one_where_all_agree_and_below_zero_where_all_differ():
    agree = np.repeat(np.arange(4)[:, None], 3, axis=1)
    assert krippendorff_alpha(agree, 4) == pytest.approx(1)
    assert krippendorff_alpha(np.array([[0, 3]] * 8), 4) < 0  # type: ignore[operator]


def test_the_interval_of_alpha_holds_it_and_narrows_with_objects():
    rng = np.random.default_rng(2)
    level = np.clip(rng.integers(0, 4, (400, 1)) + rng.integers(-1, 2, (400, 3)), 0, 3)
    few, many = alpha_interval(level[:40], 4), alpha_interval(level, 4)
    for alpha, low, high in (few, many):
        assert low < alpha < high  # type: ignore[operator]
    assert (many[2] - many[1]) < (few[2] - few[1]) / 2  # type: ignore[operator]
    assert alpha_interval(level, 4) == many


def test_the_disagreement_of_an_object_is_the_mean_step_between_its_grades():
    level = np.array([[0, 0, 0], [0, 3, NONE], [0, 1, 3], [2, NONE, NONE]])
    np.testing.assert_allclose(disagreement(level), [0, 3, 2, np.nan])


def grade(objid: int, grader: str, letter: str | None) -> Grade:
    return Grade("F", objid, grader, letter, "", "", objid)


def test_graders_are_compared_two_by_two_on_what_both_graded():
    given = [grade(n, "anna", letter) for n, letter in enumerate("AABX")]
    given += [grade(n, "ben", letter) for n, letter in enumerate("ABBXC")]
    given += [grade(9, "carla", "A"), grade(0, "carla", None)]
    found = agreement(ratings(given))
    assert found.objects == 4
    assert [(pair.first, pair.second, pair.objects) for pair in found.pairs] == [
        ("anna", "ben", 4),
        ("anna", "carla", 0),
        ("ben", "carla", 0),
    ]
    assert found.pairs[0].same == 0.75
    assert found.pairs[0].confusion == ((1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1))
    assert (found.pairs[1].same, found.pairs[1].kappa, found.pairs[1].weighted_kappa) == (None, None, None)
    assert agreement(ratings(given[::-1])) == found


def test_objects_that_are_left_out_are_not_in_the_matrix():
    given = [grade(1, "anna", "A"), grade(2, "anna", "B"), grade(2, "ben", "X")]
    table = ratings(given, without={("F", 1)})
    assert table.objects == (("F", 2),)
    assert table.level.tolist() == [[1, 3]]
    assert table.votes.tolist() == [[0, 1, 0, 1]]
