"""Embeddings of the pass that scores: one member's, of the upright stamp, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import ModelMismatch
from pipeline.flags import PixelFlag, mask_value
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.ensemble import Ensemble
from pipeline.models.familiarity import Familiarity
from pipeline.models.normalise import normalise
from pipeline.models.package import ModelPackage, embedding_width
from pipeline.models.resample import resample
from pipeline.scan.score import MemberAnswers, ask_members, embed_cutouts
from pipeline.scan_config import ScoreConfig
from tests.cards import card

BANDS = ("g", "r", "i")
SCALE = 0.262


def member(architecture: str) -> ModelPackage:
    torch.manual_seed(5)
    network = build(architecture, 2 * len(BANDS) + 1, {"width": 8}).eval()
    calibration = Calibration(slope=1, offset=0, prior=0.5, n_lenses=1, n_others=1, fitted_on="")
    own = card(name=architecture, architecture=architecture, bands=BANDS)
    return ModelPackage(Path(), own, "none", calibration, network=network)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    members = tuple(member(name) for name in ("cnn", "multiscale"))
    return Ensemble("test", members, (1.0, 1.0), "mean_log_odds", views=4)


def cutouts(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10, (n, 3, 78, 78)).astype(np.float32)


def ask(image: np.ndarray, ensemble: Ensemble, mask: np.ndarray | None = None, **keys: Any) -> MemberAnswers:
    config = ScoreConfig(batch=8, device="cpu", **keys)
    return ask_members(image, None, mask, pixel_scale=SCALE, bands=BANDS, ensemble=ensemble, config=config)


@pytest.mark.parametrize(("asked", "number"), [(True, 0), ("cnn", 0), ("multiscale", 1)])
def test_embeddings_are_what_the_network_makes_of_the_upright_stamp(
    ensemble: Ensemble, asked: bool | str, number: int
) -> None:
    image = cutouts(11)
    found = ask(image, ensemble, embeddings=asked).embeddings
    own = ensemble.members[number]
    with torch.inference_mode():
        pixels, kept, _ = resample(
            torch.from_numpy(image), torch.ones(image.shape, dtype=torch.bool), SCALE, own.card.size_pix,
            own.card.pixel_scale,
        )  # fmt: skip
        channels = normalise(pixels, kept, own.card.normalisation, own.card.pixel_scale)
        expected = own.network.embed(channels).numpy()
    assert found is not None
    assert found.dtype == np.float16
    assert found.shape == expected.shape == (11, embedding_width(own))
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("familiar", [False, True])
def test_keeping_embeddings_changes_no_logit_and_no_distance(ensemble: Ensemble, familiar: bool) -> None:
    if familiar:
        d = embedding_width(ensemble.members[0])
        known = Familiarity(torch.zeros(1, d), torch.eye(d), np.linspace(0, 9, 11, dtype=np.float32), "")
        ensemble = replace(ensemble, members=(replace(ensemble.members[0], familiarity=known), ensemble.members[1]))
    image = cutouts(21)
    plain, kept = ask(image, ensemble), ask(image, ensemble, embeddings=True)
    assert plain.embeddings is None
    assert kept.logits.tobytes() == plain.logits.tobytes()
    assert kept.distances.tobytes() == plain.distances.tobytes()


@pytest.mark.parametrize("passed", [None, np.array([0, 3, 4, 5, 9, 11, 12, 14, 20])])
def test_the_network_alone_gives_the_bytes_of_the_whole_pass(ensemble: Ensemble, passed: np.ndarray | None) -> None:
    image = cutouts(21)
    mask = np.zeros(image.shape, np.uint32)
    mask[3] = mask_value(PixelFlag.NODATA)
    whole = ask(image if passed is None else image[passed], ensemble, None if passed is not None else mask,
                embeddings="multiscale").embeddings  # fmt: skip
    alone = embed_cutouts(
        image, None, None if passed is not None else mask, pixel_scale=SCALE, bands=BANDS,
        member=ensemble.members[1], config=ScoreConfig(batch=8, device="cpu"), passed=passed,
    )  # fmt: skip
    assert whole is not None
    if passed is None:
        assert alone.tobytes() == whole.tobytes()
        assert np.isnan(alone[3]).all()
        assert np.isfinite(np.delete(alone, 3, axis=0)).all()
    else:
        assert alone[passed].tobytes() == whole.tobytes()
        assert np.isnan(np.delete(alone, passed, axis=0)).all()


def test_where_nothing_can_be_seen_the_width_is_that_of_the_network(ensemble: Ensemble) -> None:
    found = ask(cutouts(3)[:0], ensemble, embeddings=True).embeddings
    assert found is not None
    assert found.shape == (0, embedding_width(ensemble.members[0]))
    none = embed_cutouts(
        cutouts(4), None, None, pixel_scale=SCALE, bands=BANDS, member=ensemble.members[0],
        config=ScoreConfig(device="cpu"), passed=np.empty(0, np.int64),
    )  # fmt: skip
    assert none.shape == (4, embedding_width(ensemble.members[0]))
    assert np.isnan(none).all()


def test_what_half_precision_does_not_hold_is_drawn_to_its_edge(ensemble: Ensemble) -> None:
    loud = member("cnn")
    with torch.no_grad():
        for weights in loud.network.parameters():
            weights.mul_(50)
    found = ask(cutouts(5), replace(ensemble, members=(loud,), weights=(1.0,)), embeddings=True).embeddings
    assert found is not None
    assert np.isfinite(found).all()
    assert np.abs(found).max() == np.finfo(np.float16).max


def test_a_member_that_is_not_there_is_named(ensemble: Ensemble) -> None:
    with pytest.raises(ModelMismatch, match=r"has no member 'vit' to make embeddings.* one of cnn, multiscale"):
        ask(cutouts(2), ensemble, embeddings="vit")
