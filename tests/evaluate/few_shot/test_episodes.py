"""k-way n-shot accuracy where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.few_shot.config import EpisodesConfig
from pipeline.evaluate.few_shot.episodes import episode_accuracies

CONFIG = EpisodesConfig(ways=3, shots=(1, 5), queries=4, number=60)
NAMES = ("lens", "a", "b", "c")


def stamps(n: int, seed: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Four kinds, each about an axis of its own, `apart` from the origin."""
    kinds = np.resize(NAMES, n)
    centres = apart * np.eye(4)[[NAMES.index(kind) for kind in kinds]]
    return centres + np.random.default_rng(seed).normal(0, 1, (n, 4)), kinds


def measured(apart: float, **changes: object) -> list:
    config = CONFIG.model_copy(update=changes)
    unlabelled = stamps(400, 3, apart)[0]
    return episode_accuracies(stamps(200, 1, apart), stamps(400, 2, apart), unlabelled, config, seed=1)


def test_kinds_that_are_far_apart_are_told_and_those_that_are_the_same_are_guessed():
    assert all(found.value > 0.99 for found in measured(20.0))
    guessed = measured(0.0)
    assert all(abs(found.value - 1 / 3) < 4 * found.error for found in guessed)


def test_five_shots_tell_more_than_one():
    one, _, five, _ = measured(2.5)
    assert (one.shots, five.shots) == (1, 5)
    assert five.value > one.value + 2 * five.error


def test_accuracies_are_of_any_kinds_and_of_those_with_the_new_one():
    assert [found.among for found in measured(3.0, shots=(1,))] == ["any kinds", "lens and others"]


def test_too_few_stamps_of_a_kind_are_refused():
    few = stamps(20, 4, 3.0)
    with pytest.raises(ConfigError, match="need 15 stamps of each"):
        episode_accuracies(few, few, few[0], CONFIG.model_copy(update={"queries": 10, "shots": (5,)}), seed=1)
