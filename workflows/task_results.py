"""What the tasks of a scan send back: a few bytes, which whoever submits them reads without loading what they ran."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CutResult:
    """A field after cutting: its cutouts, the shards still to score, the stages written, and bytes read and written."""

    rows: int
    shards: tuple[int, ...]
    score_generation: str
    wrote: tuple[str, ...]
    seconds: float
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True)
class ScoreResult:
    """A shard after scoring."""

    rows: int
    seconds: float


@dataclass(frozen=True)
class FinishResult:
    """A field at its end: its rows, the stages written, and how much that was."""

    rows: int
    wrote: tuple[str, ...]
    seconds: float
    bytes_out: int = 0


@dataclass(frozen=True)
class WholeResult:
    """A field from pixels to catalogue in one task: its rows, the shards scored, the stages written, where time went.

    `cut_seconds` are those of masks, detections and cutouts with their writing, `score_seconds` the members'; what is
    left of `seconds` is the field's finish.
    """

    rows: int
    shards: tuple[int, ...]
    wrote: tuple[str, ...]
    seconds: float
    cut_seconds: float
    score_seconds: float
    bytes_in: int = 0
    bytes_out: int = 0
