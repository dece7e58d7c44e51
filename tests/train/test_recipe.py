"""Recipes of ensembles: what they make of their members' configs, and what they refuse before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import config_root, find, load, shipped
from pipeline.errors import ConfigError
from pipeline.evaluate.config import load_evaluation
from pipeline.models.publish import write_toml
from pipeline.sims.config.load import load_sims
from pipeline.train.config import TrainConfig
from pipeline.train.data_config import CutoutsConfig, PoolsConfig
from pipeline.train.recipe import is_recipe, load_recipe
from tests.sims.scan_of_galaxies import write_scan

RECIPE = """
kind = "ensemble"
name = "mine"
description = "for a test"
output = "out"

[[pools]]
name = "learn"
config = "stamps"
n = 100
seed = 1
split = "train"

[[pools]]
name = "more"
config = "stamps"
n = 100
seed = 2
split = "train"

[[pools]]
name = "watch"
config = "stamps"
n = 100
seed = 3
split = "validation"

[[pools]]
name = "unseen"
config = "stamps"
n = 100
seed = 4
split = "test"

[[members]]
config = "cnn"
name = "first"
seed = 7
train = ["learn", { pool = "more", weight = 2.5, limit = 50 }]
validation = ["watch"]
mix = { spiral = 3.0 }
optimiser = { steps = 12 }

[[members]]
config = "mean-teacher"
name = "second"
train = ["more"]
validation = ["watch"]
unlabelled = [{ kind = "cutouts", scan = "a-scan", fields = ["F"] }]

[calibration]
pools = ["watch"]

