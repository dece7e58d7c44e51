"""The eight shipped methods are compared on equal terms."""

from __future__ import annotations

import pytest

from pipeline.config import find
from pipeline.train.config import TrainConfig
from pipeline.train.load import load_training

METHODS = ("supervised", "asymmetric", "pseudo-label", "pi-model", "mean-teacher", "vat", "mixmatch", "wgan-gp")
FULL = 128
"""Stamps with a gradient in a step."""


def read(name: str) -> TrainConfig:
    return load_training(find(name, "training"))


@pytest.mark.parametrize("name", METHODS[1:])
def test_a_method_differs_from_supervised_training_in_the_method_alone(name: str):
    mine, reference = read(name), read("supervised")
    for part in ("seed", "network", "normalisation", "sampler", "augment", "run"):
        assert getattr(mine, part) == getattr(reference, part), part
    assert mine.optimiser.model_copy(update={"batch": FULL}) == reference.optimiser
    assert mine.data.model_copy(update={"unlabelled": ()}) == reference.data
    assert mine.package.model_copy(update={"reference": ""}) == reference.package.model_copy(update={"reference": ""})


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_any_method_moves_as_many_stamps(name: str):
    config = read(name)
    views = getattr(config.method, "augmentations", 1)
    unlabelled = round(getattr(config.method, "ratio", 0) * config.optimiser.batch) * views
    generated = round(getattr(config.method, "share", 0) * config.optimiser.batch)
    assert config.optimiser.batch + unlabelled + generated == pytest.approx(FULL, rel=0.04)
    assert bool(unlabelled) == bool(config.data.unlabelled)
