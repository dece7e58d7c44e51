"""A session over a made scan, and a client of its application."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.inspector.made_scan import made_scan


@pytest.fixture
def scan_output(tmp_path: Path) -> Path:
    return made_scan(tmp_path / "products")


@pytest.fixture
def client_of() -> Iterator[Callable[..., Any]]:
    """(path, access=None, **what is wanted) -> a client of the application, with `session` as an attribute."""
    with warnings.catch_warnings():
        # It would rather have httpx's successor, which is no dependency of ours.
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient

    from pipeline.inspector.app import make_app
    from pipeline.inspector.guard import Access
    from workflows.inspector import Wanted, open_session

    with ExitStack() as closing:

        def make(path: Path, access: Access | None = None, **wanted: Any) -> Any:
            session = open_session(Wanted(str(path), **wanted), closing)
            client = TestClient(make_app(session, access or Access()), base_url="http://127.0.0.1:8642")
            client.session = session
            return client

        yield make