[evaluation]
config = "ground"
samples = { "simulated stamps" = ["unseen"] }
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the recipe of this module, with parts of its text replaced, into the working directory."""
    monkeypatch.chdir(tmp_path)

    def recipe(*changes: tuple[str, str]) -> Path:
        text = RECIPE
        for old, new in changes:
            if old not in text:
                raise AssertionError(f"{old!r} is not in the recipe")
            text = text.replace(old, new, 1)
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return recipe


def test_a_member_is_its_config_with_the_recipes_data_name_seed_and_length(write: Write) -> None:
    first, second = (member.config for member in load_recipe(write(), out="else").members)
    plain = load(TrainConfig, find("cnn", "training"))
    assert first.data.train == (
        PoolsConfig(pattern="else/pools/learn/pool-*.npz"),
        PoolsConfig(pattern="else/pools/more/pool-*.npz", weight=2.5, limit=50),
    )
    assert first.data.validation == (PoolsConfig(pattern="else/pools/watch/pool-*.npz"),)
    assert (first.name, first.seed, first.optimiser.steps) == ("first", 7, 12)
    assert first.data.mix == {"spiral": 3.0}
    for part in ("network", "package", "normalisation", "augment", "method"):
        assert getattr(first, part) == getattr(plain, part)
    (cutouts,) = second.data.unlabelled
    assert isinstance(cutouts, CutoutsConfig)
    assert (cutouts.scan, cutouts.fields, cutouts.part) == ("a-scan", ("F",), "train")


def test_what_is_written_down_of_a_member_reads_back_as_its_config(write: Write, tmp_path: Path) -> None:
    for member in load_recipe(write()).members:
        write_toml(tmp_path / "member.toml", member.values)
        assert load(TrainConfig, tmp_path / "member.toml") == member.config


def test_a_config_that_reads_stamps_without_labels_gets_the_cutouts_of_the_scan(write: Write, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")
    sources = 'unlabelled = [{ kind = "cutouts", scan = "a-scan", fields = ["F"] }]\n'
    recipe = load_recipe(write((sources, ""), ('output = "out"', f'output = "out"\nscan = "{scan}"')))
    assert recipe.scan == scan
    (cutouts,) = recipe.members[1].config.data.unlabelled
    assert isinstance(cutouts, CutoutsConfig)
    assert (cutouts.scan, cutouts.part, cutouts.fields) == (str(scan), "train", ())
    assert not recipe.members[0].config.data.unlabelled


def test_an_output_with_brackets_in_its_name_is_no_glob(write: Write) -> None:
    (source, _) = load_recipe(write(), out="runs [2]").members[0].config.data.train
    assert str(source) == "runs [[]2]/pools/learn/pool-*.npz"


BAD = {
    "a pool that is not there": (
        ('train = ["more"]', 'train = ["mode"]'),
        "second.*train.*no pool 'mode'.*did you mean \"more\"",
    ),
    "calibration on a training pool": (
        ('pools = ["watch"]', 'pools = ["learn"]'),
        "calibration.pools: members.0 .first. trains on pool 'learn'; simulate another one",
    ),
    "evaluation on a training pool": (('["unseen"]', '["more"]'), "evaluation.samples.simulated stamps: .*trains on"),
    "evaluation on the pool of calibration": (('["unseen"]', '["watch"]'), 'split "validation", this needs .*"test"'),
    "training on a test pool": (('train = ["more"]', 'train = ["unseen"]'), 'split "test", this needs one of "train"'),
    "two pools of one seed": (("seed = 4", "seed = 1"), "two have seed 1"),
    "two pools of one name": (('name = "more"', 'name = "learn"'), "two have name 'learn'"),
    "two members of one name": (('name = "second"', 'name = "first"'), "two members are called 'first'"),
    "a misspelt key": (("weight = 2.5", "wieght = 2.5"), 'wieght; did you mean "weight"'),
    "epochs and steps": (("{ steps = 12 }", "{ steps = 12, epochs = 1 }"), "give epochs or steps, not both"),
    "a scan that is not there": (('output = "out"', 'output = "out"\nscan = "nowhere"'), "scan is no output folder"),
    "a member that is a recipe": (('config = "cnn"', 'config = "mine.toml"'), "is a recipe of an ensemble"),
    "no scan to read stamps from": (
        ('unlabelled = [{ kind = "cutouts", scan = "a-scan", fields = ["F"] }]\n', ""),
        "reads stamps without labels; give the member `unlabelled`, or the recipe a `scan`",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_recipe_is_refused_by_name(case: str, write: Write) -> None:
    change, told = BAD[case]
    with pytest.raises(ConfigError, match=told):
        load_recipe(write(change))


def test_a_scan_without_cutouts_says_what_to_run(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="has no cutouts in empty; run `lensscan scan empty` first"):
        load_recipe(write(('output = "out"', 'output = "out"\nscan = "empty"')))


@pytest.mark.parametrize(
    "name", [name for name in shipped("training") if is_recipe(config_root() / "training" / f"{name}.toml")]
)
def test_a_shipped_recipe_is_whole_and_its_head_says_its_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSSCAN_DATA", "/somewhere")
    text = find(name, "training").read_text()
    assert f"lensscan train {name}" in text.split("\nkind =")[0]
    (tmp_path / "recipe.toml").write_text(text.replace(tomllib.loads(text)["scan"], str(write_scan(tmp_path / "scan"))))
    recipe = load_recipe(tmp_path / "recipe.toml")
    assert len({member.config.network.architecture for member in recipe.members}) > 1
    assert len({str(member.config.data.train) for member in recipe.members}) > 1
    for pool in recipe.config.pools:
        simulation = load_sims(pool.config)
        for member in recipe.members:
            assert simulation.bands == member.config.package.bands
    assert recipe.config.evaluation is not None
    evaluation, _ = load_evaluation(find(recipe.config.evaluation.config, "evaluations"))
    assert set(recipe.config.evaluation.samples) <= {sample.name for sample in evaluation.samples}


def test_a_training_config_is_no_recipe(write: Write) -> None:
    assert is_recipe(write())
    assert not is_recipe(find("cnn", "training"))
