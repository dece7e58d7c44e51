"""Fields that depart from their survey: when they are told, and when not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from pipeline.catalogue.drift import _p_shape, find_drift
from pipeline.catalogue.report_drift import explain
from pipeline.catalogue.report_facts import FieldConditions

EDGES = np.linspace(-8, 0, 161)


def survey(
    rng: np.random.Generator,
    sizes: Sequence[int],
    *,
    shift: Mapping[int, float] | None = None,
    extra: Mapping[int, float] | None = None,
    spread: float = 0.0,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts and candidates of fields whose log10 scores are normal, with shifts or extra high scores in some."""
    counts, candidates = np.zeros((len(sizes), 160), np.int64), np.zeros(len(sizes), np.int64)
    for field, size in enumerate(sizes):
        level = rng.normal(-5.5 + (shift or {}).get(field, 0.0) + spread * rng.normal(), 0.7, size)
        tail = rng.random(size) < 0.01 * (extra or {}).get(field, 1.0)
        level[tail] = rng.uniform(-3.2, -0.1, tail.sum())
        counts[field] = np.histogram(np.clip(level, -7.99, -0.01), EDGES)[0]
        candidates[field] = int((level > -3).sum())
    return counts, candidates


def test_fields_of_one_distribution_alarm_hardly_ever() -> None:
    rng = np.random.default_rng(1)
    alarms = significant = 0
    for _ in range(60):
        found = find_drift(*survey(rng, [300] * 50))
        alarms += int(found.alarm.sum())
        significant += int((found.q_value <= 0.01).any())
    # One survey in a hundred may have a false discovery; 5 of 60 has a chance of 0.0003.
    assert significant <= 4
    assert alarms <= 1


def test_significance_is_calibrated_before_it_is_adjusted() -> None:
    """Nothing differs, so that any discovery is a false one: at a rate of 0.1 one survey in ten at most has some."""
    rng = np.random.default_rng(2)
    few = [find_drift(*survey(rng, [500, 5000])).q_value[0] for _ in range(400)]
    assert 0.005 <= np.mean(np.array(few) <= 0.1) <= 0.14


def test_fields_that_differ_in_general_alarm_no_more() -> None:
    rng = np.random.default_rng(3)
    found = [find_drift(*survey(rng, [2000] * 100, spread=0.1)) for _ in range(10)]
    # Without the allowance nearly every field is significant: the chi-square alone says so.
    assert sum(drift.alarm.sum() for drift in found) <= 6
    assert np.median([drift.spread for drift in found]) == pytest.approx(0.14, abs=0.05)


def test_rates_of_candidates_that_scatter_among_fields_alarm_no_more() -> None:
    rng = np.random.default_rng(12)
    alarms = [
        find_drift(*survey(rng, [5000] * 60, extra=dict(enumerate(np.exp(0.5 * rng.normal(size=60)))))).alarm.sum()
        for _ in range(5)
    ]
    assert sum(alarms) <= 6


@pytest.mark.parametrize(("shift", "least"), [(0.3, 0.85), (0.5, 1.0)])
def test_a_shifted_field_is_found(shift: float, least: float) -> None:
    rng = np.random.default_rng(4)
    hits = [find_drift(*survey(rng, [500] * 50, shift={7: shift})) for _ in range(40)]
    assert np.mean([drift.alarm[7] for drift in hits]) >= least
    assert np.mean([drift.alarm.sum() - drift.alarm[7] for drift in hits]) <= 0.1
    # Shifted by s of the scatter, w is about s.
    assert np.mean([drift.effect[7] for drift in hits]) == pytest.approx(shift / 0.7, rel=0.25)


def test_a_field_with_too_many_candidates_is_found_though_its_body_is_as_ever() -> None:
    rng = np.random.default_rng(5)
    hits = [find_drift(*survey(rng, [500] * 50, extra={3: 6.0})) for _ in range(40)]
    assert np.mean([drift.alarm[3] for drift in hits]) >= 0.9
    assert np.median([drift.ratio[3] for drift in hits]) == pytest.approx(6, rel=0.25)


def test_a_large_field_with_a_tiny_shift_is_significant_and_no_alarm() -> None:
    found = find_drift(*survey(np.random.default_rng(6), [100_000] * 5, shift={2: 0.05}))
    assert found.q_value[2] < 1e-6
    assert not found.alarm.any()


