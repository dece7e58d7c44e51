"""A disk that is really full: a small file system in memory, where this machine lets tests mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale.chaos import digest
from workflows.cluster import ClusterConfig
from workflows.results import ScanAborted
from workflows.run import run_scan
from workflows.setup import open_scan

SERIAL = ClusterConfig(kind="serial")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full disk is not tested: this user may not mount a file system in memory")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_scan_which_resumes_once_there_is_room(project: Path, small_disk: Path) -> None:
    config = str(project / "scan.toml")
    run_scan(open_scan(config), SERIAL, quiet=True)
    output = small_disk / "out"
    with pytest.raises(ScanAborted, match="no space left"):
        run_scan(open_scan(config, str(output)), SERIAL, quiet=True)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    outcome = run_scan(open_scan(config, str(output)), SERIAL, quiet=True)
    assert outcome.failures == ()
    assert digest(output) == digest(project / "out put")
