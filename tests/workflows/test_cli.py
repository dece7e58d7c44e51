"""The command line: one JSON object, exit codes, and a README that names every command and option."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from astropy.io.votable import parse_single_table
from typer.testing import CliRunner

from workflows.cli import app

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> tuple[int, Any]:
    """Exit code, and the one JSON object on standard output."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 1, result.output
    return result.exit_code, json.loads(lines[0])


def test_scan_field_status_and_query_from_the_command_line(project: Path, tmp_path: Path) -> None:
    config = str(project / "scan.toml")
    code, planned = run("plan", config, "--no-probe")
    assert (code, planned["stages"]["masks"]) == (0, {"missing": 3})
    assert len(planned["products"]) == 15
    code, done = run("scan", config, "--cluster", "serial")
    assert code == 0
    assert set(done) == {
        *("fields", "done", "empty", "failed", "ran", "detections", "cutouts", "scored", "unscorable"),
        *("candidates", "stopped", "catalogue", "seconds", "notes", "forecast", "actual"),
    }
    assert run("scan", config, "--cluster", "serial")[1]["ran"] == 0
    code, again = run("field", config, "F1", "--cluster", "serial", "--from", "candidates")
    assert (code, again["ran"], again["new"], again["gone"], again["changed"]) == (0, 1, 0, 0, 0)
    _, status = run("status", config)
    assert {(row["field"], row["state"]) for row in status["fields"]} == {(f"F{n}", "done") for n in range(3)}
    target = tmp_path / "cone.vot"
    arguments = [
        "query",
        done["catalogue"],
        "--cone",
        "150",
        "2",
        "0.01",
        "--format",
        "votable",
        "--output",
        str(target),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    table = parse_single_table(str(target)).to_table()
    assert len(table) > 5
    assert str(table["ra"].unit) == "deg"


def test_out_puts_and_finds_products_elsewhere(project: Path) -> None:
    config, out = str(project / "scan.toml"), str(project / "else where")
    assert run("scan", config, "--out", out, "--cluster", "serial", "--fields", "F0")[1]["catalogue"] == out
    _, status = run("status", config, "--out", out)
    assert {row["state"] for row in status["fields"] if row["field"] == "F0"} == {"done"}
    assert not (project / "out put").exists()


def test_a_failed_field_is_exit_one_with_the_object_still_printed(project: Path) -> None:
    (project / "survey ü" / "F1" / "F1-g.fits").write_bytes(b"SIMPLE")
    code, done = run("scan", str(project / "scan.toml"), "--cluster", "serial")
    assert (code, done["done"], done["failed"]) == (1, 2, 1)
    _, status = run("status", str(project / "scan.toml"))
    assert [row["field"] for row in status["fields"] if row["state"] == "failed"] == ["F1"]
    text = CliRunner().invoke(app, ["scan", str(project / "scan.toml"), "--cluster", "serial"]).output
    assert "lensscan field" in text
    assert "F1" in text


def test_texts_show_paths_with_brackets_as_they_are(project: Path) -> None:
    (project / "survey ü").rename(project / "survey [x]")
    (project / "scan.toml").write_text((project / "scan.toml").read_text().replace("survey ü", "survey [x]"))
    (project / "survey [x]" / "F1" / "F1-g.fits").write_bytes(b"SIMPLE")
    out = str(project / "out [dir]")
    arguments = [str(project / "scan.toml"), "--out", out]
    scanned = CliRunner().invoke(app, ["scan", *arguments, "--cluster", "serial"]).stdout
    assert f"catalogue: {out}" in scanned
    assert f"--out '{out}'" in scanned
    assert "survey [x]/F1/F1-g.fits" in CliRunner().invoke(app, ["status", *arguments]).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scan", "no-such-scan"], "no-such-scan"),
        (["scan", "{project}/scan.toml", "--fields", "F9", "--cluster", "serial"], "F9"),
        (["scan", "{project}/scan.toml", "--cluster", "{project}/dead.toml"], "tcp://127.0.0.1:1"),
        (["field", "{project}/scan.toml", "F0", "--from", "nothing", "--cluster", "serial"], "nothing"),
        (["query", "{project}"], "scan.json"),
        (["plan", "{project}/scan.toml", "--out", "", "--no-probe"], "output: names no folder (got '')"),
        (["plan", "{project}/scan.toml", "--out", "{project}/scan.toml/a/b", "--no-probe"], "scan.toml is a file"),
        (["plan", "{project}/scan.toml", "--out", "{project}", "--no-probe"], "no scan's output"),
    ],
)
def test_what_cannot_start_is_exit_two_with_the_reason(project: Path, arguments: list[str], words: str) -> None:
    (project / "dead.toml").write_text('kind = "address"\naddress = "tcp://127.0.0.1:1"\nwait = "2 s"\n')
    code, answer = run(*(argument.replace("{project}", str(project)) for argument in arguments))
    assert code == 2
    assert words in answer["error"]


