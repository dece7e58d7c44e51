"""What a scan's report says, before it is HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.drift import Drift
from pipeline.catalogue.proportion import Share
from pipeline.catalogue.purity import PurityRow
from pipeline.catalogue.recovered import RecoveredRow
from pipeline.provenance import STAGES

COUNTS = ("detections", "cutouts", "scored", "unscorable", "stopped", "candidates")
"""Counts of a field that the report adds up."""

NOT_DONE, DONE, FAILED = 0, 1, 2
"""States of a field's stage."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FieldTable:
    """Fields of a scan in columns, n of them in order of their names: those it has begun, and those it knows of.

    Attributes
    ----------
    ids : sequence of str (n,)
    states : uint8 (n, stages)
        In the order of `STAGES`.
    empty : bool (n,)
        Whether the field is known to have no coverage.
    counts : int64 (n, counts)
        In the order of `COUNTS`; -1 where a product does not say.
    ra, dec, width, height : float64 (n,), deg
        Middle and sides of the footprint; NaN where it is not known.
    turn : float64 (n,), deg
        Of its columns from north through east; NaN where it is not known.
    last : str
        The stage with which a field of this scan is done: without an ensemble none is scored.
    """

    ids: tuple[str, ...]
    states: npt.NDArray[np.uint8]
    empty: npt.NDArray[np.bool_]
    counts: Counts
    ra: Floats
    dec: Floats
    width: Floats
    height: Floats
    turn: Floats
    last: str = STAGES[-1]

    def __len__(self) -> int:
        return len(self.ids)

    def count(self, name: str) -> Counts:
        """One count of every field, -1 where it is not told."""
        return self.counts[:, COUNTS.index(name)]

    @property
    def totals(self) -> dict[str, int]:
        """Counts over all fields."""
        return dict(zip(COUNTS, np.maximum(self.counts, 0).sum(axis=0).tolist(), strict=True))

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """Fields of which a stage failed."""
        answer: npt.NDArray[np.bool_] = (self.states == FAILED).any(axis=1)
        return answer

    @property
    def begun(self) -> npt.NDArray[np.bool_]:
        """Fields of which a stage is done or failed."""
        answer: npt.NDArray[np.bool_] = (self.states != NOT_DONE).any(axis=1)
        return answer

    @property
    def finished(self) -> npt.NDArray[np.bool_]:
        """Fields of which every stage that there is to be is done."""
        answer: npt.NDArray[np.bool_] = (self.states[:, : STAGES.index(self.last) + 1] == DONE).all(axis=1)
        return answer

    def done(self, stage: str) -> int:
        """Fields of which a stage is done."""
        return int((self.states[:, STAGES.index(stage)] == DONE).sum())


@dataclass(frozen=True)
class Failure:
    """Why a field is in quarantine, and whether trying again may help."""

    field_id: str
    stage: str
    reason: str
    again: bool


@dataclass(frozen=True)
class FieldNotes:
    """What is odd about fields that went on all the same: the first of so many."""

    shown: tuple[tuple[str, str], ...]
    number: int


@dataclass(frozen=True)
class CandidateFacts:
    """One candidate with its picture (PNG bytes, empty if there is none) and outlines in pixels of it.

    Attributes
    ----------
    outline, light, artefact : str
        SVG paths: pixels with a fatal flag, lens light and artefacts above one half on the ensemble's maps.
    arc_area : float or None
        arcsec^2 of lens light, as the scan measured it.
    peak : float or None
        Distance of its peak from the position, arcsec.
    theta_E : (float, float) or None
        Einstein radius and its standard deviation, arcsec, where the scan gave lens parameters.
    trusted : bool or None
        Whether the network had seen the like of the stamp.
    """

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
    light: str = ""
    artefact: str = ""
    arc_area: float | None = None
    peak: float | None = None
    theta_E: tuple[float, float] | None = None
    trusted: bool | None = None


@dataclass(frozen=True)
class ScoreHistogram:
    """Numbers of all, candidate and unflagged scores (n,) in bins of log10 score, `edges` (n + 1,); and of flags."""

    edges: Floats
    scored: Counts
    candidates: Counts
    unflagged: Counts
    flags: Mapping[str, int]


@dataclass(frozen=True)
class FieldConditions:
    """What may explain a field's scores, float64 (n,) each; NaN where it is not known.

    Attributes
    ----------
    detections : primary ones whose scores were looked at: those without a vet flag
    median : their median log10 score
    candidates : candidates among them
    seeing : arcsec, mean of the bands
    depth : magnitude that nine in ten detections are brighter than, in the middle band
    artefacts, unscored : shares of the primary detections
    density : detections a square arcminute of the footprint
    """

    detections: Floats
    median: Floats
    candidates: Floats
    seeing: Floats
    depth: Floats
    artefacts: Floats
    unscored: Floats
    density: Floats


@dataclass(frozen=True)
class ArtefactShare:
    """How many of a group of primary detections carry a flag of an artefact."""

    group: str
    flagged: int
    number: int
    share: Share


@dataclass(frozen=True)
class Reading:
    """How much of the score tables was read: of so many fields that have some; what could not be, by field."""

    read: int
    fields: int
    broken: tuple[tuple[str, str], ...] = ()
    broken_number: int = 0


@dataclass(frozen=True)
class CalibrationFit:
    """A calibration as a card or an ensemble's file holds it, and what was measured of it."""

    name: str
    method: str
    prior: float
    n_lenses: int
    n_others: int
    fitted_on: str
    error: float | None = None
    error_sample: str = ""


@dataclass(frozen=True)
class CalibrationFacts:
    """What is known of the ensemble's calibration: its fits, the members' first the ensemble's own."""

    ensemble: str
    fits: tuple[CalibrationFit, ...]
    note: str = ""


@dataclass(frozen=True)
class ObservedRow:
    """Candidates of a range of scores that people judged: lenses among them beside what the scores expect."""

    low: float
    high: float
    judged: int
    lenses: int
    expected: float
    share: Share


@dataclass(frozen=True)
class KnownFacts:
    """Known lenses of a list, each system once, and what the scan made of those that it could have found.

    Attributes
    ----------
    source : str
        Name of the list.
    systems, covered, detected, scored : int
        On the list; observed; of these with a detection within `radius` arcsec; of these with a score.
    rows : tuple of RecoveredRow
    by_chance : float
        Candidates that would match if the lenses were elsewhere nearby.
    """

    source: str
    systems: int
    covered: int
    detected: int
    scored: int
    rows: tuple[RecoveredRow, ...]
    by_chance: float
    radius: float


@dataclass(frozen=True)
class ReportFacts:
    """What the page says; `actual` and `forecast` are empty where no run was recorded."""

    scan_id: str
    survey: str
    release: str
    fields: FieldTable
    failures: tuple[Failure, ...] = ()
    notes: FieldNotes = FieldNotes((), 0)
    candidates: tuple[CandidateFacts, ...] = ()
    unread_candidates: tuple[tuple[str, str], ...] = ()
    maps: str = ""
    scores: ScoreHistogram | None = None
    purity: tuple[PurityRow, ...] = ()
    expected_lenses: float = 0.0
    primary_scored: int = 0
    prior: float | None = None
    calibration: CalibrationFacts | None = None
    observed: tuple[ObservedRow, ...] = ()
    observed_by: str = ""
    known: KnownFacts | None = None
    artefacts: tuple[ArtefactShare, ...] = ()
    drift: Drift | None = None
    conditions: FieldConditions | None = None
    reading: Reading = Reading(0, 0)
    forecast: Mapping[str, Any] = field(default_factory=dict)
    actual: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    variants: int = 0
