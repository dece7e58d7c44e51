"""Figures of merit against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.metrics import (
    auroc,
    completeness_at_fpr,
    expected_calibration_error,
    share,
)


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=80), 1)
    labels = rng.random(80) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    assert auroc(scores, labels).value == pytest.approx(np.mean(pairs))


def test_completeness_at_a_false_positive_rate_by_hand():
    others = np.arange(100.0)
    lenses = np.array([98.5, 99.5, 50.0, 97.5])
    scores = np.concatenate([others, lenses])
    labels = np.arange(104) >= 100
    # One of a hundred may pass: the threshold is 98, which 98.5 and 99.5 exceed.
    assert completeness_at_fpr(scores, labels, 0.01).value == 0.5
    assert completeness_at_fpr(scores, labels, 0.0).value == 0.25
    assert completeness_at_fpr(scores, labels, 1.0).value == 1.0


def test_ties_with_false_alarms_do_not_count():
    assert completeness_at_fpr(np.ones(10), np.arange(10) < 5, 0.2).value == 0.0


def test_an_unscored_lens_is_not_found():
    scores = np.array([np.nan, 3.0, 1.0, 2.0])
    labels = np.array([True, True, False, False])
    assert completeness_at_fpr(scores, labels, 0.0).value == 0.5


def test_nothing_to_measure_is_nan():
    assert np.isnan(auroc(np.array([1.0]), np.array([True])).value)
    assert np.isnan(share(0, 0).value)


def test_wilson_interval_by_hand():
    estimate = share(8, 10)
    # (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1
    assert estimate.low == pytest.approx((0.85 - np.sqrt(0.016 + 0.0025)) / 1.1)
    assert estimate.high == pytest.approx((0.85 + np.sqrt(0.016 + 0.0025)) / 1.1)


def test_a_perfectly_calibrated_score_has_no_error_and_a_boast_has_its_size():
    labels = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.5), labels, bins=1) == pytest.approx(0)
    assert expected_calibration_error(np.full(1000, 0.9), labels, bins=1) == pytest.approx(0.4)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="one length"):
        auroc(np.zeros(3), np.zeros(4, bool))