def test_an_unset_variable_is_exit_two_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LENSSCAN_DATA", raising=False)
    code, answer = run("scan", "kids-viking")
    assert code == 2
    assert "LENSSCAN_DATA" in answer["error"]


def test_an_ensemble_without_its_band_is_exit_two(project: Path, edit: Callable[[Path, str, str], None]) -> None:
    edit(project / "scan.toml", 'bands = ["g", "r", "i"]', 'bands = ["g", "r"]')
    code, answer = run("scan", str(project / "scan.toml"), "--cluster", "serial")
    assert code == 2
    assert "i is missing" in answer["error"]


@pytest.mark.parametrize("arguments", [["scan"], ["stamps", "x", "--pixel-scale", "wide"], ["scan", "--no-such"]])
def test_a_wrong_call_is_one_json_object_too(arguments: list[str]) -> None:
    command = [sys.executable, "-c", "from workflows.cli import main; main()", *arguments, "--json"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert set(json.loads(answer.stdout)) == {"error"}


def test_exit_codes_reach_the_shell(project: Path) -> None:
    command = [sys.executable, "-c", "from workflows.cli import main; main()", "scan", "no-such-scan"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2
    (project / "survey ü" / "F1" / "F1-g.fits").write_bytes(b"SIMPLE")
    command[-1:] = [str(project / "scan.toml"), "--cluster", "serial", "--fields", "F1"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_with_a_word_and_the_scan_resumes(project: Path, number: signal.Signals) -> None:
    code = (
        "import os, workflows.scan\n"
        "from workflows.cli import main\n"
        "scored = workflows.scan.Scan.run\n"
        f"workflows.scan.Scan.run = lambda *given: os.kill(os.getpid(), {int(number)}) or scored(*given)\n"
        "main()"
    )
    command = [sys.executable, "-c", code, "scan", str(project / "scan.toml"), "--cluster", "serial"]
    answer = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 128 + number
    assert "resumes" in json.loads(answer.stdout)["error"]
    assert answer.stderr.splitlines()[-1].startswith("stopping; once more")
    assert run("scan", str(project / "scan.toml"), "--cluster", "serial")[0] == 0


def test_what_nobody_foresaw_is_exit_two_with_its_trace(project: Path) -> None:
    code = "import workflows.scan as s; from workflows.cli import main; s.Scan.run = lambda *given: 1 / 0; main()"
    command = [sys.executable, "-c", code, "scan", str(project / "scan.toml"), "--cluster", "serial", "--json"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert json.loads(answer.stdout) == {"error": "not foreseen: ZeroDivisionError: division by zero"}
    assert "Traceback" in answer.stderr


def test_the_readme_names_every_command_and_option() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"lensscan {name}" in readme, f"README does not show `lensscan {name}`"
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert option in readme, f"README does not mention {option} of `lensscan {name}`"


def test_the_rerun_that_a_failed_field_is_told_is_one_that_runs(project: Path) -> None:
    (project / "survey ü" / "F1").rename(project / "survey ü" / "-F1")
    for path in (project / "survey ü" / "-F1").iterdir():
        path.rename(path.with_name(f"-{path.name}"))
    (project / "survey ü" / "-F1" / "-F1-g.fits").write_bytes(b"SIMPLE")
    options = ["--out", str(project / "an output"), "--cluster", "serial"]
    said = CliRunner().invoke(app, ["scan", *options, str(project / "scan.toml")]).stdout
    command = shlex.split(said.partition("rerun: ")[2])
    assert command[:6] == ["lensscan", "field", *options]
    result = CliRunner().invoke(app, command[1:])
    assert result.exit_code == 1
    assert "failed: -F1 at masks" in result.stdout
