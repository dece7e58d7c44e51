"""One pass over a scan's score tables, field by field: what is kept of each is a row of numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue.purity import PuritySums
from pipeline.catalogue.report_facts import FieldConditions, FieldTable, Reading, ScoreHistogram
from pipeline.catalogue.report_fields import ScoreFile
from pipeline.flags import VetFlag
from pipeline.io.arrow_objects import file_system, name_in
from pipeline.io.places import Place, each

DECADES = 8
"""The histogram of scores reaches this many powers of ten below 1; what is lower counts in its lowest bin."""
BINS_A_DECADE = 20

THRESHOLDS = (1e-4, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
"""Scores of the table of purity: at the default prior the best of a small field may have no more than a thousandth."""

ARTEFACTS = (
    VetFlag.CENTRE_MASKED
    | VetFlag.CHIP_GAP_CROSSES
    | VetFlag.TRAIL_CROSSES
    | VetFlag.PARTIAL_COVERAGE
    | VetFlag.BRIGHT_STAR
    | VetFlag.SEAM
    | VetFlag.ARTEFACT_LIKELY
)
"""Vet flags that say that something which is no sky touches the stamp."""

BEST = 1000
"""Primary candidates whose flags are kept."""

_AT_ONCE = 256
_DEPTH = 0.9
_ARCMIN2 = 3600.0
_MOST_BROKEN = 20

Told = Callable[[int, int], None]
"""Told (fields read, of so many) now and then."""


@dataclass(frozen=True)
class FieldPart:
    """What one field's scores come to."""

    scored: npt.NDArray[np.int64]
    unflagged: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    clean: npt.NDArray[np.int64]
    clean_candidates: int
    primary: npt.NDArray[np.float32]
    flags: npt.NDArray[np.int64]
    artefacts: int
    unscored: int
    primaries: int
    seeing: float
    depth: float
    box: tuple[float, float, float, float]
    best: npt.NDArray[np.float32]
    best_flags: npt.NDArray[np.uint32]


class Best:
    """The best so many of what comes field by field: their scores, flags and fields, best first, then by field."""

    def __init__(self, most: int = BEST) -> None:
        self.most = most
        self.score, self.flags = np.zeros(0, np.float32), np.zeros(0, np.uint32)
        self.field = np.zeros(0, np.int64)

    def add(self, field: int, score: npt.NDArray[np.float32], flags: npt.NDArray[np.uint32]) -> None:
        """Take those of one field, best first."""
        full = len(self.score) == self.most
        worth = int((score >= self.score[-1]).sum()) if full else len(score)
        if worth:
            every = np.concatenate([self.score, score[:worth]])
            fields = np.concatenate([self.field, np.full(worth, field)])
            kept = np.lexsort((fields, -every))[: self.most]
            self.flags = np.concatenate([self.flags, flags[:worth]])[kept]
            self.score, self.field = every[kept], fields[kept]


@dataclass(frozen=True)
class ScoreTally:
    """What all fields' scores come to.

    Attributes
    ----------
    histogram : ScoreHistogram
    clean : int32 (n, bins)
        Each field's primary detections that have a score and no vet flag, by score.
    clean_candidates : int64 (n,)
    conditions : FieldConditions
    purity : PuritySums
        Of the primary detections.
    best : Best
        Of the primary candidates.
    primaries, artefacts : int
        Primary detections, and those that an artefact touches.
    reading : Reading
    fields : FieldTable
        As it was given, with the extent of the detections where no footprint was known.
    """

    histogram: ScoreHistogram
    clean: npt.NDArray[np.int32]
    clean_candidates: npt.NDArray[np.int64]
    conditions: FieldConditions
    purity: PuritySums
    best: Best
    primaries: int
    artefacts: int
    reading: Reading
    fields: FieldTable


def score_edges() -> npt.NDArray[np.float64]:
    """Edges of the bins of log10 score."""
    return np.linspace(-DECADES, 0, DECADES * BINS_A_DECADE + 1)


