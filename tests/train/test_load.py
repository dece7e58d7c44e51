"""Training configs, and those that differ from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import find
from pipeline.errors import ConfigError
from pipeline.train.load import differing, load_training

CHANGES = """
file = "{file}"
seed = 7

[network]
start = "somewhere/package"

[optimiser]
steps = 12
"""


def written(folder: Path, file: str, more: str = "") -> Path:
    path = folder / "further.toml"
    path.write_text(CHANGES.format(file=file) + more, encoding="utf-8")
    return path


def test_a_config_holds_what_it_says_and_all_else_of_the_file_that_it_names(tmp_path: Path):
    base = load_training(find("ground-resnet", "training"))
    further = load_training(written(tmp_path, "ground-resnet"))
    assert (further.seed, further.optimiser.steps, further.network.start) == (7, 12, "somewhere/package")
    assert further.optimiser.model_copy(update={"steps": base.optimiser.steps}) == base.optimiser
    assert further.network.model_copy(update={"start": None}) == base.network
    assert (further.data, further.augment, further.name) == (base.data, base.augment, base.name)


def test_a_file_beside_the_config_goes_before_a_shipped_one(tmp_path: Path):
    text = find("cnn", "training").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text(text.replace('name = "cnn"', 'name = "own"'), encoding="utf-8")
    assert load_training(written(tmp_path, "own.toml")).name == "own"


def test_a_config_on_a_config_on_a_config_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="differs from a file itself"):
        load_training(written(tmp_path, "ground-resnet-further"))


@pytest.mark.parametrize("value", ["3", "['a', 'b']"])
def test_a_file_that_is_no_name_is_refused(value: str, tmp_path: Path):
    path = tmp_path / "further.toml"
    path.write_text(f"file = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r'file = "cnn\.toml"'):
        load_training(path)


def test_a_misspelt_key_names_the_config_that_has_it(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"further\.toml.*optimiser\.stepps"):
        load_training(written(tmp_path, "cnn", "stepps = 3\n"))


def test_a_length_that_differs_takes_the_place_of_any_other(tmp_path: Path):
    assert load_training(written(tmp_path, "cnn")).optimiser.steps == 12
    assert differing({"optimiser": {"epochs": 3, "batch": 8}}, {"optimiser": {"steps": 12}}) == {
        "optimiser": {"batch": 8, "steps": 12}
    }


def test_a_beginning_that_differs_takes_the_place_of_any_other(tmp_path: Path):
    assert load_training(find("lensnet", "training")).network.encoder == "ground_unet"
    further = load_training(written(tmp_path, "lensnet"))
    assert (further.network.encoder, further.network.start) == (None, "somewhere/package")
    assert further.network.arguments["flow"] == 4


def test_an_optimiser_that_is_no_table_is_refused(tmp_path: Path):
    path = tmp_path / "further.toml"
    path.write_text('file = "cnn"\noptimiser = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="optimiser"):
        load_training(path)
