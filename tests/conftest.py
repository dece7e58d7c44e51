"""Settings and real data that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.slurm.node import missing

REAL = os.environ.get("LENSSCAN_DATA")


def pytest_report_header() -> list[str]:
    lacking = missing()
    return [
        f"real survey data: {REAL or 'LENSSCAN_DATA is unset; tests on real data are SKIPPED'}",
        f"SLURM: {'one node is started for its tests' if lacking is None else f'tests are SKIPPED: {lacking}'}",
    ]


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL or not Path(REAL).is_dir():
        pytest.skip("LENSSCAN_DATA is unset: no real survey data")
    return Path(REAL)
