"""What a scan's report says, before it is HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.purity import PurityRow


@dataclass(frozen=True)
class FieldFacts:
    """One field: states of its stages in order of `STAGES` ("done", "failed" or "-"), its counts, why it failed, and
    what is odd about it though it went on.
    """

    field_id: str
    states: tuple[str, ...]
    empty: bool
    counts: Mapping[str, int]
    reason: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CandidateFacts:
    """One candidate with its picture (PNG bytes, empty if there is none) and the outline of its fatal pixels."""

    objid: int
    field_id: str
    ra: float
    dec: float
    score: float
    score_std: float | None
    members: Mapping[str, float | None]
    flags: tuple[str, ...]
    picture: bytes
    side_pix: int
    pixel_scale: float
    bands: str
    outline: str


@dataclass(frozen=True)
class ScoreHistogram:
    """Numbers of all, candidate and unflagged scores (n,) in bins of log10 score, `edges` (n + 1,); and of flags."""

    edges: npt.NDArray[np.float64]
    scored: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    unflagged: npt.NDArray[np.int64]
    flags: Mapping[str, int]


@dataclass(frozen=True)
class ReportFacts:
    """What the page says; `actual` and `forecast` are empty where no run was recorded."""

    scan_id: str
    survey: str
    release: str
    fields: tuple[FieldFacts, ...]
    candidates: tuple[CandidateFacts, ...]
    scores: ScoreHistogram | None
    forecast: Mapping[str, Any]
    actual: Mapping[str, Any]
    provenance: Mapping[str, Any]
    variants: int
    purity: tuple[PurityRow, ...] = ()

    @property
    def totals(self) -> Counter[str]:
        """Counts over all fields."""
        total: Counter[str] = Counter()
        for field in self.fields:
            total.update(field.counts)
        return total
