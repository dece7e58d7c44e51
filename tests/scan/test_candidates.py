from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scan.candidates import choose_candidates
from pipeline.scan_config import CandidatesConfig


def chosen(score, **settings):
    score = np.asarray(score, np.float32)
    return choose_candidates(score, np.arange(len(score)), CandidatesConfig(**settings)).tolist()


def test_rows_at_or_above_the_floor_are_candidates():
    assert chosen([0.1, 0.5, 0.49, 1.0], floor=0.5, max_fraction=1.0) == [False, True, False, True]


def test_a_null_score_is_never_a_candidate():
    assert chosen([np.nan, 0.2], floor=0.0, max_fraction=1.0) == [False, True]
    assert chosen([np.nan, np.nan], floor=0.0) == [False, False]


def test_the_highest_scores_are_kept_when_too_many_pass():
    assert chosen([0.3, 0.9, 0.8, 0.2], floor=0.01, max_fraction=0.5) == [False, True, True, False]


def test_of_equal_scores_the_lower_id_is_kept():
    keep = choose_candidates(np.array([0.5, 0.5, 0.5]), np.array([9, 3, 5]), CandidatesConfig(max_fraction=0.34))
    assert keep.tolist() == [False, True, False]


def test_no_rows_give_no_candidates():
    assert chosen([]) == []


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=60), st.floats(0.02, 1.0))
def test_candidates_are_never_more_than_the_fraction_or_one(scores, fraction):
    kept = chosen(scores, floor=0.1, max_fraction=fraction)
    assert sum(kept) <= max(1, fraction * len(scores) + 1e-6)
