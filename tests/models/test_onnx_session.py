"""The optional back end: the same scores as torch within a stated tolerance."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.score import MemberAnswers, ask_members
from pipeline.scan_config import ScoreConfig

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: ./install.sh onnx")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: ./install.sh onnx")

BANDS = ("g", "r", "i")
TOLERANCE = 1e-4
"""Of logits and distances; what the README promises."""


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return replace(load_ensemble("ground"), mapper=None)


def ask(image: np.ndarray, ensemble: Ensemble, backend: str, mask: np.ndarray | None = None) -> MemberAnswers:
    config = ScoreConfig(batch=8, device="cpu", backend=backend)
    return ask_members(image, None, mask, pixel_scale=0.262, bands=BANDS, ensemble=ensemble, config=config)


def stamps(n: int) -> np.ndarray:
    """Noise with a galaxy of some brightness in the middle."""
    y, x = np.mgrid[:78, :78] - 38.5
    light = np.exp(-np.hypot(y, x) / 4)
    rng = np.random.default_rng(0)
    return (rng.normal(0, 1, (n, 3, 78, 78)) + rng.uniform(1, 300, (n, 3, 1, 1)) * light).astype(np.float32)


def test_every_member_of_the_shipped_ensemble_answers_as_torch_does_within_the_tolerance(ensemble: Ensemble):
    image, mask = stamps(19), np.zeros((19, 3, 78, 78), np.uint32)
    image[3, 1] = np.nan
    image[4] = np.nan
    ours, theirs = ask(image, ensemble, "torch", mask), ask(image, ensemble, "onnx", mask)
    np.testing.assert_allclose(theirs.logits, ours.logits, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(theirs.distances, ours.distances, atol=TOLERANCE, rtol=TOLERANCE)
    assert np.isnan(theirs.logits).all(axis=1).tolist() == [row == 4 for row in range(19)]
    np.testing.assert_allclose(
        ensemble.score(theirs.logits, 0.5).score, ensemble.score(ours.logits, 0.5).score, atol=TOLERANCE
    )


def test_the_same_call_gives_the_same_bytes(ensemble: Ensemble):
    image = stamps(11)
    first, second = ask(image, ensemble, "onnx"), ask(image, ensemble, "onnx")
    assert first.logits.tobytes() == second.logits.tobytes()
    assert first.distances.tobytes() == second.distances.tobytes()


@pytest.mark.parametrize("keys", [{"device": "auto"}, {"device": "cuda"}, {"device": "cpu", "dtype": "bfloat16"}])
def test_what_onnxruntime_is_not_asked_for_is_refused_before_anything_runs(keys: dict[str, str]):
    with pytest.raises(ValidationError, match='needs device = "cpu" and dtype = "float32"'):
        ScoreConfig.model_validate({"backend": "onnx", **keys})


def test_a_back_end_that_is_not_installed_is_refused_with_the_command_that_installs_it(monkeypatch):
    config = importlib.import_module("pipeline.scan_config")
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"run `\./install\.sh onnx`"):
        ScoreConfig(backend="onnx", device="cpu")
