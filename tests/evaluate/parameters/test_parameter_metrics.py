"""Figures of posteriors, by posteriors whose faults are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluate.parameters.metrics import calibrated, coverage, ranks, residuals, sharpness

N, S = 3000, 255


def posteriors(width: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Normal posteriors of standard deviation 0.5 whose truth is drawn from them at width 1 and shift 0."""
    rng = np.random.default_rng(8)
    middle = rng.normal(0, 3, N)
    truth = rng.normal(middle, 0.5)
    return rng.normal(middle[:, None] + shift, 0.5 * width, (N, S)), truth


def test_bias_and_scatter_forgive_a_few_that_are_far_off():
    rng = np.random.default_rng(1)
    truth = rng.uniform(1, 3, 10_000)
    estimate = truth * (1.02 + 0.05 * rng.normal(size=10_000))
    estimate[:200] = 50.0
    found = residuals(estimate, truth, relative=True)
    assert found.bias.low - 0.002 < 0.02 < found.bias.high + 0.002
    assert found.scatter.value == pytest.approx(0.05, abs=0.002)
    assert found.scatter.high - found.scatter.low == pytest.approx(2 * 1.1664 * 0.05 / 100, rel=0.05)


def test_nothing_measured_is_no_number():
    found = residuals(np.empty(0), np.empty(0))
    assert found.n == 0
    assert math.isnan(found.bias.value)
    assert math.isnan(sharpness(np.empty((0, 10))))


@pytest.mark.parametrize("level", [0.5, 0.68, 0.95])
def test_calibrated_posteriors_cover_as_often_as_they_say_and_narrow_ones_less(level: float):
    right, narrow = (coverage(*posteriors(width), level) for width in (1.0, 0.5))
    assert right.value == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / N) + 0.005)
    expected = math.erf(0.5 * _sigmas(level) / math.sqrt(2))
    assert narrow.value == pytest.approx(expected, abs=0.03)


def _sigmas(level: float) -> float:
    """Half the width of a central interval of a normal distribution, by bisection."""
    low, high = 0.0, 5.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < level else (low, middle)
    return low


def test_half_the_width_of_a_normal_posterior_is_its_standard_deviation():
    assert sharpness(posteriors()[0]) == pytest.approx(0.5, abs=0.02)


def test_ranks_count_the_samples_below():
    samples = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert ranks(samples, np.array([0.5, 2.5, 9.0])).tolist() == [0, 2, 3]


def test_ranks_of_calibrated_posteriors_are_flat_and_others_are_told():
    right = calibrated(*posteriors(), bins=16)
    assert sum(right.counts) == N
    assert right.p_value > 0.01
    for faulty in (posteriors(width=0.7), posteriors(width=1.4), posteriors(shift=0.15)):
        assert calibrated(*faulty, bins=16).p_value < 1e-6


def test_narrow_posteriors_have_a_valley_and_wide_ones_a_hill():
    narrow, wide = (calibrated(*posteriors(width), bins=16).counts for width in (0.5, 2.0))
    assert narrow[0] > 2 * narrow[8]
    assert wide[8] > 2 * wide[0]


def test_ranks_are_shared_evenly_among_bins_that_do_not_divide_them():
    samples = np.tile(np.arange(9.0), (10, 1))
    truth = np.arange(10.0) - 0.5
    assert calibrated(samples, truth, bins=4).counts == (3, 2, 3, 2)
    assert calibrated(samples, truth, bins=4).p_value == pytest.approx(1.0)
