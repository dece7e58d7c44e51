"""Consensus grades."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from pipeline.inspector.consensus import RULES, Consensus, consensus, dawid_skene
from pipeline.inspector.history import Grade, Key
from pipeline.inspector.ratings import Ratings, ratings
from tests.inspector.simulated_graders import CARELESS, GENEROUS, GOOD, share_right, simulated


def table(*rows: str) -> Ratings:
    """One string an object, one letter a grader; a dot for none."""
    return ratings(
        Grade("F", objid, f"grader {column}", letter, "", "", 1)
        for objid, row in enumerate(rows)
        for column, letter in enumerate(row)
        if letter != "."
    )


def letters(found: Consensus) -> str:
    return "".join(found.grades)


def test_the_median_is_rounded_to_the_worse_grade():
    rows = ("A", "AB", "AC", "AX", "ABX", "AAX", "A.X", "AABX", "ABCX", "XXXA")
    assert letters(consensus(table(*rows), "median")) == "ABBCBACBCX"


def test_the_majority_counts_and_the_median_decides_between_equals():
    rows = ("A", "AAX", "AAXX", "ABC", "AAB", "XX.A", "AABBX", "AXCC")
    assert letters(consensus(table(*rows), "majority")) == "AACBAXBC"


@pytest.mark.parametrize("rule", RULES)
def test_one_grader_alone_is_believed(rule: str):
    rows = ["A"] * 3 + ["B"] + ["C"] * 2 + ["X"] * 40
    found = consensus(table(*rows), rule)  # type: ignore[arg-type]
    assert letters(found) == "".join(rows)


@pytest.mark.parametrize("rule", RULES)
def test_where_all_agree_that_is_the_consensus(rule: str):
    rows = ["AAA", "BBB", "CCC", "XXX", "XXX"]
    found = consensus(table(*rows), rule)  # type: ignore[arg-type]
    assert letters(found) == "ABCXX"
    only = consensus(table("AA", "AA", "AA"), rule)  # type: ignore[arg-type]
    assert letters(only) == "AAA"
    if found.probability is not None:
        assert (found.probability.max(axis=1) > 0.9).all()


@pytest.mark.parametrize("rule", RULES)
def test_no_grades_have_no_consensus(rule: str):
    found = consensus(ratings([]), rule)  # type: ignore[arg-type]
    assert found.objects == ()
    assert found.grades == ()


def test_graders_are_weighed_by_how_they_grade():
    confusions = np.array([GOOD, GOOD, CARELESS, GENEROUS])
    table, truth = simulated(np.random.default_rng(4), confusions, 1500)
    right = {rule: share_right(consensus(table, rule), truth) for rule in RULES}
    assert right["dawid-skene"] > max(right["majority"], right["median"]) + 0.05
    found = dawid_skene(table)
    assert found.confusion is not None
    assert found.graders == tuple(f"grader {who}" for who in range(4))
    assert np.abs(found.confusion - confusions).max() < 0.2
    assert np.abs(found.confusion - confusions).mean() < 0.03


def test_a_few_planted_objects_tell_whom_to_believe_where_most_are_wrong():
    table, truth = simulated(np.random.default_rng(1), np.array([GOOD, CARELESS, CARELESS, GENEROUS]), 1500)
    planted = {("F", row): bool(truth[row] < 2) for row in range(100)}
    right = [share_right(found, truth) for found in (dawid_skene(table), dawid_skene(table, planted))]
    assert right[1] > right[0] + 0.1


def test_planted_objects_anchor_what_letters_mean():
    # Both graders call everything that is a lens C, which only the planted lenses can tell.
    rows = ["CC"] * 20 + ["XX"] * 20
    truth: dict[Key, bool] = {("F", row): row < 20 for row in [*range(10), *range(20, 30)]}
    alone, anchored = dawid_skene(table(*rows)), dawid_skene(table(*rows), truth)
    assert alone.lens_probability is not None
    assert anchored.lens_probability is not None
    assert alone.lens_probability[15] < 0.05
    assert anchored.lens_probability[15] > 0.5
    assert anchored.lens_probability[35] < 0.05
    np.testing.assert_allclose(anchored.lens_probability[:10], 1)
    np.testing.assert_allclose(anchored.lens_probability[20:30], 0)


def test_one_planted_dud_that_fooled_everybody_does_not_undo_every_grade():
    found = dawid_skene(table(*["A"] * 40, *["X"] * 40), {("F", 3): False})
    assert found.lens_probability is not None
    assert found.lens_probability[3] == 0
    assert (found.lens_probability[4:40] > 0.8).all()
    assert (found.lens_probability[40:] < 0.01).all()


def slow_dawid_skene(table: Ratings, truth: Mapping[Key, bool], steps: int = 1000) -> list[list[float]]:
    """The equations of the paper with the prior, one number at a time."""
    allowed = [[truth.get(key, grade < 2) == (grade < 2) for grade in range(4)] for key in table.objects]
    level = table.level.tolist()
    probable = []
    for row, may in zip(level, allowed, strict=True):
        votes = [(sum(value == grade for value in row) + 1e-3) * may[grade] for grade in range(4)]
        probable.append([value / sum(votes) for value in votes])
    graders = range(len(table.graders))
    for _ in range(steps):
        confusion = {}
        for who in graders:
            for true in range(4):
                counts = [{0: 10.0, 1: 1.0}.get(abs(true - given), 0.1) for given in range(4)]
                for row, chance in zip(level, probable, strict=True):
                    if row[who] >= 0:
                        counts[row[who]] += chance[true]
                confusion[who, true] = [value / sum(counts) for value in counts]
        share = [(sum(chance[true] for chance in probable) + 1) / (len(level) + 4) for true in range(4)]
        probable = []
        for row, may in zip(level, allowed, strict=True):
            weight = [
                share[true] * math.prod(confusion[who, true][row[who]] for who in graders if row[who] >= 0) * may[true]
                for true in range(4)
            ]
            probable.append([value / sum(weight) for value in weight])
    return probable


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_that_of_the_equations_one_number_at_a_time(seed: int):
    table, levels = simulated(np.random.default_rng(seed), np.array([GOOD, GENEROUS, CARELESS]), 25)
    truth = {key: bool(levels[key[1]] < 2) for key in table.objects[:8]}
    found = dawid_skene(table, truth)
    assert found.probability is not None
    np.testing.assert_allclose(found.probability, slow_dawid_skene(table, truth), atol=1e-5)
    np.testing.assert_allclose(found.probability.sum(axis=1), 1)


def test_neither_the_order_of_grades_nor_of_graders_counts():
    rows = ["ABX.", "AA.C", "XXCX", "BBAC", "CX..", "AXAX"]
    given = [
        Grade("F", objid, name, letter, "", "", 1)
        for objid, row in enumerate(rows)
        for name, letter in zip("abcd", row, strict=True)
        if letter != "."
    ]
    one, other = dawid_skene(ratings(given)), dawid_skene(ratings(given[::-1]))
    np.testing.assert_array_equal(one.probability, other.probability)
    # The same people under names that sort the other way.
    renamed = [Grade("F", g.objid, "dcba"["abcd".index(g.grader)], g.grade, "", "", 1) for g in given]
    np.testing.assert_allclose(dawid_skene(ratings(renamed)).probability, one.probability, atol=1e-7)


def test_of_equally_probable_grades_the_worse_one_is_taken():
    found = dawid_skene(table("AX", "XA"))
    assert found.grades[0] == found.grades[1]
    assert found.probability is not None
    best = np.round(found.probability, 6).max(axis=1)
    for row in range(2):
        equals = [grade for grade in range(4) if round(found.probability[row, grade], 6) == best[row]]
        assert found.level[row] == max(equals)
