"""Lenses of like magnitude, and what the probe says of samples that differ in brightness or padding alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.catalogue.stamps import Stamp
from pipeline.evaluate.config import EvaluationConfig
from pipeline.evaluate.realism.matching import matched
from pipeline.evaluate.realism.pairs import probes
from pipeline.evaluate.samples.sample import Sample
from pipeline.evaluate.scores import Scores
from pipeline.models.normalisation import NormalisationConfig

BANDS = ("g", "r", "i")


def test_partners_are_near_and_nobody_is_taken_twice():
    rng = np.random.default_rng(1)
    first, second = rng.uniform(18, 22, 900), rng.uniform(19, 21, 80)
    first[3], second[4] = np.nan, np.nan
    mine, theirs = matched(first, second, 0.2, np.random.default_rng(2))
    assert len(np.unique(mine)) == len(mine)
    assert (np.abs(first[mine] - second[theirs]) <= 0.2).all()
    # 450 are where the 79 are: each gets as many as every other.
    counts = np.bincount(theirs, minlength=80)
    assert counts[4] == 0
    assert set(counts[np.arange(80) != 4].tolist()) == {counts[0]}
    assert counts[0] >= 2


def test_what_is_brighter_than_anything_of_the_other_sample_is_left_out():
    mine, theirs = matched(np.array([20.0, 20.3, 21.0]), np.array([17.0, 20.1]), 0.25, np.random.default_rng(1))
    assert theirs.tolist() == [1, 1]
    assert sorted(mine.tolist()) == [0, 1]
    assert [len(part) for part in matched(np.array([20.0]), np.array([18.0]), 0.25, np.random.default_rng(1))] == [0, 0]


class Plain(torch.nn.Module):
    """Shows the probe what the network gets: every tenth pixel of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::10, ::10].flatten(1)


def scores(name: str, column: str, magnitude: np.ndarray, seed: int, *, lost: int = 0, pixels: str = "sky") -> Scores:
    """Round galaxies of given magnitudes; those of a sample lack so many columns of pixels, on either side."""
    rng = np.random.default_rng(seed)
    n = len(magnitude)
    y, x = np.mgrid[:32, :32] - 15.5
    flux = 10 ** (-0.4 * (magnitude - 31.4)) / 60
    image = rng.normal(0, 20, (n, 3, 32, 32)) + flux[:, None, None, None] * np.exp(-np.hypot(x, y) / 2)
    if lost:
        image[rng.random(n) < 0.5, :, :, :lost] = np.nan
    sample = Sample(
        name=name,
        column=column,
        bands=BANDS,
        pixel_scale=0.3,
        lens=np.ones(n, bool),
        truth={},
        parts=lambda: iter(()),
        stamp=lambda row: Stamp(image[row], np.zeros((3, 32, 32), np.uint32), BANDS, 0.3),
        pixels=pixels,
    )
    simple = np.stack([np.zeros(n), np.zeros(n), -magnitude], axis=1)
    nothing = np.zeros((n, 1), np.float32)
    rows = np.arange(n)
    return Scores(sample, rows, nothing, nothing, nothing[:, 0], nothing, simple, rows, image.astype(np.float32))


@pytest.fixture
def ensemble() -> SimpleNamespace:
    card = SimpleNamespace(bands=BANDS, pixel_scale=0.3, size_pix=32, normalisation=NormalisationConfig())
    return SimpleNamespace(members=[SimpleNamespace(name="plain", card=card, network=Plain())])


def config(caliper: str) -> EvaluationConfig:
    pool = {"name": "a", "column": "real", "kind": "pools", "pools": ["x"]}
    return EvaluationConfig.model_validate({"name": "e", "samples": [pool], "probe": {"caliper": caliper}})


def test_brightness_and_padding_alone_tell_nothing_of_matched_lenses(ensemble):
    rng = np.random.default_rng(0)
    made = scores("made", "injections", rng.uniform(18, 22, 600), 1)
    real = scores("real", "real", rng.uniform(18, 20, 150), 2, lost=8)
    (found,), reason = probes([made, real], ensemble, config("0.2 mag"))
    assert reason is None
    assert found.like
    assert found.auc.value == pytest.approx(0.5, abs=0.09)
    # Unmatched, the same two are told apart.
    (careless,), _ = probes([made, real], ensemble, config("9 mag"))
    assert careless.auc.value > 0.6


def test_a_pair_is_alike_only_where_both_say_whose_pixels_they_have(ensemble):
    mags = np.full(30, 20.0)
    real = scores("real", "real", mags, 2, pixels="ps1")
    made = [scores(name, "injections", mags, 3, pixels=name) for name in ("ps1", "kids", "")]
    found, _ = probes([*made, real], ensemble, config("0.2 mag"))
    assert [(one.first_pixels, one.second_pixels, one.like) for one in found] == [
        ("ps1", "ps1", True), ("kids", "ps1", False), ("", "ps1", False),
    ]  # fmt: skip
    nothing = scores("unknown", "real", mags, 4, pixels="")
    (one,), _ = probes([made[2], nothing], ensemble, config("0.2 mag"))
    assert not one.like
    far = scores("far", "real", mags - 3, 4)
    (none,), _ = probes([made[0], far], ensemble, config("0.2 mag"))
    assert none.auc.value is None
    assert "within 0.2 mag" in str(none.auc.reason)
