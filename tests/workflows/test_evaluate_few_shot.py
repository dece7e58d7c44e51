"""An evaluation of few labels, from pools and a package to a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pipeline.config import find, read_toml, validate
from pipeline.evaluate.few_shot.config import FewShotEvaluation
from pipeline.evaluate.few_shot.page import goal_text, page
from pipeline.evaluate.few_shot.probe import Spread
from pipeline.evaluate.few_shot.result import PROBE, SCRATCH, TUNED, FewShotResult, Line, goal_of
from pipeline.models import build
from pipeline.models.publish import save_package
from pipeline.train.load import load_training
from tests.cards import UNFITTED, card
from workflows.evaluate import evaluate
from workflows.evaluate_few_shot import TRAININGS

TRAINING = """
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
[data]
train = ["pools/labelled.npz"]
validation = ["pools/choice.npz"]
[optimiser]
batch = 8
average = 0.5
[run]
device = "cpu"
dtype = "float32"
"""

EVALUATION = """
kind = "few_shot"
name = "tiny"
labels = [6, 12]
draws = 3
rate = 0.05
goal = [6, 12]
labelled = ["pools/labelled.npz"]
choice = ["pools/choice.npz"]
test = ["pools/test.npz"]
unlabelled = ["pools/unlabelled.npz"]
[[networks]]
name = "fresh"
package = "package"
draws = 2
[[networks]]
name = "absent"
package = "nowhere"
[[scratch]]
training = "tiny-training.toml"
draws = 2
steps = [2, 3]
[episodes]
ways = 3
shots = [2]
queries = 4
number = 5
"""
KINDS = np.array(["lens", "spiral", "star", "merger"])


def write_pool(path: Path, n: int, seed: int) -> None:
    """Rings around every second galaxy; the others are of three kinds, wider and wider."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:36, :36] - 17.5
    radius = np.hypot(x, y) * 0.3
    kind = np.where(np.arange(n) % 2 == 0, 0, 1 + np.arange(n) // 2 % 3)
    width = np.array([1.0, 0.6, 1.4, 2.0])[kind]
    image = rng.normal(0, 10, (n, 3, 36, 36)) + 300 * np.exp(-radius / width[:, None, None])[:, None]
    image[kind == 0] += 200 * np.exp(-((radius - 2.4) ** 2) / 0.1)
    np.savez(
        path,
        image=image.astype(np.float32),
        mask=np.zeros(image.shape, np.uint32),
        label=kind == 0,
        kind=kind,
        kinds=KINDS,
        bands=np.array(["g", "r", "i"]),
        pixel_scale=0.3,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pools").mkdir()
    for seed, name in enumerate(("labelled", "choice", "test", "unlabelled")):
        write_pool(tmp_path / "pools" / f"{name}.npz", 60, seed)
    torch.manual_seed(1)
    network = build("resnet", 7, {"width": 8}).eval()
    save_package(tmp_path / "package", card(architecture="resnet", size_pix=32), network, UNFITTED)
    (tmp_path / "tiny-training.toml").write_text(TRAINING, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(EVALUATION, encoding="utf-8")
    return tmp_path


def run(*more: str):
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, ["tiny.toml", "--out", "results", *more])


def test_probes_fine_tuning_and_training_from_scratch_stand_in_one_table(folder: Path):
    result = run("--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    lines = {(line["network"], line["how"], line["labels"]): line for line in told["lines"]}
    assert set(lines) == {
        (network, how, labels)
        for network, how in (("cnn", SCRATCH), ("fresh", PROBE), ("fresh", TUNED))
        for labels in (6, 12)
    }
    assert lines["fresh", PROBE, 12]["auroc"]["value"] > 0.8  # a ring is plain to see, in random features too
    assert told["not_measured"].keys() == {"absent"}
    assert [found["among"] for found in told["episodes"]["fresh"]] == ["any kinds", "lens and others"]
    assert json.loads((folder / "results" / "evaluation.json").read_text())["lines"] == told["lines"]
    html = (folder / "results" / "report.html").read_text()
    assert "Not measured" in html
    assert "fresh, fine-tuned" in html

    kept = {path: path.stat().st_mtime_ns for path in (folder / "results" / TRAININGS).rglob("*.npz")}
    assert len(kept) == 8
    again = run()
    assert again.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert json.loads((folder / "results" / "evaluation.json").read_text())["lines"] == told["lines"]


@pytest.mark.parametrize("name", ["test", "choice"])
def test_stamps_that_judge_and_that_labels_are_drawn_from_are_refused(folder: Path, name: str):
    write_pool(folder / "pools" / f"{name}.npz", 60, 0)
    result = run()
    assert result.exit_code == 2
    assert f"60 stamps of {name} are in labelled too" in result.output


def test_the_shipped_evaluation_is_whole():
    path = find("few-shot", "evaluations")
    config = validate(FewShotEvaluation, read_toml(path), str(path))
    assert config.goal == (10, 100)
    assert {network.name for network in config.networks} == {
        "simclr-resnet18",
        "simclr-vit",
        "simclr-hybrid",
        "siamese",
    }
    for scratch in config.scratch:
        assert load_training(find(scratch.training, "training")).package.size_pix == 32


def test_options_of_other_evaluations_are_refused(folder: Path):
    assert "kind 'few_shot'" in run("--cards").output


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = [2, 3]", "steps = [2]", "needs a number of steps for each"),
        ("goal = [6, 12]", "goal = [6, 13]", "is not among labels"),
        ('name = "absent"', 'name = "fresh"', "two have one name"),
        ("labels = [6, 12]", "labels = [6, 120]\ngoal = [6, 120]", "120 labels need 60 lenses"),
    ],
)
def test_wrong_configs_are_refused(folder: Path, old: str, new: str, message: str):
    text = EVALUATION.replace(
        "goal = [6, 12]\n", "" if "goal" in new and old != "goal = [6, 12]" else "goal = [6, 12]\n"
    )
    (folder / "tiny.toml").write_text(text.replace(old, new), encoding="utf-8")
    result = run()
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")


def line(how: str, labels: int, completeness: float) -> Line:
    spread = Spread(completeness, completeness, completeness)
    return Line("net", how, labels, 1, "", spread, spread)


@pytest.mark.parametrize(("found", "word"), [(0.3, "reached"), (0.2, "reached"), (0.1, "missed")])
def test_the_goal_compares_the_best_with_few_labels_with_scratch_with_more(found: float, word: str):
    lines = (line(PROBE, 10, 0.05), line(TUNED, 10, found), line(SCRATCH, 100, 0.2), line(SCRATCH, 10, 0.9))
    result = FewShotResult("n", "", {}, "v", 0.01, {}, lines, {}, goal_of(lines, 10, 100), {})
    assert goal_text(result).startswith(f"Goal {word}: with 10 labels net (fine-tuned)")
    assert goal_text(result) in page(result)


def test_a_goal_that_was_not_measured_says_so():
    lines = (line(PROBE, 10, 0.05),)
    result = FewShotResult("<b>", "", {}, "v", 0.01, {}, lines, {}, goal_of(lines, 10, 100), {})
    assert "not measured" in goal_text(result)
    assert "<b>" not in page(result).replace("<b>", "", 0).split("<title>")[1].split("</title>")[0]
