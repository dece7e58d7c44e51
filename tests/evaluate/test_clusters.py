"""Stamps that show the same sky more than once: intervals as of the sky that there is, against dumber ways."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.breakdown import breakdown
from pipeline.evaluate.clusters import Clusters
from pipeline.evaluate.curves import reliability
from pipeline.evaluate.figures import Bootstrap, Figure, rank_figures, share_figure, threshold_figures
from pipeline.evaluate.metrics import share, share_above
from pipeline.evaluate.tally import tally


def sample(n: int, m: int, seed: int = 0, shift: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(shift, 1, n), rng.normal(0, 1, m)]), np.arange(n + m) < n


def figures(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, seed: int = 1) -> dict[str, Figure]:
    drawn = Bootstrap.of(tally(scores, labels, groups), 400, seed)
    found = rank_figures(drawn, (1e-1, 1e-2)) + threshold_figures(drawn.tally, 0.5, 400, seed)
    return {figure.name: figure for figure in found}


def test_each_value_repeated_k_times_has_the_interval_of_the_sample_itself():
    scores, labels = sample(60, 240)
    alone, k = np.arange(300), 9
    plain = figures(scores, labels, alone)
    repeated = figures(np.repeat(scores, k), np.repeat(labels, k), np.repeat(alone, k))
    careless = figures(np.repeat(scores, k), np.repeat(labels, k), None)
    for name in ("AUROC", "completeness at FPR 0.1", "completeness at 0.5", "false-positive share at 0.5", "F1 at 0.5"):
        one, many, narrow = plain[name], repeated[name], careless[name]
        assert (many.value, many.low, many.high) == pytest.approx((one.value, one.low, one.high), abs=1e-12)
        # Without groups it is as wide as of nine times as many: a third.
        assert narrow.high - narrow.low == pytest.approx((one.high - one.low) / 3, rel=0.35)
    assert (repeated["AUROC"].n_others, repeated["AUROC"].n_other_groups) == (240 * k, 240)
    assert (careless["AUROC"].n_others, careless["AUROC"].n_other_groups) == (240 * k, 240 * k)


def test_groups_of_one_stamp_are_drawn_as_the_stamps_themselves_are():
    scores, labels = sample(300, 900)
    apart, together = figures(scores, labels, None), figures(scores, labels, np.arange(1200))
    for name in ("AUROC", "completeness at FPR 0.1", "accuracy at 0.5"):
        assert together[name].value == apart[name].value
        width = apart[name].high - apart[name].low
        assert together[name].low == pytest.approx(apart[name].low, abs=0.3 * width)
        assert together[name].high == pytest.approx(apart[name].high, abs=0.3 * width)


def test_a_rate_rests_on_the_objects_and_not_on_their_repeats():
    scores, labels = sample(50, 90)
    found = figures(np.repeat(scores, 30), np.repeat(labels, 30), np.repeat(np.arange(140), 30))[
        "completeness at FPR 0.01"
    ]
    assert found.value is None
    assert "2,700 others in 90 groups are too few: it needs 100" in str(found.reason)


def test_groups_of_both_classes_are_drawn_whole():
    # Galaxies differ far more than a lens in them matters: lenses and others of a galaxy go up and down together.
    rng = np.random.default_rng(3)
    galaxies = np.repeat(np.arange(40), 6)
    labels = np.tile([True, False, False], 80)
    scores = rng.normal(0, 3, 40)[galaxies] + rng.normal(0, 1, 240) + 1.0 * labels
    found = figures(scores, labels, galaxies)["AUROC"]
    again = []
    for _ in range(600):
        rows = np.concatenate([np.flatnonzero(galaxies == one) for one in rng.integers(40, size=40)])
        lenses, others = (scores[rows][labels[rows] == kind] for kind in (True, False))
        again.append((lenses[:, None] > others).mean())
    low, high = np.quantile(again, [0.16, 0.84])
    assert found.low == pytest.approx(low, abs=0.25 * (high - low))
    assert found.high == pytest.approx(high, abs=0.25 * (high - low))
    # Apart from one another their galaxies would be taken for different ones.
    torn = figures(scores, labels, galaxies + 1000 * labels)["AUROC"]
    assert torn.high - torn.low > 1.5 * (found.high - found.low)


def test_strata_keep_their_number_of_groups_and_no_class_is_ever_missing():
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 4])
    lens = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    clusters = Clusters.of(np.array(list("aabcccde")), lens)
    assert clusters.group.tolist() == groups.tolist()
    assert [part.tolist() for part in clusters.strata] == [[0, 1], [3, 4], [2]]
    assert (clusters.groups_of(True), clusters.groups_of(False)) == (3, 3)
    drawn = np.concatenate(list(clusters.draws(200, np.random.default_rng(1))))
    assert drawn.shape == (200, 5)
    assert (drawn[:, :2].sum(axis=1) == 2).all()
    assert (drawn[:, 3:].sum(axis=1) == 2).all()
    assert (drawn[:, 2] == 1).all()
    assert np.unique(drawn[:, 0]).tolist() == [0, 1, 2]


def test_folds_keep_groups_whole_and_classes_even():
    groups, lens = np.repeat(np.arange(50), 4), np.repeat(np.arange(50) < 20, 4)
    fold = Clusters.of(groups, lens).folds(5, np.random.default_rng(1))
    assert all(len(set(fold[groups == one])) == 1 for one in range(50))
    assert np.bincount(fold[lens]).tolist() == [16] * 5
    assert np.bincount(fold[~lens]).tolist() == [24] * 5


def test_groups_that_are_not_of_the_stamps_are_refused():
    with pytest.raises(ValueError, match="one length"):
        tally(np.arange(4.0), np.arange(4) < 2, np.arange(3))


def test_a_share_of_repeats_has_the_wilson_interval_of_what_they_repeat():
    above, alone = np.arange(50) < 12, np.arange(50)
    assert share_above(above) == share(12, 50)
    assert share_above(above, alone) == share(12, 50)
    assert share_above(np.repeat(above, 8), np.repeat(alone, 8)) == share(12, 50)
    # None above: the groups are counted.
    assert share_above(np.zeros(400, bool), np.repeat(alone, 8)) == share(0, 50)
    # Members that disagree as strangers would are worth no more than they are.
    assert share_above(np.tile([True, False], 50), np.repeat(alone, 2)) == share(50, 100)
    told = share_figure("share", np.repeat(above, 8), np.repeat(alone, 8), lens=False)
    assert (told.n_others, told.n_other_groups, told.n_lenses) == (400, 50, 0)
    assert share_figure("share", above[:0], lens=True).reason == "no lens"


def test_slices_and_reliability_know_of_groups():
    k, alone = 5, np.arange(600)
    scores, labels = sample(300, 300)
    probability = 1 / (1 + np.exp(-scores * 1.5 + 7))
    settings = {"share": 0.01, "bins": 3, "replicates": 300, "seed": 1}
    one = reliability(tally(probability, labels, alone), 1e-3, **settings)
    many = reliability(tally(np.repeat(probability, k), np.repeat(labels, k), np.repeat(alone, k)), 1e-3, **settings)
    for mine, theirs in zip(many, one, strict=True):
        assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))
    kinds = np.where(labels, "lens", "star")
    plain = breakdown("kind", kinds, labels, scores > 1)
    again = (np.repeat(part, k) for part in (kinds, labels, scores > 1, alone))
    repeated = breakdown("kind", *again)
    assert [(item.low, item.high) for item in repeated] == [pytest.approx((item.low, item.high)) for item in plain]
    assert [(item.n, item.groups) for item in repeated] == [(1500, 300), (1500, 300)]
