"""The command `simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pipeline.sims.config.load import load_sims
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.pools import shard_seed
from pipeline.sims.stamps.simulate import simulate_stamps
from workflows.simulate import simulate


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate)
    return app


def test_pool_is_what_the_library_gives_for_its_seed(command: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "pool of stamps"
    result = CliRunner().invoke(command, ["stamps", "--out", str(out), "--seed", "3", "--n", "6", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert (printed["kind"], printed["n"], printed["files"]) == ("stamps", 6, 1)
    config = load_sims("stamps")
    assert isinstance(config, SimsConfig)
    expected = simulate_stamps(config, 6, shard_seed(3, 0))
    with np.load(out / "pool-00000.npz") as pool:
        np.testing.assert_array_equal(pool["image"], expected.image)
        np.testing.assert_array_equal(pool["label"], expected.label)


def test_unknown_config_is_exit_2_with_the_shipped_names(command: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["stampz", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 2
    assert "stamps" in json.loads(result.stdout)["error"]


def test_sky_is_written_once(command: typer.Typer, tmp_path: Path) -> None:
    text = (tmp_path / "tiny.toml", tmp_path / "sky")
    source = Path(load_path("small-sky")).read_text()
    text[0].write_text(
        source.replace('"population.toml"', '"population"')
        .replace("size = 600", "size = 140")
        .replace("overlap = 80", "overlap = 20")
        .replace("lenses = 6", "lenses = 1")
        .replace("templates = 6", "templates = 1")
    )
    arguments = [str(text[0]), "--out", str(text[1]), "--json"]
    first = CliRunner().invoke(command, arguments)
    assert first.exit_code == 0, first.output
    printed = json.loads(first.stdout)
    assert (printed["kind"], printed["n"]) == ("sky", 2)
    assert (text[1] / "survey.toml").is_file()
    second = CliRunner().invoke(command, arguments)
    assert second.exit_code == 2
    assert "holds a survey" in json.loads(second.stdout)["error"]


def load_path(name: str) -> Path:
    from pipeline.config import find

    return find(name, "sims")


def test_the_share_of_lenses_can_be_asked_for_and_must_be_a_share_of_a_pool(
    command: typer.Typer, tmp_path: Path
) -> None:
    arguments = ["stamps", "--out", str(tmp_path / "pool"), "--n", "6", "--lens-share"]
    assert CliRunner().invoke(command, [*arguments, "0", "--json"]).exit_code == 0
    with np.load(tmp_path / "pool" / "pool-00000.npz") as pool:
        assert not pool["label"].any()
    refused = CliRunner().invoke(command, [*arguments, "1.5", "--json"])
    assert (refused.exit_code, "between 0 and 1" in json.loads(refused.stdout)["error"]) == (2, True)
    sky = CliRunner().invoke(command, ["small-sky", "--out", str(tmp_path / "sky"), "--lens-share", "0.5", "--json"])
    assert (sky.exit_code, "plants" in json.loads(sky.stdout)["error"]) == (2, True)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--split", "train", "nothing in the config is split"), ("--seed", "-1", "greater than or equal to 0")],
)
def test_what_would_change_nothing_or_cannot_be_is_refused(
    command: typer.Typer, tmp_path: Path, option: str, value: str, told: str
) -> None:
    result = CliRunner().invoke(command, ["stamps", "--out", str(tmp_path / "pool"), "--n", "6", option, value])
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "pool").exists()