def tally_scores(
    output: Place,
    fields: FieldTable,
    files: Sequence[ScoreFile],
    *,
    seconds: float | None = None,
    told: Told | None = None,
) -> ScoreTally:
    """Read the scores of every field once; no more than some fields' columns are held at a time.

    Parameters
    ----------
    output : Path or ObjectPath
    fields : FieldTable
    files : sequence of ScoreFile
    seconds : float, optional
        Stop reading after so long. Fields are then read in an order that chance gave, always the same, so that what
        was read is a fair sample.
    told : callable, optional
        Gets (fields read, fields in all).
    """
    n, bins = len(fields), DECADES * BINS_A_DECADE
    clean, clean_candidates = np.zeros((n, bins), np.int32), np.zeros(n, np.int64)
    columns = {name: np.full(n, np.nan) for name in ("primaries", "artefacts", "unscored", "seeing", "depth")}
    place = {name: getattr(fields, name).copy() for name in ("ra", "dec", "width", "height")}
    scored, unflagged, candidates = (np.zeros(bins, np.int64) for _ in range(3))
    flags, purity, best = np.zeros(len(VetFlag), np.int64), PuritySums(THRESHOLDS), Best()
    broken: list[tuple[str, str]] = []
    order = np.random.default_rng(0).permutation(len(files)) if seconds is not None else np.arange(len(files))
    began, read, failed = time.monotonic(), 0, 0
    for first in range(0, len(files), _AT_ONCE):
        if seconds is not None and read and time.monotonic() - began > seconds:
            break
        some = [files[number] for number in order[first : first + _AT_ONCE]]
        parts = each(lambda file: _part(file, bool(np.isnan(fields.ra[file.field]))), some, output)
        for file, part in zip(some, parts, strict=True):
            read += 1
            if isinstance(part, str):
                failed += 1
                broken += [(fields.ids[file.field], part)][: _MOST_BROKEN - len(broken)]
                continue
            scored += part.scored
            unflagged += part.unflagged
            candidates += part.candidates
            flags += part.flags
            purity.add(part.primary)
            best.add(file.field, part.best, part.best_flags)
            clean[file.field], clean_candidates[file.field] = part.clean, part.clean_candidates
            for name, column in columns.items():
                column[file.field] = getattr(part, name)
            if np.isnan(fields.ra[file.field]):
                for name, value in zip(place, part.box, strict=True):
                    place[name][file.field] = value
        if told is not None:
            told(read, len(files))
    known = replace(fields, **place)
    return ScoreTally(
        histogram=ScoreHistogram(
            score_edges(),
            scored,
            candidates,
            unflagged,
            {str(flag.name): int(count) for flag, count in zip(VetFlag, flags, strict=True)},
        ),
        clean=clean,
        clean_candidates=clean_candidates,
        conditions=_conditions(known, clean, clean_candidates, columns),
        purity=purity,
        best=best,
        primaries=int(np.nansum(columns["primaries"])),
        artefacts=int(np.nansum(columns["artefacts"])),
        reading=Reading(read - failed, len(files), tuple(broken), failed),
        fields=known,
    )


