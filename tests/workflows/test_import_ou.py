"""The command `import-ou`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from typer.testing import CliRunner

from pipeline.models.ou_cnn import LAYOUTS, OuCnn
from pipeline.models.package import load_package
from workflows.cli import app


def published(path: Path) -> Path:
    """Fresh weights under the names that the published file of the 200 px layout has."""
    network = OuCnn(1, 200)
    state = {}
    for ours, theirs in zip(range(len(LAYOUTS[200].features)), (0, 4, 8, 12, 16, 19), strict=True):
        for part in ("weight", "bias"):
            state[f"VIS_layer.{theirs}.{part}"] = network.state_dict()[f"layers.{ours}.0.{part}"]
    for ours, theirs in (("hidden", 0), ("out", 2)):
        for part in ("weight", "bias"):
            state[f"fc_layer.{theirs}.{part}"] = network.state_dict()[f"head.{ours}.{part}"]
    torch.save(state, path)
    return path


def test_a_published_file_becomes_a_package_and_says_what_it_reads(tmp_path: Path) -> None:
    arguments = ["import-ou", str(published(tmp_path / "OU_VIS_Weights.pt")), "--out", str(tmp_path / "packages")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "packages" / "ou_vis"
    assert json.loads(result.stdout) == {"package": str(folder), "bands": ["VIS"], "size_pix": 200}
    assert load_package(folder).card.reference.startswith("Wilde et al. 2022")
    named = CliRunner().invoke(app, [*arguments, "--name", "mine", "--bands", "I"])
    assert "mine: I, 200 px, uncalibrated" in named.stdout
    assert load_package(tmp_path / "packages" / "mine").card.bands == ("I",)


def test_what_is_no_such_file_is_exit_two_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not weights")
    for name in ("text.pt", "nowhere.pt"):
        result = CliRunner().invoke(app, ["import-ou", str(tmp_path / name), "--out", str(tmp_path), "--json"])
        assert result.exit_code == 2
        assert name in json.loads(result.stdout)["error"]
