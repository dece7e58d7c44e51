"""Whose requests the server answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.inspector.guard import LONGEST_BODY, Access, access_to

Client = Callable[..., Any]


def grade(client: Any, **headers: str) -> Any:
    body = {"grader": "ann", "object": client.session.objects.tokens[0], "grade": "A", "once": "1"}
    return client.post("/api/grade", json=body, headers=headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "10.0.0.1", "", "a b", "[::1"]
)
def test_a_foreign_host_is_refused(scan_output: Path, client_of: Client, host: str) -> None:
    client = client_of(scan_output)
    assert client.get("/api/start", headers={"host": host}).status_code == 403
    assert grade(client, host=host).status_code == 403
    assert not client.session.grades.all_current()


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost", "LOCALHOST:1", "[::1]:8642", "localhost:9000"])
def test_this_machine_may_be_called_by_its_names_at_any_port(scan_output: Path, client_of: Client, host: str) -> None:
    assert client_of(scan_output).get("/api/start", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:8643", "http://localhost:8642", "file://", "", "127.0.0.1:8642"],
)
def test_a_foreign_origin_is_refused(scan_output: Path, client_of: Client, origin: str) -> None:
    client = client_of(scan_output)
    assert grade(client, origin=origin).status_code == 403
    assert client.get("/api/start", headers={"origin": origin}).status_code == 403
    assert not client.session.grades.all_current()


def test_the_page_itself_may_grade(scan_output: Path, client_of: Client) -> None:
    answer = grade(client_of(scan_output), origin="http://127.0.0.1:8642", **{"sec-fetch-site": "same-origin"})
    assert answer.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pictures_and_exports_are_not_for_pages_of_other_sites(scan_output: Path, client_of: Client, site: str) -> None:
    client = client_of(scan_output)
    for path in ("/picture/sheet?v=0&n=0", "/api/start", "/static/js/main.js"):
        assert client.get(path, headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403
    followed = client.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"})
    assert followed.status_code == 200


def test_a_form_of_another_page_can_send_nothing(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    token = client.session.objects.tokens[0]
    text = f'{{"grader":"ann","object":"{token}","grade":"A","once":"1"}}'
    answer = client.post("/api/grade", content=text, headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert not client.session.grades.all_current()


def test_other_methods_are_refused(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    assert {client.request(method, "/api/grade").status_code for method in ("PUT", "DELETE", "OPTIONS", "TRACE")} == {
        405
    }


def test_every_answer_forbids_foreign_scripts_frames_and_guesses(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    for path in ("/", "/api/start", "/nowhere", "/static/js/main.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" in client.get("/", headers={"host": "evil.example"}).headers


def test_a_long_request_is_refused_however_it_is_sent(scan_output: Path, client_of: Client) -> None:
    client = client_of(scan_output)
    long = b"{" + b" " * LONGEST_BODY + b"}"
    headers = {"content-type": "application/json"}
    assert client.post("/api/grade", content=long, headers=headers).status_code == 413
    in_parts = (long[first : first + 5000] for first in range(0, len(long), 5000))
    assert client.post("/api/grade", content=in_parts, headers=headers).status_code == 413
    assert client.get("/api/stream", params={"where": "x" * 20_000}).status_code == 414
    assert client.post("/api/grade", content=b"{}", headers={**headers, "content-length": "-1"}).status_code == 413


def test_a_token_is_asked_for_beyond_loopback(scan_output: Path, client_of: Client) -> None:
    assert access_to("127.0.0.1", 1).token is None
    assert access_to("localhost", 1).token is None
    assert access_to("::1", 1).token is None
    access = access_to("0.0.0.0", 8642)
    assert access.token is not None
    assert len(access.token) >= 40
    assert access_to("0.0.0.0", 8642).token != access.token
    client = client_of(scan_output, access)
    for path in (
        "/",
        "/api/start",
        "/static/js/main.js",
        "/?token=",
        "/?token=wrong",
        f"/api/start?token={access.token}",
    ):
        assert client.get(path).status_code == 401
    assert grade(client).status_code == 401
    entered = client.get("/", params={"token": access.token})
    assert entered.status_code == 200
    cookie = entered.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert access.token not in entered.text
    assert client.get("/api/start").status_code == 200
    assert grade(client).status_code == 200


def test_with_a_token_an_address_will_do_as_host_and_a_strangers_name_will_not(
    scan_output: Path, client_of: Client
) -> None:
    access = access_to("0.0.0.0", 8642)
    client = client_of(scan_output, access)
    client.get("/", params={"token": access.token})
    cookie = {"cookie": f"{access.cookie}={access.token}"}
    assert client.get("/api/start", headers={"host": "192.168.1.7:8642", **cookie}).status_code == 200
    assert client.get("/api/start", headers={"host": "evil.example", **cookie}).status_code == 403


def test_a_broken_cookie_is_no_token(scan_output: Path, client_of: Client) -> None:
    access = Access(token="right", cookie="lensscan-1")
    client = client_of(scan_output, access)
    for cookie in ("lensscan-1=wrong", "lensscan-1=", "lensscan-2=right", "=;;=", "lensscan-1=r\u00efght"):
        assert client.get("/api/start", headers={"cookie": cookie.encode()}).status_code == 401
    assert client.get("/api/start", headers={"cookie": "a=b; lensscan-1=right"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/errors.py", "/static//etc/passwd",
        "/static/js", "/static/", "/static/js/none.js", "/api/object/..%2f..%2fscan.json", "/products/scan.json",
    ],
)  # fmt: skip
def test_paths_outside_the_page_and_the_catalogue_are_not_there(
    scan_output: Path, client_of: Client, path: str
) -> None:
    answer = client_of(scan_output).get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text
