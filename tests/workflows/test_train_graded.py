"""From a scan to grades to a training on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from typer.testing import CliRunner

from pipeline.catalogue.query import query
from pipeline.catalogue.stamps import scan_stamps
from pipeline.config import validate
from pipeline.errors import ConfigError
from pipeline.inspector.grades import open_grades
from pipeline.inspector.identity import catalogue_identity
from pipeline.inspector.planted import save_planted
from pipeline.inspector.planted_read import read_planted
from pipeline.io.places import Place
from pipeline.models.package import load_package
from pipeline.train.data import Stamps, read_stamps
from pipeline.train.data_config import DataConfig
from pipeline.train.methods import supervised
from tests.scale.chaos import digest
from tests.workflows.conftest import write_mini_survey
from workflows.cli import app
from workflows.cluster import ClusterConfig
from workflows.graded_cutouts import with_cutouts
from workflows.run import run_scan
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")
SHARES = "{ train = 0.5, validation = 0.5, test = 0.0 }"

CONFIG = """
name = "next"
seed = 1
[network]
architecture = "cnn"
arguments = {{ width = 8 }}
[package]
bands = ["g", "r", "i"]
pixel_scale = "0.3 arcsec"
size_pix = 24
reference = "none"
[data]
[[data.train]]
{source}
part = "train"
[[data.validation]]
{source}
part = "validation"
[optimiser]
batch = 8
epochs = 4
average = 0.5
[run]
device = "cpu"
dtype = "float32"
"""


def source(scan: Place, table: Path, more: str = "") -> str:
    return (
        f'kind = "graded"\nscan = "{scan}"\ntable = "{table}"\nnegatives = ["C", "X"]\ncell = "0.5 arcmin"\n'
        f"shares = {SHARES}\n{more}"
    )


def scanned(project: Path, name: str, keep: str) -> tuple[Place, Path]:
    """A scan that keeps some cutouts; its output and its config."""
    text = (project / "scan.toml").read_text(encoding="utf-8")
    path = project / f"{name}.toml"
    path.write_text(
        text.replace("[cutouts]\n", f'[cutouts]\nkeep = "{keep}"\n').replace("out put", name), encoding="utf-8"
    )
    setup = open_scan(str(path))
    assert not run_scan(setup, SERIAL, quiet=True).failures
    return setup.output, path


def graded(output: Place, folder: Path, table: Path) -> dict[tuple[str, int], str]:
    """Grade every primary candidate by its brightness, with two planted duds; key -> grade of what was not planted."""
    rows = query(output, columns=["field_id", "objid", "mag_r"], primary=True).to_pylist()
    middle = float(np.median([row["mag_r"] for row in rows]))
    letters = {
        (row["field_id"], row["objid"]): ("AB" if row["mag_r"] < middle else "XC")[number % 2]
        for number, row in enumerate(rows)
    }
    duds = folder.with_name("duds.csv")
    duds.write_text("objid,field_id\n" + "".join(f"{row['objid']},{row['field_id']}\n" for row in rows[:2]))
    planted = read_planted(output, duds=[str(duds)])
    with open_grades(folder, catalogue_identity=catalogue_identity(output), known=letters.keys()) as grades:
        save_planted(folder, planted)
        for grader in ("anna", "ben"):
            for key, letter in letters.items():
                grades.grade(grader, *key, letter)
    run("grades", output, "--grades", folder, "--output", table)
    return {key: letter for key, letter in letters.items() if key not in planted}


def run(*arguments: object, code: int = 0) -> Any:
    answer = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_labels_that_reach_the_loss_are_the_grades(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / "survey ü")
    write_mini_survey(project / "survey ü", fields=10)
    output, _ = scanned(project, "every", "all")
    letters = graded(output, tmp_path / "grades", tmp_path / "graded.parquet")
    # The training's scan has kept no cutout.
    some, config = scanned(project, "some", "none")
    stamp = scan_stamps(output)
    rows = {(row["field_id"], row["objid"]): row["row"] for row in query(output).to_pylist()}
    cutouts = {key: stamp(*key, rows[key]) for key in letters}
    taken: list[tuple[np.ndarray, float]] = []
    trained: list[tuple[np.ndarray, float]] = []
    lost: list[float] = []
    take, loss = Stamps.take, supervised.label_loss

    def watch(stamps: Stamps, rows: Any, told: Any) -> Any:
        image, valid, labels = take(stamps, rows, told)
        taken[:] = zip(image.numpy().copy(), labels.tolist(), strict=True)
        return image, valid, labels

    def watched(logits: torch.Tensor, labels: torch.Tensor, config: Any) -> torch.Tensor:
        trained.extend(taken)
        lost.extend(labels.tolist())
        return loss(logits, labels, config)

    monkeypatch.setattr(Stamps, "take", watch)
    monkeypatch.setattr(supervised, "label_loss", watched)
    text = source(some, tmp_path / "graded.parquet", f'cut_again = "{config}"')
    (tmp_path / "next.toml").write_text(CONFIG.format(source=text))
    said = run("train", tmp_path / "next.toml", "--out", tmp_path / "runs")
    assert said["stamps"] > 20
    assert "graded.parquet" in load_package(Path(said["package"])).calibration.fitted_on
    seen = set()
    keys = [key for key, cutout in cutouts.items() if cutout is not None]
    every = np.nan_to_num(np.stack([centre(cutout.image) for cutout in cutouts.values() if cutout is not None]))
    for image, label in trained:
        away = np.abs(every - np.nan_to_num(image)).max(axis=(1, 2, 3))
        # Held in half precision: a bright pixel is off by a two-thousandth, another object's by hundreds.
        assert away.min() < 0.5
        seen.add((keys[int(away.argmin())], label))
    assert len(seen) > 20
    assert {(key, float(letters[key] in "AB")) for key, _ in seen} == seen
    assert set(lost) == {0.0, 1.0}
    assert lost == [label for _, label in trained]


def centre(image: np.ndarray) -> np.ndarray:
    margin = (image.shape[-1] - 24) // 2
    return image[:, margin : margin + 24, margin : margin + 24]


@pytest.mark.parametrize("keep", ["none", "candidates"])
def test_cutouts_that_were_not_kept_are_cut_once_more_and_are_the_same(
    project: Path, tmp_path: Path, keep: str, edit: Callable[[Path, str, str], None]
) -> None:
    # One row in five is a candidate; grades are of the candidates of a scan that has them all.
    output, _ = scanned(project, "every", "all")
    graded(output, tmp_path / "grades", tmp_path / "graded.parquet")
    if keep == "candidates":
        edit(
            project / "scan.toml",
            "floor = 0.0\nprior = 0.5\nmax_fraction = 1.0\n",
            "floor = 0.0\nprior = 0.5\nmax_fraction = 0.2\n",
        )
    some, config = scanned(project, "some", keep)
    before = digest(Path(str(some)))
    read = lambda data: read_stamps(data.train, ("g", "r", "i"), 0.3, 24)  # noqa: E731
    kept = data(output, tmp_path / "graded.parquet")
    lacking = data(some, tmp_path / "graded.parquet")
    with pytest.raises(ConfigError, match=r'did not keep them .* set cut_again = "SCAN\.toml"'):
        read(lacking)
    again = with_cutouts(
        data(some, tmp_path / "graded.parquet", cut_again=str(config)), ("g", "r", "i"), tmp_path / "run"
    )
    assert read(again).digest == read(kept).digest
    assert digest(Path(str(some))) == before
    assert with_cutouts(kept, ("g", "r", "i"), tmp_path / "run") is kept
    unasked = data(output, tmp_path / "graded.parquet", cut_again=str(config))
    assert with_cutouts(unasked, ("g", "r", "i"), tmp_path / "run").train[0].scan == str(output)


def test_too_few_grades_to_calibrate_on_are_told_before_training(project: Path, tmp_path: Path) -> None:
    output, _ = scanned(project, "every", "all")
    graded_rows(output, tmp_path)
    (tmp_path / "next.toml").write_text(CONFIG.format(source=source(output, tmp_path / "graded.parquet")))
    said = run("train", tmp_path / "next.toml", "--out", tmp_path / "runs", code=2)
    assert "data.validation: calibration needs 10 stamps of each class" in said["error"]
    assert not (tmp_path / "runs").exists()


def test_the_config_of_another_scan_cuts_nothing(project: Path, tmp_path: Path) -> None:
    output, config = scanned(project, "some", "none")
    graded_rows(output, tmp_path)
    other = project / "other.toml"
    text = config.read_text(encoding="utf-8")
    other.write_text(text.replace("mini-scan", "other-scan"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is scan 'other-scan' of mini dr1, .* is 'mini-scan'"):
        with_cutouts(data(output, tmp_path / "graded.parquet", cut_again=str(other)), ("g", "r", "i"), tmp_path / "run")
    other.write_text(text.replace("9.6 arcsec", "7.2 arcsec"), encoding="utf-8")
    with pytest.raises(ConfigError, match="the config cuts other stamps than the scan did"):
        with_cutouts(data(output, tmp_path / "graded.parquet", cut_again=str(other)), ("g", "r", "i"), tmp_path / "run")


def graded_rows(output: Place, folder: Path) -> None:
    """A table of grades of a scan without cutouts, by brightness."""
    rows = query(output, columns=["field_id", "objid", "mag_r"], primary=True)
    middle = pc.quantile(rows["mag_r"], 0.5)[0].as_py()
    keys = {(row["field_id"], row["objid"]): "A" if row["mag_r"] < middle else "X" for row in rows.to_pylist()}
    with open_grades(folder / "grades", catalogue_identity=catalogue_identity(output), known=keys.keys()) as grades:
        for key, letter in keys.items():
            grades.grade("anna", *key, letter)
    run("grades", output, "--grades", folder / "grades", "--output", folder / "graded.parquet")


def data(scan: Place, table: Path, **more: Any) -> DataConfig:
    one = {"kind": "graded", "scan": str(scan), "table": str(table), "negatives": ["C", "X"], **more}
    return validate(DataConfig, {"train": [one], "validation": ["unread"]}, "data")
