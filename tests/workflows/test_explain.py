"""The command `explain` on a scan of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.workflows.conftest import write_ensemble, write_hardly_sure_member
from workflows.cli import app


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def scanned(project: Path) -> Path:
    assert run("scan", project / "scan.toml", "--cluster", "serial", "--fields", "F0,F1").exit_code == 0
    return project


def rows(output: Path, *options: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(run("query", output, "--json", *options).stdout)["candidates"]
    return answer


def test_a_row_is_explained_in_words_in_json_and_in_a_picture(scanned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = scanned / "out put"
    best = rows(output, "--top", "1")[0]
    target = scanned / "some where" / "row.png"
    asked = ("explain", output, best["objid"], "--scan", scanned / "scan.toml", "--field", best["field_id"])
    answer = run(*asked, "--output", target, "--json")
    assert answer.exit_code == 0
    told = json.loads(answer.stdout)
    assert {name: told[name] for name in ("objid", "ra", "dec", "score")} == {
        name: best[name] for name in ("objid", "ra", "dec", "score")
    }
    assert set(told["members"]) == {"one", "two"}
    assert told["ensemble"] == "mini"
    assert told["notes"] == []
    with Image.open(target) as picture:
        assert picture.width > 1000
    monkeypatch.chdir(scanned)
    text = run(*asked).stdout
    assert f"objid {best['objid']}" in text
    assert f"picture: explain-{best['objid']}.png" in text
    assert (scanned / f"explain-{best['objid']}.png").is_file()


def test_what_cannot_be_explained_is_one_line_and_exit_two(
    scanned: Path, edit: Callable[[Path, str, str], None]
) -> None:
    output, config = scanned / "out put", scanned / "scan.toml"
    best = rows(output, "--top", "1")[0]
    this = ("explain", output, best["objid"], "--field", best["field_id"])
    (scanned / "other.toml").write_text(config.read_text().replace("mini-scan", "other-scan"))
    twice = next(row["objid"] for row in rows(output, "--field", "F0") if row["field_id"] == "F0")
    for arguments, words in [
        (("explain", output, "12"), "no objid 12"),
        (("explain", output, "-12"), "no objid -12"),
        (("explain", output, "1.5"), "'1.5' is not a whole number"),
        (("explain", scanned, "12"), "no scan.json"),
        (this, "--scan SCAN.toml"),
        ((*this, "--ensemble", "nothing"), "nothing"),
        ((*this, "--ensemble", "space"), "VIS is missing"),
        ((*this, "--ensemble", "ground", "--scan", config), "give one of them"),
        ((*this, "--scan", scanned / "other.toml"), "'other-scan'"),
        ((*this, "--scan", config, "--output", scanned / "a.jpg"), ".png"),
        (("explain", output, twice, "--field", "F9"), "F9"),
    ]:
        answer = run(*arguments, "--json")
        assert answer.exit_code == 2, arguments
        assert words in json.loads(answer.stdout)["error"]
        assert "\n" not in json.loads(answer.stdout)["error"]


def test_other_weights_than_the_scores_are_of_are_told(scanned: Path) -> None:
    for seed, name in ((8, "one"), (9, "two")):
        write_hardly_sure_member(scanned / "again", name, seed)
    other = write_ensemble(scanned / "again" / "mini.toml")
    best = rows(scanned / "out put", "--top", "1")[0]
    answer = run(
        "explain", scanned / "out put", best["objid"], "--field", best["field_id"], "--ensemble", other,
        "--output", scanned / "a.png", "--json",
    )  # fmt: skip
    assert "other members or weights" in json.loads(answer.stdout)["notes"][0]
