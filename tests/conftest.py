"""Settings and real data that the whole suite shares."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser as chromium
from tests.browser import browser, new_page  # noqa: F401
from tests.slurm.node import missing

REAL = os.environ.get("LENSSCAN_DATA")


def pytest_report_header() -> list[str]:
    lacking, no_browser = missing(), chromium.missing()
    return [
        f"real survey data: {REAL or 'LENSSCAN_DATA is unset; tests on real data are SKIPPED'}",
        f"SLURM: {'one node is started for its tests' if lacking is None else f'tests are SKIPPED: {lacking}'}",
        f"browser: {chromium.CHROMIUM if no_browser is None else f'tests are SKIPPED: {no_browser}'}",
    ]


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL or not Path(REAL).is_dir():
        pytest.skip("LENSSCAN_DATA is unset: no real survey data")
    return Path(REAL)


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """An S3 store on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    serve, one_at_a_time = server._server.app, threading.Lock()  # type: ignore[union-attr]

    def atomic(environ: dict[str, Any], start_response: Any) -> Any:
        # moto keeps a request in one place for all threads, so that conditions and bodies of two can be mixed up.
        with one_at_a_time:
            return serve(environ, start_response)

    server._server.app = atomic  # type: ignore[union-attr]
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket of that store, which the environment names."""
    from tests.object_store import client

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client(store_url).create_bucket(Bucket=name)
    return name
