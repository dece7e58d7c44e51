"""Footers remembered in a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.catalogue import footers
from pipeline.catalogue.footers import Footer, read_footers
from pipeline.io.tables import write_table

Make = Callable[..., pa.Table]


@pytest.fixture
def files(tmp_path: Path, make_table: Make, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Six files of one row, of which four are remembered."""
    monkeypatch.setattr(footers, "_MOST", 4)
    monkeypatch.setattr(footers, "_remembered", {})
    found = [tmp_path / f"{number}.parquet" for number in range(6)]
    for number, file in enumerate(found):
        write_table(file, make_table("A", [number], [1.0], [2.0], [number / 10]))
    return found


def best(found: list[Footer]) -> list[float]:
    return [round(float(footer.best[0]), 2) for footer in found]


def test_footers_that_another_thread_forgets_meanwhile_are_answered(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_footers(files[:3], [0] * 3)
    real = footers._footer

    def slow(file: Path) -> Footer:
        footers._remembered.clear()
        return real(file)

    monkeypatch.setattr(footers, "_footer", slow)
    assert best(read_footers(files[:4], [0] * 4)) == [0.0, 0.1, 0.2, 0.3]


def test_more_files_than_are_remembered_are_read_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = footers._footer

    def counted(file: Path) -> Footer:
        read.append(file)
        return real(file)

    monkeypatch.setattr(footers, "_footer", counted)
    for _ in range(3):
        assert best(read_footers(files, [0] * 6)) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert sorted(read) == files
