"""From a survey to its ensemble in one command, on a scan made by hand and pools of a few stamps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import workflows.recipe_members
import workflows.simulate
import workflows.train_ensemble
from pipeline.config import find, load, read_toml
from pipeline.errors import ConfigError, ProductMismatch
from pipeline.models.ensemble import load_ensemble
from pipeline.models.package import load_package
from pipeline.models.publish import write_toml
from pipeline.train.config import TrainConfig
from tests.sims.scan_of_galaxies import injection_config, write_scan
from workflows.cli import app
from workflows.train_ensemble import EnsembleResult, train_ensemble

MEMBER = """
name = "plain"
seed = 1
[network]
architecture = "cnn"
arguments = { width = 4 }
[package]
bands = ["g", "r", "i"]
pixel_scale = "0.4 arcsec"
size_pix = 28
reference = "none"
[data]
train = ["never-read"]
validation = ["never-read"]
[augment]
zoom_share = 0
gap_share = 0
noise_share = 0
[optimiser]
batch = 16
epochs = 8
learning_rate = 4e-3
average = 0.8
[run]
device = "cpu"
dtype = "float32"
"""

TEACHER = (
    MEMBER.replace('"plain"', '"taught"').replace(
        "[augment]", '[[data.unlabelled]]\nkind = "cutouts"\nscan = "another"\n[augment]'
    )
    + '[method]\nname = "consistency"\ntarget = "mean-teacher"\n'
)

RECIPE = """
kind = "ensemble"
name = "tiny"
description = "made by a test"
output = "out"
scan = "scan"
workers = 1

[[pools]]
name = "learn"
config = "small.toml"
n = 100
seed = 1
split = "train"

[[pools]]
name = "injected"
config = "injection.toml"
n = 24
seed = 2
split = "train"

[[pools]]
name = "watch"
config = "small.toml"
n = 70
seed = 3
split = "validation"

[[pools]]
name = "fit"
config = "small.toml"
n = 70
seed = 4
split = "validation"

[[pools]]
name = "unseen"
config = "small.toml"
n = 60
seed = 5
split = "test"

[[members]]
config = "plain.toml"
train = ["learn"]
validation = ["watch"]

[[members]]
config = "taught.toml"
seed = 9
train = ["learn", { pool = "injected", weight = 2.0 }]
validation = ["watch"]
optimiser = { steps = 24 }

[calibration]
pools = ["fit"]
rule = "mean_log_odds"
prior = 1e-3

[evaluation]
config = "evaluation.toml"
samples = { "own" = ["unseen"] }
"""

EVALUATION = """
name = "small"
replicates = 50
rates = [1e-1]
breakdown_rate = 1e-1
inspected = [100]
[gallery]
stamps = 2
[probe]
limit = 20
[[samples]]
name = "own"
column = "simulations"
kind = "pools"
pools = ["elsewhere/*.npz"]
[[samples]]
name = "sky"
column = "real"
kind = "stamps"
stamps = "${LENSSCAN_NOWHERE}"
labels = "labels.csv"
bands = ["g", "r", "i"]
pixel_scale = "0.25 arcsec"
"""

SMALL = {
    "size": 32,
    "pixel_scale": "0.4 arcsec",
    "artefact_share": 0.0,
    "off_centre_share": 0.0,
    "population": "population",
    "sources": {},
    "negatives": {"star": 1.0, "empty": 1.0},
}
"""What the test's stamps differ in from the shipped ones: lenses among stars and blank sky are told in a few steps."""


def write_project(folder: Path) -> Path:
    """A folder with a scan, simulations, two members, an evaluation and the recipe, whose path is returned."""
    folder.mkdir(exist_ok=True)
    injection_config(folder, write_scan(folder / "scan"))
    write_toml(folder / "small.toml", {**read_toml(find("stamps", "sims")), **SMALL})
    for name, text in (
        ("plain", MEMBER),
        ("taught", TEACHER),
        ("evaluation", EVALUATION),
        ("recipe", RECIPE),
    ):
        (folder / f"{name}.toml").write_text(text)
    return folder / "recipe.toml"


