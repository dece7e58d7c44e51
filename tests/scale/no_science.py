"""Tasks that do nothing and say that they did: what is left of a scan is Dask and the driver."""

from __future__ import annotations

from typing import Any

from workflows.task_results import CutResult, FinishResult, ScoreResult, WholeResult

ROWS = 100


def whole(**arguments: Any) -> WholeResult:
    """A field, from pixels to catalogue."""
    wrote = ("masks", "detect", "cutouts", "score", "candidates")
    return WholeResult(ROWS, (0,), wrote, 0.0, 0.0, 0.0)


def cut(**arguments: Any) -> CutResult:
    """A field of one shard."""
    return CutResult(ROWS, (0,), "g", ("masks", "detect", "cutouts"), 0.0)


def score(**arguments: Any) -> ScoreResult:
    """A shard."""
    return ScoreResult(ROWS, 0.0)


def finish(**arguments: Any) -> FinishResult:
    """A field's end."""
    return FinishResult(ROWS, ("score", "candidates"), 0.0)


def nothing(number: int) -> int:
    """What Dask alone takes for a task."""
    return number
