"""The command `inspect`, as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.inspector.serving import ROOT, inspecting


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(url.rstrip("/") + path)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def run(*arguments: object, code: str = "from workflows.cli import main; main()") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, "inspect", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_port_0_prints_what_it_got_and_grades_survive_a_kill(scan_output: Path) -> None:
    with inspecting(scan_output, "--port", 0) as served:
        assert served.port > 0
        assert served.said["candidates"] == 60
        tokens = ask(served.url, "/api/start")["tokens"]
        for number, token in enumerate(tokens[:20]):
            ask(served.url, "/api/grade", {"grader": "ann", "object": token, "grade": "B", "once": str(number)})
        served.kill()
    with inspecting(scan_output, "--port", 0) as again:
        assert again.said["graded"] == 20
        assert set(ask(again.url, "/api/grades?grader=ann")["grades"]) == set(tokens[:20])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_it_cleanly(scan_output: Path, number: int) -> None:
    with inspecting(scan_output, "--port", 0) as served:
        ask(served.url, "/api/start")
        assert served.stop(number) == 0
    with inspecting(scan_output, "--port", 0):
        pass  # the folder of grades was let go


def test_a_port_in_use_is_told_with_the_next_step(scan_output: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(scan_output, "--port", port)
    assert ended.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use; give another with --port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_server_on_the_same_grades_is_told_who_has_them(scan_output: Path) -> None:
    with inspecting(scan_output, "--port", 0) as served:
        ended = run(scan_output, "--port", 0, "--json")
        assert ended.returncode == 2
        assert f"process {served.process.pid}" in json.loads(ended.stdout)["error"]


def test_an_address_that_is_not_ours_is_told(scan_output: Path) -> None:
    ended = run(scan_output, "--host", "192.0.2.7", "--port", 0)
    assert ended.returncode == 2
    assert "--host 192.0.2.7" in ended.stderr


def test_beyond_loopback_a_token_is_in_the_printed_address_alone(scan_output: Path) -> None:
    with inspecting(scan_output, "--port", 0, "--host", "0.0.0.0") as served:
        assert "?token=" in served.url
        base = f"http://127.0.0.1:{served.port}"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(base, "/api/start")
        token = served.url.partition("?token=")[2]
        with urllib.request.urlopen(f"{base}/?token={token}", timeout=30) as answer:
            assert "HttpOnly" in answer.headers["set-cookie"]


def test_without_the_servers_packages_it_says_what_to_install(scan_output: Path) -> None:
    code = "import sys; sys.modules['fastapi'] = None; from workflows.cli import main; main()"
    ended = run(scan_output, code=code)
    assert ended.returncode == 2
    assert "the page needs fastapi: run `./install.sh inspector` in lensscan's folder" in ended.stderr


def test_nothing_heavy_is_loaded_to_serve(scan_output: Path) -> None:
    code = (
        "import sys, contextlib; from workflows.inspector import Wanted, open_session\n"
        "from pipeline.inspector.app import make_app; from pipeline.inspector.guard import Access\n"
        "from pipeline.inspector.looks import Look\n"
        "with contextlib.ExitStack() as closing:\n"
        f"    session = open_session(Wanted({str(scan_output)!r}), closing)\n"
        "    make_app(session, Access()); session.gallery.sheet([0, 1], Look('i-r-g'))\n"
        "print([name for name in ('torch', 'dask', 'distributed', 'matplotlib') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_the_pages_files_travel_with_the_package() -> None:
    from pipeline.inspector.app import static_files

    names = set(static_files())
    assert {"index.html", "icon.svg", "css/base.css", "js/main.js"} <= names
    text = static_files()["index.html"].decode()
    for name in names - {"index.html"}:
        assert f"/static/{name}" in text, f"{name} is not loaded with the page"
    assert "<script>" not in text
    assert "style=" not in text


def test_what_it_prints_names_the_address_and_how_to_stop(scan_output: Path) -> None:
    command = [
        sys.executable,
        "-u",
        "-c",
        "from workflows.cli import main; main()",
        "inspect",
        str(scan_output),
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.terminate()
    rest, said = process.communicate(timeout=60)
    assert "60 candidates of scan 'test' of sky dr1" in lines[0]
    assert lines[2].startswith("http://127.0.0.1:")
    assert "Ctrl-C stops" in lines[3]
    assert "stopped; 0 grades are in" in rest
    assert said == ""
    assert process.returncode == 0