def test_a_quarter_of_the_fields_may_drift_and_the_others_are_left_alone() -> None:
    found = find_drift(*survey(np.random.default_rng(7), [400] * 40, shift=dict.fromkeys(range(10), 1.0)))
    assert not found.alarm[10:].any()
    assert found.effect[:10].min() > found.effect[10:].max()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_nobody_is_asked_where_there_is_no_other_or_too_little(n: int) -> None:
    few = find_drift(*survey(np.random.default_rng(8), [500] if n == 1 else [5] * n))
    assert not few.asked.any()
    assert not few.alarm.any()
    assert np.isnan(few.effect).all()
    empty = find_drift(np.zeros((n, 160), int), np.zeros(n, int))
    assert len(empty.alarm) == n
    assert not empty.asked.any()


def test_two_fields_are_held_against_each_other() -> None:
    found = find_drift(*survey(np.random.default_rng(9), [400, 300], shift={1: 1.0}))
    assert found.alarm.tolist() == [True, True]


def test_all_scores_in_one_bin_are_no_drift() -> None:
    counts = np.zeros((4, 160), int)
    counts[:, 20] = 100
    assert not find_drift(counts, np.zeros(4, int)).alarm.any()


def test_the_statistic_is_that_of_a_contingency_table() -> None:
    rng = np.random.default_rng(10)
    counts = rng.integers(50, 90, (2, 8))
    found = find_drift(counts, np.zeros(2, int))
    assert found.shares.shape == (2, 8)
    table = stats.chi2_contingency(counts, correction=False)
    n, m = counts.sum(axis=1)
    expected = np.sqrt(max(0.0, table.statistic - 7) * m / (n + m) / n)
    assert found.effect[0] == pytest.approx(expected)
    # Both hypotheses of both fields: the count's p-value is 1, so the shape's is doubled at most.
    assert found.q_value[0] == pytest.approx(min(1.0, 2 * table.pvalue), rel=1e-6)


def test_the_tail_with_scatter_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(11)
    drawn = 4.76 * rng.chisquare(1, 1_000_000) + rng.chisquare(6, 1_000_000)
    at = np.array([10.0, 30.0, 60.0])
    tail = _p_shape(at, np.full(3, 7), np.full(3, 3.76))
    assert tail == pytest.approx([(drawn > x).mean() for x in at], rel=0.1)
    np.testing.assert_allclose(_p_shape(at, np.full(3, 7), np.zeros(3)), stats.chi2.sf(at, 7), rtol=1e-6)
    np.testing.assert_allclose(_p_shape(at, np.full(3, 1), np.zeros(3)), stats.chi2.sf(at, 1), rtol=1e-6)


def conditions(**columns: list[float]) -> FieldConditions:
    n = len(next(iter(columns.values())))
    names = ("detections", "median", "candidates", "seeing", "depth", "artefacts", "unscored", "density")
    return FieldConditions(*(np.array(columns.get(name, [np.nan] * n), float) for name in names))


def test_what_differs_is_what_stands_out_by_more_than_fields_do() -> None:
    rng = np.random.default_rng(13)
    seeing = [2.0, *(1.0 + 0.02 * np.linspace(-1, 1, 21)[rng.permutation(21)])]
    assert explain(0, conditions(seeing=seeing)) == ["seeing 2.00″ (usual 1.00″)"]
    assert explain(1, conditions(seeing=seeing)) == []
    # Among fields whose seeing is anything between 0.5 and 2 arcsec it explains nothing.
    assert explain(0, conditions(seeing=[2.0, *rng.uniform(0.5, 2.0, 20)])) == []
    both = conditions(depth=[22.0] + [23.5] * 9, artefacts=[0.5] + [0.1] * 9, unscored=[0.02] + [0.0] * 9)
    assert explain(0, both) == ["depth 22.00 mag (usual 23.50 mag)", "artefacts 50 % (usual 10 %)"]


def test_of_two_fields_the_difference_alone_decides_and_unknown_is_nothing() -> None:
    assert explain(1, conditions(seeing=[1.0, 1.5])) == ["seeing 1.50″ (usual 1.25″)"]
    assert explain(1, conditions(seeing=[1.0, np.nan])) == []
    assert explain(0, conditions(seeing=[1.0])) == []
