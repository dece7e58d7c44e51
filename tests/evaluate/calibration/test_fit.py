"""Platt scaling against a known truth and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.fit import fit_platt


def sample(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 2, n)
    return x, rng.random(n) < 1 / (1 + np.exp(-(0.7 * x - 1.0)))


def test_a_known_slope_and_offset_are_recovered():
    x, labels = sample(40_000)
    fit = fit_platt(x, labels, "a known truth")
    assert fit.slope == pytest.approx(0.7, abs=0.03)
    assert fit.offset == pytest.approx(-1.0, abs=0.05)
    assert fit.prior == pytest.approx(labels.mean())


def test_it_agrees_with_logistic_regression():
    x, labels = sample()
    plain = LogisticRegression(C=np.inf).fit(x[:, None], labels)
    fit = fit_platt(x, labels, "sample")
    assert fit.slope == pytest.approx(plain.coef_[0, 0], rel=0.01)
    assert fit.offset == pytest.approx(plain.intercept_[0], rel=0.01)


def test_a_separated_sample_has_a_finite_slope():
    x = np.concatenate([np.linspace(-3, -1, 50), np.linspace(1, 3, 50)])
    fit = fit_platt(x, np.arange(100) >= 50, "separated")
    assert 0 < fit.slope < 50


def test_unscored_stamps_are_left_out():
    x, labels = sample()
    with_gaps = np.concatenate([x, np.full(100, np.nan)])
    assert fit_platt(with_gaps, np.concatenate([labels, np.ones(100, bool)]), "s") == fit_platt(x, labels, "s")


def test_too_few_stamps_and_backward_ranking_are_refused():
    x, labels = sample()
    with pytest.raises(ConfigError, match="needs 10 stamps"):
        fit_platt(x[:30], np.arange(30) < 3, "few")
    with pytest.raises(ConfigError, match="backwards"):
        fit_platt(-x, labels, "reversed")


def test_a_few_stamps_are_enough_where_the_caller_says_so():
    x = np.append(np.random.default_rng(2).normal(0, 1, 500), [4.0, 5.0])
    fit = fit_platt(x, np.arange(502) >= 500, "two stamps", prior=0.01, fewest=2)
    assert (fit.n_lenses, fit.n_others) == (2, 500)
    assert 0 < fit.slope < 5
    with pytest.raises(ConfigError, match="needs 3 stamps of each class; two stamps has 2 and 500"):
        fit_platt(x, np.arange(502) >= 500, "two stamps", fewest=3)
