"""The command `train` on data in the forms that people have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.models.package import load_package
from workflows.train import run_training

CONFIG = """
name = "tiny"
seed = 1
[network]
architecture = "cnn"
arguments = {{ width = 8 }}
[package]
bands = ["r"]
pixel_scale = "0.3 arcsec"
size_pix = 24
reference = "none"
[data]
size_pix = 28
[[data.train]]
kind = "folders"
path = "stamps"
split = "train"
bands = ["g", "r"]
pixel_scale = "0.2 arcsec"
[[data.validation]]
kind = "folders"
path = "stamps"
split = "{validation}"
bands = ["g", "r"]
pixel_scale = "0.2 arcsec"
[optimiser]
batch = 16
epochs = 6
average = 0.5
[run]
device = "cpu"
dtype = "float32"
"""


def write_folders(root: Path, n: int = 40) -> None:
    """Rings of 1.8 arcsec around the galaxies of the lenses' folders; pixels of 0.2 arcsec."""
    y, x = np.mgrid[:44, :44] - 21.5
    radius = np.hypot(x, y) * 0.2
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, level in (("lenses", 120), ("nonlenses", 0)):
            folder = root / f"stamps/{split}_{name}"
            folder.mkdir(parents=True)
            light = 300 * np.exp(-radius) + level * np.exp(-((radius - 1.8) ** 2) / 0.1)
            for number in range(n):
                np.save(folder / f"{number}.npy", (light + rng.normal(0, 10, (2, 44, 44))).astype(np.float32))


def test_folders_of_stamps_at_another_pixel_scale_train_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path)
    (tmp_path / "tiny.toml").write_text(CONFIG.format(validation="test"))
    result = run_training("tiny.toml", "runs")
    assert result.stamps == 80
    assert result.metrics["auroc"] > 0.8
    assert "stamps/test_{lenses,nonlenses}" in load_package(Path(result.package)).calibration.fitted_on


def test_a_validation_of_training_stamps_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path, 12)
    (tmp_path / "tiny.toml").write_text(CONFIG.format(validation="train"))
    with pytest.raises(ConfigError, match=r"24 of its 24 stamps are in data\.train too"):
        run_training("tiny.toml", "runs")
    assert not (tmp_path / "runs").exists()
