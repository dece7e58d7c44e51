"""Probes of few labels: forms by hand, draws that are fair, and a form that the test has no say in."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.few_shot.heads import FORMS, from_the_middle, means, scaled, whitened
from pipeline.evaluate.few_shot.probe import Embedded, Spread, draw_labels, probe


def blobs(n: int, seed: int, shift: float = 3.0, wide: float = 30.0) -> Embedded:
    """Half of them lenses, moved along the second of five features, whose scatter along the first is wide."""
    rng = np.random.default_rng(seed)
    lens = np.arange(n) % 2 == 0
    embedding = rng.normal(0, [wide, 1.0, 1.0, 1.0, 1.0], (n, 5))
    embedding[lens, 1] += shift
    return Embedded(embedding.astype(np.float32), lens)


def others(n: int, seed: int) -> np.ndarray:
    sample = blobs(2 * n, seed)
    return sample.embedding[~sample.lens]


def test_means_are_as_the_nearer_of_the_two_classes_says():
    examples = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0], [0.0, 2.0]])
    lens = np.array([True, True, False, False])
    weights = means(examples, lens)
    asked = np.random.default_rng(0).normal(0, 3, (50, 2))
    nearer = np.hypot(*(asked - [2, 0]).T) < np.hypot(*(asked - [0, 3]).T)
    assert ((asked @ weights[:2] + weights[2] > 0) == nearer).all()


def test_the_middle_of_all_stamps_stands_for_the_others_without_their_labels():
    weights = from_the_middle(np.array([[2.0, 0.0], [4.0, 0.0], [9.0, 9.0]]), np.array([True, True, False]))
    assert weights == pytest.approx([3.0, 0.0, -4.5])


def test_spaces_make_the_scatter_of_unlabelled_stamps_one_or_round():
    rng = np.random.default_rng(1)
    mixing = np.array([[3.0, 0.0], [2.0, 1.0]])
    values = rng.normal(0, 1, (5000, 2)) @ mixing + 40
    assert scaled(values).of(values).std(axis=0) == pytest.approx([1, 1], rel=1e-6)
    assert np.cov(whitened(values).of(values).T) == pytest.approx(np.eye(2), abs=0.1)


def test_a_feature_that_never_varies_is_left_at_zero():
    values = np.column_stack([np.arange(6.0), np.full(6, 3.0)])
    assert np.isfinite(scaled(values).of(values)).all()
    assert (scaled(values).of(values)[:, 1] == 0).all()


def test_whitening_finds_with_five_labels_what_a_wide_feature_hides():
    labelled, test = blobs(400, 2), blobs(4000, 3)
    drawn = draw_labels(labelled.lens, 10, 0.5, 10, seed=1)
    plain = [test.embedding @ means(labelled.embedding[rows].astype(float), labelled.lens[rows])[:5] for rows in drawn]
    found = probe(labelled, others(2000, 4), blobs(2000, 5), test, drawn, 0.01)
    areas = [np.mean(scores[test.lens][:, None] > scores[~test.lens][:500]) for scores in plain]
    assert np.median(found.auroc) > 0.95 > np.median(areas) + 0.2


def test_the_form_is_chosen_without_the_test():
    labelled, choice = blobs(400, 6), blobs(1000, 7)
    drawn = draw_labels(labelled.lens, 20, 0.5, 5, seed=1)
    upside_down = Embedded(blobs(1000, 8).embedding, ~blobs(1000, 8).lens)
    with_truth = probe(labelled, others(500, 9), choice, blobs(1000, 8), drawn, 0.01)
    with_lies = probe(labelled, others(500, 9), choice, upside_down, drawn, 0.01)
    assert with_lies.form == with_truth.form
    assert with_lies.auroc == pytest.approx(1 - with_truth.auroc)


def test_labels_are_drawn_with_the_share_of_lenses_and_alike_for_every_network():
    lens = np.arange(1000) % 4 == 0
    first, again = (draw_labels(lens, 100, 0.2, 3, seed=5) for _ in range(2))
    assert [lens[rows].sum() for rows in first] == [20, 20, 20]
    assert all(len(set(rows.tolist())) == 100 for rows in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.99, 9)])
def test_a_draw_has_at_least_one_of_each_class(share: float, expected: int):
    lens = np.arange(100) < 50
    assert lens[draw_labels(lens, 10, share, 1, seed=1)[0]].sum() == expected


def test_more_labels_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="100 labels need 50 lenses, and the labelled pools have 10"):
        draw_labels(np.arange(1000) < 10, 100, 0.5, 1, seed=1)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_form_tells_two_far_blobs_apart(name: str):
    sample, unlabelled = blobs(60, 10, shift=15.0, wide=1.0), blobs(1000, 11, wide=1.0)
    scores = FORMS[name](unlabelled.embedding[~unlabelled.lens])(sample.embedding, sample.lens, sample.embedding)
    assert scores[sample.lens].min() > scores[~sample.lens].max()


def test_a_spread_is_the_median_and_the_middle_two_thirds():
    spread = Spread.of(np.arange(101) / 100)
    assert (spread.low, spread.value, spread.high) == pytest.approx((0.16, 0.5, 0.84))
