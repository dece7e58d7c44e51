"""The command `simulate` for injections."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pipeline.sims.inject.plan import prepare
from pipeline.sims.inject.simulate import inject_stamps
from pipeline.sims.pools import shard_seed
from tests.sims.scan_of_galaxies import injection_config, write_scan
from workflows.simulate import simulate


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate)
    return app


def test_a_pool_of_a_split_is_what_the_library_gives(command: typer.Typer, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan ü")
    config = injection_config(tmp_path, scan)
    arguments = [str(tmp_path / "injection.toml"), "--split", "train", "--seed", "3", "--n", "8", "--json"]
    result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "pool"), "--workers", "1"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert (printed["kind"], printed["n"], printed["files"]) == ("injection", 8, 1)
    sky, sources = (part.model_copy(update={"split": "train"}) for part in (config.sky, config.sources))
    plan = prepare(config.model_copy(update={"sky": sky, "sources": sources}), [scan])
    expected = inject_stamps(plan, 8, shard_seed(3, 0))
    with np.load(tmp_path / "pool" / "pool-00000.npz") as pool:
        np.testing.assert_array_equal(pool["image"], expected.image)
        np.testing.assert_array_equal(pool["objid"], expected.truth.objid)
        assert pool["kinds"].tolist() == ["lens", "deflector", "detection"]
        assert float(pool["pixel_scale"]) == 0.4


def test_wrong_splits_and_scans_are_exit_2(command: typer.Typer, tmp_path: Path) -> None:
    config = injection_config(tmp_path, tmp_path / "nowhere")
    assert config.scans == (str(tmp_path / "nowhere"),)
    for arguments, message in (
        ([str(tmp_path / "injection.toml")], "nowhere"),
        ([str(tmp_path / "injection.toml"), "--split", "trian"], "there are train, validation, test and all"),
        (["small-sky", "--split", "train"], "neither sky nor sources"),
    ):
        result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "pool"), "--json"])
        assert result.exit_code == 2
        assert message in json.loads(result.stdout)["error"]
