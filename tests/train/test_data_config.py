"""Sources in a config: strings, tables, and misspelt keys."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipeline.config import config_root, shipped, validate
from pipeline.errors import ConfigError
from pipeline.train.data_config import CutoutsConfig, DataConfig, FoldersConfig, PoolsConfig
from pipeline.train.sources import open_rows

TEXT = """
train = ["pools/*.npz"]
mix = { ring = 2.0 }
[[validation]]
kind = "folders"
path = "real"
split = "test"
pixel_scale = "0.25 arcsec"
weight = 2.0
[[unlabelled]]
kind = "cutouts"
scan = "scan"
part = "train"
cell = "30 arcmin"
"""


def config(text: str) -> DataConfig:
    return validate(DataConfig, tomllib.loads(text), "a.toml")


def test_a_string_is_a_pool_and_a_table_any_other_source():
    data = config(TEXT)
    assert data.train == (PoolsConfig(pattern="pools/*.npz"),)
    folder, cutouts = data.validation[0], data.unlabelled[0]
    assert isinstance(folder, FoldersConfig)
    assert isinstance(cutouts, CutoutsConfig)
    assert folder.pixel_scale == 0.25
    assert cutouts.cell == 0.5
    assert [str(source) for source in (*data.train, *data.validation)] == [
        "pools/*.npz",
        "real/test_{lenses,nonlenses}",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pixel_scale", "pixelscale"), 'unknown key validation.0.folders.pixelscale; did you mean "pixel_scale"'),
        (('"0.25 arcsec"', "0.25"), "needs a number with its unit"),
        (('kind = "folders"', 'kind = "folder"'), "folder"),
        (('"train"\ncell', '"training"\ncell'), "'train', 'validation' or 'test'"),
        (("weight = 2.0", "weight = 0"), "greater than 0"),
        (("ring = 2.0", "ring = -2.0"), "negative"),
        (('["pools/*.npz"]', "[]"), "at least 1 item"),
    ],
)
def test_a_wrong_source_says_which_key(change: tuple[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        config(TEXT.replace(*change))


def test_unlabelled_sources_are_no_training_data():
    text = TEXT.replace('["pools/*.npz"]', '[{ kind = "cutouts", scan = "scan" }]')
    with pytest.raises(ConfigError, match="cutouts"):
        config(text)


def test_every_kind_of_source_is_opened_by_its_own_reader(tmp_path: Path):
    here = str(tmp_path)
    grid = {"path": here, "pixel_scale": "0.3 arcsec"}
    sources = [
        {"kind": "folders", **grid},
        {"kind": "stamps", **grid},
        {"kind": "bologna", **grid},
        {"kind": "candidate_lists", "path": here, "band": "g"},
        {"kind": "cutouts", "scan": here},
        {"kind": "table", "scan": here, "table": f"{here}/labels.csv"},
        f"{here}/*.npz",
    ]
    data = DataConfig.model_validate({"train": ["x"], "validation": ["y"], "unlabelled": sources})
    for source in data.unlabelled:
        with pytest.raises(ConfigError, match=here):
            open_rows(source, ("g",), 0.3)


@pytest.mark.parametrize("name", shipped("training"))
def test_shipped_configs_have_readable_sources(name: str):
    from pipeline.train.load import load_training
    from pipeline.train.recipe import is_recipe

    path = config_root() / "training" / f"{name}.toml"
    if not is_recipe(path):  # whose members' sources are read in test_recipe
        assert load_training(path).data.train