def _part(file: ScoreFile, place: bool) -> FieldPart | str:
    """One field's numbers, or why its table can't be read; `place`: where it lies, too."""
    try:
        table = pq.ParquetFile(name_in(file.path), filesystem=file_system(file.path))
        names = table.schema_arrow.names
        bands = [name for name in names if name.startswith("mag_")]
        seeing = [name for name in names if name.startswith("seeing_")]
        middle = bands[len(bands) // 2 : len(bands) // 2 + 1]
        wanted = ["score", "vet_flags", "is_primary", *middle, *seeing, *(("ra", "dec") if place else ())]
        rows = table.read(columns=wanted, use_threads=False)
    except (OSError, pa.ArrowException, KeyError) as error:
        return str(error).splitlines()[0]
    values = {name: rows[name].to_numpy() for name in rows.column_names}
    return _reduced(values, file.candidates, middle, seeing)


def _reduced(
    values: dict[str, npt.NDArray[np.generic]], candidates: int, magnitude: list[str], seeing: list[str]
) -> FieldPart:
    score = values["score"].astype(np.float64)
    flags, primary = values["vet_flags"].astype(np.uint32), values["is_primary"].astype(bool)
    finite = np.isfinite(score)
    bin_of = _bins(score)
    clean = finite & primary & (flags == 0)
    # A field's candidates are its highest scores (pipeline.scan.candidates), so that one table tells both.
    ranked = np.argsort(-np.where(finite, score, -1.0), kind="stable")[: min(candidates, int(finite.sum()))]
    chosen = np.zeros(len(score), bool)
    chosen[ranked] = True
    top = ranked[primary[ranked]][:BEST]
    bits = np.array([flag.value for flag in VetFlag], np.uint32)
    return FieldPart(
        scored=_counted(bin_of[finite]),
        unflagged=_counted(bin_of[finite & (flags == 0)]),
        candidates=_counted(bin_of[chosen]),
        clean=_counted(bin_of[clean]),
        clean_candidates=int((chosen & clean).sum()),
        primary=score[primary].astype(np.float32),
        flags=((flags[:, None] & bits) != 0).sum(axis=0),
        artefacts=int((primary & ((flags & np.uint32(ARTEFACTS)) != 0)).sum()),
        unscored=int((primary & ~finite).sum()),
        primaries=int(primary.sum()),
        seeing=_mean([values[name] for name in seeing]),
        depth=_quantile(values[magnitude[0]]) if magnitude else np.nan,
        box=_box(values["ra"], values["dec"]) if "ra" in values else (np.nan,) * 4,
        best=score[top].astype(np.float32),
        best_flags=flags[top],
    )


def _bins(score: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Bin of each score; meaningless for NaN."""
    level = np.log10(np.clip(np.nan_to_num(score, nan=1.0), 10.0**-DECADES, 1.0))
    most = DECADES * BINS_A_DECADE - 1
    answer: npt.NDArray[np.int64] = np.clip(np.floor((level + DECADES) * BINS_A_DECADE), 0, most).astype(np.int64)
    return answer


def _counted(bins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.bincount(bins, minlength=DECADES * BINS_A_DECADE)


def _mean(columns: Sequence[npt.NDArray[np.generic]]) -> float:
    """Mean over the bands of a number that is the same for all rows; NaN where no band has one."""
    first = [float(column[0]) for column in columns if len(column) and np.isfinite(column[0].astype(float))]
    return float(np.mean(first)) if first else np.nan


def _quantile(magnitude: npt.NDArray[np.generic]) -> float:
    known = magnitude.astype(np.float64)
    known = known[np.isfinite(known)]
    return float(np.quantile(known, _DEPTH)) if len(known) else np.nan


def _box(ra: npt.NDArray[np.generic], dec: npt.NDArray[np.generic]) -> tuple[float, float, float, float]:
    """Middle and sides in degrees of what positions span, right at ra 0; NaN without any."""
    if not len(ra):
        return (np.nan,) * 4
    alpha, delta = ra.astype(np.float64), dec.astype(np.float64)
    around = (alpha - alpha[0] + 180) % 360 - 180
    middle = (delta.min() + delta.max()) / 2
    width = float(np.ptp(around)) * float(np.cos(np.radians(middle)))
    centre = float(alpha[0] + (around.min() + around.max()) / 2) % 360
    return centre, float(middle), max(width, 1e-4), max(float(np.ptp(delta)), 1e-4)


def _conditions(
    fields: FieldTable,
    clean: npt.NDArray[np.int32],
    candidates: npt.NDArray[np.int64],
    columns: dict[str, npt.NDArray[np.float64]],
) -> FieldConditions:
    number = clean.sum(axis=1)
    half = (np.cumsum(clean, axis=1) >= (number / 2)[:, None]).argmax(axis=1)
    centres = (score_edges()[:-1] + score_edges()[1:]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        area = fields.width * fields.height * _ARCMIN2
        detections = np.where(fields.count("detections") >= 0, fields.count("detections"), np.nan)
        return FieldConditions(
            detections=number.astype(np.float64),
            median=np.where(number > 0, centres[half], np.nan),
            candidates=candidates.astype(np.float64),
            seeing=columns["seeing"],
            depth=columns["depth"],
            artefacts=columns["artefacts"] / columns["primaries"],
            unscored=columns["unscored"] / columns["primaries"],
            density=np.where(area > 0, detections / area, np.nan),
        )
