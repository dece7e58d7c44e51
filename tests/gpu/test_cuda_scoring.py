"""Scoring on a CUDA device: the answers of a CPU, the same bytes each time, and the rate that is hoped for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.score import MemberAnswers, ask_members, embed_cutouts
from pipeline.scan_config import ScoreConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: torch finds no CUDA device on this machine"),
]

BANDS = ("g", "r", "i")
BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_scoring.py"


def ground() -> Ensemble:
    """The shipped ensemble, weights of its own: a network that was on CUDA stays there."""
    return replace(load_ensemble("ground"), mapper=None)


def stamps(n: int) -> np.ndarray:
    y, x = np.mgrid[:78, :78] - 38.5
    rng = np.random.default_rng(0)
    light = rng.uniform(1, 300, (n, 3, 1, 1)) * np.exp(-np.hypot(y, x) / 4)
    image = (rng.normal(0, 1, (n, 3, 78, 78)) + light).astype(np.float32)
    image[3, 1] = np.nan
    image[4] = np.nan
    return image


def ask(image: np.ndarray, ensemble: Ensemble, device: str, **keys: object) -> MemberAnswers:
    config = ScoreConfig.model_validate({"batch": 16, **keys})
    return ask_members(
        image, None, None, pixel_scale=0.262, bands=BANDS, ensemble=ensemble, config=config, device=device
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.3)])
def test_logits_and_distances_are_those_of_a_cpu(dtype: str, tolerance: float):
    image = stamps(41)
    here, there = ask(image, ground(), "cpu"), ask(image, ground(), "cuda", dtype=dtype)
    np.testing.assert_allclose(there.logits, here.logits, atol=tolerance)
    np.testing.assert_allclose(there.distances, here.distances, rtol=tolerance)
    assert np.isnan(there.logits).all(axis=1).tolist() == [row == 4 for row in range(41)]


@pytest.mark.parametrize("keys", [{}, {"dtype": "bfloat16"}, {"cascade": True}, {"backend": "compile"}])
def test_the_same_shard_gives_the_same_bytes(keys: dict[str, object]):
    image, ensemble = stamps(41), ground()
    first, second = ask(image, ensemble, "cuda", **keys), ask(image, ensemble, "cuda", **keys)
    assert first.logits.tobytes() == second.logits.tobytes()
    assert first.distances.tobytes() == second.distances.tobytes()


def test_a_gate_stops_on_cuda_what_it_stops_on_a_cpu():
    image, ensemble = stamps(41), ground()
    here, there = ask(image, ensemble, "cpu", cascade=True), ask(image, ground(), "cuda", cascade=True)
    assert here.gates is not None
    assert there.gates is not None
    cascade = ensemble.gates()
    first = cascade.config.gates[0]
    sure = np.abs(here.gates[:, 0] * first.weights[0] - first.threshold) > 1e-3
    stopped = [np.isnan(gates[:, 1]) for gates in (here.gates, there.gates)]
    assert (stopped[0] == stopped[1])[sure].all()


@pytest.mark.slow
def test_the_rates_that_are_hoped_for_on_one_h100(tmp_path: Path):
    if "H100" not in torch.cuda.get_device_name():
        pytest.skip(f"NOT TESTED: the goals are for an H100, this is {torch.cuda.get_device_name()}")
    words = ["--device", "cuda", "--dtype", "bfloat16", "--batch", "2048", "--cutouts", "40000"]
    subprocess.run([sys.executable, BENCHMARK, *words, "--json", tmp_path / "rates.json"], check=True)
    rates = json.loads((tmp_path / "rates.json").read_text())
    largest = max(rates["members"], key=lambda member: member["mflop"])
    assert largest["of_matmul"] >= 0.4
    assert rates["tasks"][0]["per_s"] >= 100_000


def test_embeddings_have_the_same_bytes_by_the_whole_pass_and_by_their_network_alone() -> None:
    image, ensemble = stamps(40), ground()
    config = ScoreConfig(batch=16, device="cuda", embeddings=True)
    number = ensemble.embedder(True)
    assert number is not None
    whole = ask_members(image, None, None, pixel_scale=0.262, bands=BANDS, ensemble=ensemble, config=config).embeddings
    member = ensemble.members[number]
    alone = embed_cutouts(image, None, None, pixel_scale=0.262, bands=BANDS, member=member, config=config)
    assert whole is not None
    assert alone.tobytes() == whole.tobytes()
    assert np.isnan(whole[4]).all()
    assert np.isfinite(np.delete(whole, [3, 4], axis=0)).all()
