"""The command `train` without labels, and by episodes of few shots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from pipeline.models.package import load_package
from pipeline.models.support import support_of
from pipeline.train.loop import COMPANION
from tests.workflows.test_evaluate_few_shot import write_pool
from workflows.train import train

CONFIG = """
name = "tiny"
seed = 1
[network]
architecture = "hybrid"
arguments = { width = 8, heads = 2, layers = 1, support = 0 }
[package]
bands = ["g", "r", "i"]
pixel_scale = "0.3 arcsec"
size_pix = 32
reference = "none"
[data]
train = ["labelled.npz"]
validation = ["validation.npz"]
unlabelled = ["unlabelled.npz"]
[optimiser]
batch = 24
steps = 30
learning_rate = 1e-2
average = 0.5
[method]
name = "contrastive"
ratio = 0.5
[run]
device = "cpu"
dtype = "float32"
validation_steps = 40
checkpoint_steps = 40
report_steps = 20
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, (name, n) in enumerate((("labelled", 60), ("unlabelled", 60), ("validation", 120))):
        write_pool(tmp_path / f"{name}.npz", n, seed)
    return tmp_path


def trained(text: str, out: str) -> tuple[Path, dict[str, float]]:
    Path("tiny.toml").write_text(text, encoding="utf-8")
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, ["tiny.toml", "--out", out, "--json"])
    assert result.exit_code == 0, result.output
    run = Path(out) / "tiny"
    return run, json.loads(result.stdout)["metrics"]


def test_contrastive_training_makes_a_package_without_its_projection(folder: Path):
    run, metrics = trained(CONFIG, "runs")
    assert "auroc" in metrics
    package = load_package(run / "package")
    projection = load_file(run / COMPANION)
    assert projection["0.weight"].shape == (128, 32)
    assert not {name for name in package.network.state_dict() if name in projection}
    losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("contrastive" in line and "bce" in line for line in losses)
    with torch.inference_mode():
        assert package.network.embed(torch.randn(2, 7, 32, 32)).shape == (2, 32)


def test_few_shot_training_ends_with_its_support_set_in_the_package(folder: Path):
    text = (
        CONFIG.replace("support = 0", "support = 6")
        .replace('unlabelled = ["unlabelled.npz"]\n', "")
        .replace("batch = 24", "batch = 48")
    )
    text = text.replace(
        'name = "contrastive"\nratio = 0.5', 'name = "few_shot"\nways = 3\nshots = 2\nqueries = 2\nmost = 8'
    )
    run, metrics = trained(text, "runs")
    assert metrics["auroc"] > 0.5
    head = support_of(load_package(run / "package").network)
    assert sorted(head.counts.tolist()) == [0, 0, 2, 8, 8, 8]  # two lenses, and eight of each of three kinds
    assert head.counts[head.rare == 1].tolist() == [2]
