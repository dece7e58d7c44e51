"""The training loop: it learns, and a stopped run resumes to the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.evaluate.metrics import auroc
from pipeline.train.config import TrainConfig
from pipeline.train.data import Stamps
from pipeline.train.loop import Progress, fingerprint_seed, train


def rings(n: int, seed: int) -> Stamps:
    """Half of the stamps have a bright ring of 1.8 arcsec."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(x, y) * 0.3
    lens = np.arange(n) % 2 == 0
    image = rng.normal(0, 10, (n, 3, 32, 32)) + 300 * np.exp(-radius)
    image[lens] += 60 * np.exp(-((radius - 1.8) ** 2) / 0.1)
    flagged = np.zeros((n, 3, 32, 4), np.uint8)
    return Stamps(
        image.astype(np.float32), flagged, lens, np.where(lens, "lens", "other"), ("g", "r", "i"), 0.3, str(seed)
    )


def config(**changes: object) -> TrainConfig:
    values = {
        "name": "test",
        "seed": 3,
        "network": {"architecture": "cnn", "arguments": {"width": 8}},
        "package": {"bands": ["g", "r", "i"], "pixel_scale": "0.3 arcsec", "size_pix": 32, "reference": "none"},
        "data": {"train": ["x"], "validation": ["y"]},
        "optimiser": {"batch": 32, "epochs": 6, "average": 0.9},
        "run": {"dtype": "float32", "checkpoint_steps": 7, "report_steps": 4, "device": "cpu"},
    }
    values.update(changes)
    return TrainConfig.model_validate(values)


class Stop(Exception):
    pass


def test_it_learns_rings(tmp_path: Path):
    trained = train(
        config(optimiser={"batch": 32, "epochs": 12, "average": 0.9}), rings(256, 1), rings(100, 2), tmp_path
    )
    assert auroc(trained.logits, rings(100, 2).lens).value > 0.9
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["auroc"] > 0.9
    assert {"step", "loss"} <= set(lines[0])
    speed = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert all(line["rate"] > 0 and line["left"] >= 0 for line in speed)


def test_a_stopped_run_resumes_to_the_same_numbers(tmp_path: Path):
    stamps, validation = rings(96, 1), rings(40, 2)
    whole = train(config(), stamps, validation, tmp_path / "whole")

    def stop(progress: Progress) -> None:
        if progress.step >= 8:
            raise Stop

    with pytest.raises(Stop):
        train(config(), stamps, validation, tmp_path / "stopped", report=stop)
    resumed = train(config(), stamps, validation, tmp_path / "stopped", resume=True)
    assert np.array_equal(whole.logits, resumed.logits)
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "stopped/metrics.jsonl").read_bytes()
    for one, other in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path):
    train(config(), rings(64, 1), rings(40, 2), tmp_path)
    with pytest.raises(ProductMismatch, match="another configuration"):
        train(config(seed=4), rings(64, 1), rings(40, 2), tmp_path, resume=True)
    with pytest.raises(ProductMismatch, match="other pools"):
        train(config(), rings(64, 5), rings(40, 2), tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path):
    broken = config(optimiser={"batch": 32, "epochs": 6, "learning_rate": 1e30, "clip": 1e30})
    with pytest.raises(ConfigError, match="loss is"):
        train(broken, rings(64, 1), rings(40, 2), tmp_path)


def test_every_step_has_a_seed_of_its_own():
    seeds = {fingerprint_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