Stopped = tuple[Path, EnsembleResult, list[str]]


class Killed(BaseException):
    """What stops a run in its middle."""


def killed(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A project whose run was stopped in the pools, between the members and before the calibration, then finished.

    With the result, and what was simulated, trained and fitted, in order.
    """
    folder = tmp_path_factory.mktemp("stopped")
    recipe = write_project(folder)
    done: list[str] = []
    write, train = workflows.simulate.write_pool, workflows.recipe_members._train
    fit = workflows.train_ensemble.calibrate

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("LENSSCAN_NOWHERE", raising=False)

        def writing(config: Any, place: Path, *arguments: Any, **options: Any) -> Any:
            if not any(place.glob("pool-*.npz")):
                done.append(place.name)
            return write(config, place, *arguments, **options)

        def training(recipe: Any, member: Any, *arguments: Any) -> Any:
            package = recipe.output / "packages" / member.config.name
            if not package.exists():
                done.append(member.config.name)
            return train(recipe, member, *arguments)

        patch.setattr(workflows.simulate, "write_pool", lambda *a, **k: killed() if done else writing(*a, **k))
        with pytest.raises(Killed):
            train_ensemble(recipe)
        patch.setattr(workflows.simulate, "write_pool", writing)
        patch.setattr(workflows.recipe_members, "_train", lambda *a: killed() if "plain" in done else training(*a))
        with pytest.raises(Killed):
            train_ensemble(recipe)
        patch.setattr(workflows.recipe_members, "_train", training)
        patch.setattr(workflows.train_ensemble, "calibrate", killed)
        with pytest.raises(Killed):
            train_ensemble(recipe)
        patch.setattr(workflows.train_ensemble, "calibrate", fit)
        result = train_ensemble(recipe, resume=True)
    return folder, result, done


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: what is not written again keeps both."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_recipe_gives_packages_an_ensemble_and_a_report(stopped: Stopped) -> None:
    folder, result, _ = stopped
    assert [member.name for member in result.members] == ["plain", "taught"]
    assert [member.stamps for member in result.members] == [100, 124]
    ensemble = load_ensemble(folder / "out" / "ensemble.toml")
    assert ensemble.names == ("plain", "taught")
    assert ensemble.calibration is not None
    assert all("70 stamps of fit" in member.calibration.fitted_on for member in ensemble.members)
    assert all(member.familiarity is not None for member in ensemble.members)
    score = ensemble.score(np.zeros((2, 2)), 1e-3).score
    assert ((score > 0) & (score < 1)).all()
    card = load_package(folder / "out" / "packages" / "taught").card
    assert "recipe.toml (member taught)" in card.training
    assert "without labels" in card.training
    (own,) = result.evaluated
    assert (own.sample, own.n_lenses + own.n_others) == ("own", 60)
    report = (folder / "out" / "report" / "report.html").read_text()
    assert "Training histories" in report
    assert "LENSSCAN_NOWHERE" in report
    written = json.loads((folder / "out" / "report" / "evaluation.json").read_text())
    assert written["config"]["prior"] == 1e-3
    told = {(check["what"], check["shared"], check["note"]) for check in written["splits"]}
    assert ("stamp", 0, "60 against 264") in told


def test_members_differ_in_what_they_learned_from(stopped: Stopped) -> None:
    runs = stopped[0] / "out" / "runs"
    plain, taught = (load(TrainConfig, runs / name / "training.toml") for name in ("plain", "taught"))
    assert [str(source) for source in plain.data.train] == ["out/pools/learn/pool-*.npz"]
    assert [source.weight for source in taught.data.train] == [1.0, 2.0]
    assert not plain.data.unlabelled
    assert [str(source) for source in taught.data.unlabelled] == ["cutouts of scan"]


def test_nothing_was_done_twice_by_the_run_that_was_stopped(stopped: Stopped) -> None:
    assert stopped[2] == ["learn", "injected", "watch", "fit", "unseen", "plain", "taught"]


def test_a_run_that_was_stopped_ends_with_the_bytes_of_one_that_was_not_and_trained_both_at_once(
    stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped[0]
    later = shutil.ignore_patterns("packages", "runs", "report", ".steps")
    shutil.copytree(folder, tmp_path / "straight", ignore=later)
    for name in ("ensemble.toml", "evaluation.toml"):
        (tmp_path / "straight" / "out" / name).unlink()
    (tmp_path / "straight" / "recipe.toml").write_text("parallel = 2\n" + RECIPE)
    monkeypatch.chdir(tmp_path / "straight")
    answer = CliRunner().invoke(app, ["train", "recipe.toml"])
    assert answer.exit_code == 0, answer.output
    assert "taught  cnn" in answer.stdout
    assert "prior = 0.001" in answer.stdout
    for path in sorted((folder / "out").rglob("*")):
        if path.suffix in (".toml", ".safetensors"):
            other = tmp_path / "straight" / path.relative_to(folder)
            assert other.read_bytes() == path.read_bytes(), path


def test_a_finished_recipe_has_nothing_to_do(stopped: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, result, _ = stopped
    monkeypatch.chdir(folder)
    before = files(folder / "out")
    for name in (
        "pipeline.sims.stamps.pools.write_shard",
        "pipeline.train.loop.train",
        "workflows.evaluate.run_evaluation",
    ):
        monkeypatch.setattr(name, killed)
    monkeypatch.setattr("pipeline.evaluate.calibration.data.logits_of_pools", killed)
    assert train_ensemble(folder / "recipe.toml") == result
    after = files(folder / "out")
    beside = {f"runs/{name}/training.toml" for name in ("plain", "taught")}
    assert {name for name in before if before[name] != after[name]} == beside


def test_a_pool_of_another_seed_in_the_folder_is_named(stopped: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped[0]
    monkeypatch.chdir(folder)
    other = folder / "other.toml"
    other.write_text(RECIPE.replace("seed = 2", "seed = 22").replace("n = 24", "n = 25"))
    before = files(folder / "out")
    with pytest.raises(ProductMismatch, match=r"injected holds another pool: n is 24 there and 25 here; seed is 2 "):
        train_ensemble(other)
    assert files(folder / "out") == before


def test_another_scan_makes_other_injections(stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped[0]
    monkeypatch.chdir(folder)
    scan = write_scan(tmp_path / "scan", seed=6)
    other = folder / "other.toml"
    other.write_text(RECIPE.replace('scan = "scan"', f'scan = "{scan}"'))
    with pytest.raises(ProductMismatch, match="injected holds another pool: scans is"):
        train_ensemble(other)


def test_a_folder_of_shards_that_no_recipe_wrote_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "out" / "pools" / "watch"
    place.mkdir(parents=True)
    (place / "pool-00000.npz").write_bytes(b"mine")
    with pytest.raises(ProductMismatch, match="watch holds a pool that no recipe wrote"):
        train_ensemble(recipe)
    assert not (tmp_path / "out" / "pools" / "learn").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('{ "own" = ["unseen"] }', '{ "owm" = ["unseen"] }'), "has no sample 'owm' of pools; it has own"),
        (('config = "evaluation.toml"', 'config = "nothing"'), "no shipped config 'nothing'"),
        (('scan = "scan"', 'scan = "scam"'), "scan is no output folder"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_simulated(
    change: tuple[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_project(tmp_path)
    recipe.write_text(RECIPE.replace(*change))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        train_ensemble(recipe)
    assert not (tmp_path / "out").exists()


def test_a_seed_beside_a_recipe_is_exit_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["train", "recipe.toml", "--seed", "3", "--json"])
    assert answer.exit_code == 2
    assert "its members have their own" in json.loads(answer.stdout)["error"]
