"""The command `train`: pools in, a package that scores out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pipeline.models.package import load_package
from pipeline.sims.config.load import load_sims
from pipeline.sims.stamps.pools import write_shard
from workflows.train import train

CONFIG = """
name = "tiny"
seed = 1
[network]
architecture = "cnn"
arguments = { width = 8 }
[package]
bands = ["g", "r", "i"]
pixel_scale = "0.3 arcsec"
size_pix = 32
reference = "none"
notes = ["made by a test"]
[data]
train = ["pool-0.npz"]
validation = ["pool-1.npz"]
mix = { spiral = 2.0 }
[optimiser]
batch = 32
epochs = 12
average = 0.9
[run]
device = "cpu"
dtype = "float32"
"""


def write_pool(path: Path, n: int, seed: int) -> None:
    """Rings of 1.8 arcsec around every second galaxy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:36, :36] - 17.5
    radius = np.hypot(x, y) * 0.3
    label = np.arange(n) % 2 == 0
    image = rng.normal(0, 10, (n, 3, 36, 36)) + 300 * np.exp(-radius)
    image[label] += 60 * np.exp(-((radius - 1.8) ** 2) / 0.1)
    np.savez(
        path,
        image=image.astype(np.float32),
        mask=np.zeros(image.shape, np.uint32),
        label=label,
        kind=np.where(label, 0, 1),
        kinds=np.array(["lens", "spiral"]),
        bands=np.array(["g", "r", "i"]),
        pixel_scale=0.3,
    )


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(train)
    return app


def test_a_run_writes_a_package_with_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: typer.Typer):
    monkeypatch.chdir(tmp_path)
    write_pool(tmp_path / "pool-0.npz", 256, 0)
    write_pool(tmp_path / "pool-1.npz", 100, 1)
    (tmp_path / "tiny.toml").write_text(CONFIG)
    answer = CliRunner().invoke(app, ["tiny.toml", "--out", "runs", "--json"])
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["stamps"] == 256
    package = load_package(Path(result["package"]))
    assert package.card.notes == ("made by a test",)
    assert package.card.pixel_scale == 0.3
    assert 15 < package.calibration.n_lenses < 35
    assert result["metrics"]["auroc"] > 0.85
    weights = package.weights_sha256
    once_more = CliRunner().invoke(app, ["tiny.toml", "--out", "runs", "--json"])
    assert once_more.exit_code == 2
    assert "holds a trained package" in json.loads(once_more.stdout)["error"]
    again = CliRunner().invoke(app, ["tiny.toml", "--out", "runs", "--resume", "--json"])
    assert again.exit_code == 0
    assert load_package(Path(result["package"])).weights_sha256 == weights
    other = CliRunner().invoke(app, ["tiny.toml", "--out", "runs", "--seed", "2", "--json"])
    package = load_package(Path(json.loads(other.stdout)["package"]))
    assert package.path == Path("runs/tiny-seed2/package")
    assert package.weights_sha256 != weights
    assert "tiny.toml --seed 2" in package.card.training


LEARNS = """
name = "learns"
seed = 1
[network]
architecture = "preact_resnet"
arguments = { width = 16, blocks = 1 }
[package]
bands = ["g", "r", "i"]
pixel_scale = "0.3 arcsec"
size_pix = 48
reference = "none"
[data]
train = ["train/*.npz"]
validation = ["unseen/*.npz"]
[augment]
zoom_share = 0
gap_share = 0
noise_share = 0
[optimiser]
batch = 32
steps = 200
learning_rate = 4e-3
average = 0.95
[run]
device = "cpu"
dtype = "float32"
validation_steps = 100
"""


def test_a_small_run_on_simulations_learns_to_tell_unseen_lenses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: typer.Typer
):
    """Chance is 0.5; the margin is 0.25, some ten times what 400 stamps leave uncertain."""
    monkeypatch.chdir(tmp_path)
    simple = {"size": 48, "artefact_share": 0.0, "off_centre_share": 0.0}
    negatives = {"elliptical": 1.0, "spiral": 1.0, "star": 1.0, "edge_on": 1.0}
    config = load_sims("stamps").model_copy(update={**simple, "negatives": negatives})
    for name, seed, count in (("train", 11, 600), ("unseen", 12, 400)):
        (tmp_path / name).mkdir()
        write_shard(config, tmp_path / name, seed, 0, count)
    (tmp_path / "learns.toml").write_text(LEARNS)
    answer = CliRunner().invoke(app, ["learns.toml", "--out", "runs", "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["metrics"]["auroc"] > 0.75


def test_pools_that_are_not_there_exit_with_2_and_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: typer.Typer
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(CONFIG)
    answer = CliRunner().invoke(app, ["tiny.toml", "--json"])
    assert answer.exit_code == 2
    assert "lensscan simulate" in json.loads(answer.stdout)["error"]
