"""Settings and real data that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL = os.environ.get("LENSSCAN_DATA")


def pytest_report_header() -> str:
    return f"real survey data: {REAL or 'LENSSCAN_DATA is unset; tests on real data are SKIPPED'}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL or not Path(REAL).is_dir():
        pytest.skip("LENSSCAN_DATA is unset: no real survey data")
    return Path(REAL)
