"""A field's catalogue rows: detections, stamps and the members' answers, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ProductMismatch
from pipeline.flags import PixelFlag, VetFlag
from pipeline.models.ensemble import Ensemble
from pipeline.scan.candidates import choose_candidates
from pipeline.scan.cutouts_stats import StampStats
from pipeline.scan.detect import Detections
from pipeline.scan.score import MemberAnswers
from pipeline.scan.vet import vet_flags
from pipeline.scan_config import CandidatesConfig, VetConfig
from pipeline.schema_lenses import TRUSTED, parameter_names

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Origin:
    """Where rows come from: what the catalogue says of each, and how many cutouts a shard holds."""

    survey: str
    release: str
    field_id: str
    scan_id: str
    shard: int


@dataclass(frozen=True)
class StampTable:
    """What is known of a field's stamps beside their pixels; row k is cutout k.

    Attributes
    ----------
    objid : int64 (n,)
    stats : StampStats
    size : int
        Side of a stamp in pixels.
    """

    objid: Int64
    stats: StampStats
    size: int


@dataclass(frozen=True)
class MapColumns:
    """What the maps of candidates say, (n,) each; NaN for rows that are none, or whose ensemble draws no maps.

    Attributes
    ----------
    joint_score : float32
        Probability by score and lens-light map together.
    artefact_overlap : float32
        Share of what the score rests on that the artefact map covers.
    lens_ra, lens_dec : float64, deg
        Peak of the lens-light map; NaN too where it shows none.
    arc_area : float32, arcsec^2
    """

    joint_score: Float32
    artefact_overlap: Float32
    lens_ra: Float64
    lens_dec: Float64
    arc_area: Float32

    @classmethod
    def unknown(cls, n: int) -> MapColumns:
        """Arrays of their own, all NaN."""
        joint, overlap, area = np.full((3, n), np.nan, np.float32)
        ra, dec = np.full((2, n), np.nan, np.float64)
        return cls(joint, overlap, ra, dec, area)


@dataclass(frozen=True)
class ParameterColumns:
    """Lens parameters of candidates, (n, p) in the order of `pipeline.models.posterior`; NaN for rows that are none.

    Attributes
    ----------
    mean, std : float32 (n, p)
        Of the posterior; NaN too where the stamp can't be scored.
    trusted : bool (n,)
        False too where there is no posterior.
    """

    mean: Float32
    std: Float32
    trusted: Bool

    @classmethod
    def unknown(cls, n: int) -> ParameterColumns:
        """Arrays of their own, all NaN."""
        mean, std = np.full((2, n, len(parameter_names())), np.nan, np.float32)
        return cls(mean, std, np.zeros(n, np.bool_))

    def columns(self) -> dict[str, Any]:
        """Values by name of `pipeline.schema_lenses.parameter_columns`, masked where there is none."""
        names = parameter_names()
        values: dict[str, Any] = {name: self.mean[:, number] for number, name in enumerate(names)}
        values |= {f"{name}_std": self.std[:, number] for number, name in enumerate(names)}
        return {**values, TRUSTED.name: np.ma.masked_array(self.trusted, mask=np.isnan(self.mean).any(axis=1))}


@dataclass(frozen=True)
class ScoredRows:
    """A field's catalogue rows, in the order of its detections.

    Attributes
    ----------
    origin : Origin
    detections : Detections
    members : tuple of str
    score, score_std : float32 (n,); NaN where not scorable, or stopped by a gate of the cascade
    ood : float32 (n,)
        Share of validation stamps that are more familiar; NaN where not scorable or no member has a familiarity.
    gate_score : float32 (n,)
        Probability by the cascade's gates alone; NaN where not scorable or there is no cascade.
    member_scores : float32 (n, members)
    vet_flags : uint32 (n,)
    artefact_fraction, valid_fraction : float32 (n,)
    is_primary, is_candidate : bool (n,)
    row : int32 (n,)
        Row of the cutout in the field's arrays.
    seeing : mapping
        band -> FWHM in arcsec.
    maps : MapColumns
    parameters : ParameterColumns or None
        None if the ensemble gives none.
    embeddings : float16 (n, d), or None
        NaN where there is none; None if not asked for, or still to be gathered.
    """

    origin: Origin
    detections: Detections
    members: tuple[str, ...]
    score: Float32
    score_std: Float32
    ood: Float32
    gate_score: Float32
    member_scores: Float32
    vet_flags: UInt32
    artefact_fraction: Float32
    valid_fraction: Float32
    is_primary: Bool
    is_candidate: Bool
    row: Int32
    seeing: Mapping[str, float]
    maps: MapColumns
    parameters: ParameterColumns | None = None
    embeddings: Float16 | None = None

    @property
    def unscorable(self) -> int:
        """Rows whose score is null though no gate stopped them."""
        return int(np.isnan(self.score).sum()) - self.stopped

    @property
    def stopped(self) -> int:
        """Rows that a gate of the cascade stopped."""
        return int((self.vet_flags & np.uint32(VetFlag.STOPPED_BY_GATE) != 0).sum())

    @property
    def shard(self) -> list[str]:
        """Shard of each row, as `<field_id>/<number>`."""
        return [f"{self.origin.field_id}/{number}" for number in (self.row // self.origin.shard).tolist()]


def score_rows(
    detections: Detections,
    stamps: StampTable,
    objid: Int64,
    answers: MemberAnswers,
    *,
    is_primary: Bool,
    ensemble: Ensemble,
    bands: tuple[str, ...],
    vet: VetConfig,
    candidates: CandidatesConfig,
    origin: Origin,
    seeing: Mapping[str, float],
) -> ScoredRows:
    """Join detections, stamps and the members' answers into catalogue rows.

    Parameters
    ----------
    detections : Detections
        n rows.
    stamps : StampTable
        n rows, in cutting order.
    objid : int64 (n,)
        Of `answers`, in cutting order.
    answers : MemberAnswers
    is_primary : bool (n,)
        In the order of `detections`.
    bands : tuple of str
        Of the cutouts; `ensemble.bands()` are among them.

    Raises
    ------
    ProductMismatch
        If the three do not describe the same objects.
    """
    if not np.array_equal(stamps.objid, objid) or not np.array_equal(np.sort(objid), np.sort(detections.objid)):
        raise ProductMismatch(
            f"field {origin.field_id}: detections, cutouts and scores are not of the same objects; "
            "rerun the field from masks."
        )
    order = np.argsort(objid, kind="stable")
    row = order[np.searchsorted(objid[order], detections.objid)] if len(objid) else np.empty(0, np.int64)
    found = ensemble.score(answers.logits[row], candidates.prior)
    ood = ensemble.unfamiliar(answers.distances[row])
    gate_score, stopped = _gated(answers, row, ensemble, candidates.prior)
    stats = _taken(stamps.stats, row)
    used = sum(1 << bands.index(band) for band in ensemble.ruling_bands())
    return ScoredRows(
        origin=origin,
        detections=detections,
        members=ensemble.names,
        score=found.score,
        score_std=found.score_std,
        ood=ood,
        gate_score=gate_score,
        member_scores=found.members,
        vet_flags=vet_flags(stats, found.disagreement, vet, stamps.size**2, used, ood, stopped),
        artefact_fraction=stats.artefact_fraction,
        valid_fraction=stats.valid_fraction,
        is_primary=is_primary,
        is_candidate=choose_candidates(found.score, detections.objid, candidates),
        row=row.astype(np.int32),
        seeing=seeing,
        maps=MapColumns.unknown(len(row)),
        parameters=None if ensemble.fitter is None else ParameterColumns.unknown(len(row)),
        embeddings=None if answers.embeddings is None else answers.embeddings[row],
    )


def _gated(answers: MemberAnswers, row: Int64, ensemble: Ensemble, prior: float) -> tuple[Float32, Bool]:
    """The gates' probability of each row, and which they stopped; NaN and False throughout without a cascade."""
    if answers.gates is None:
        return np.full(len(row), np.nan, np.float32), np.zeros(len(row), np.bool_)
    cascade, logits = ensemble.gates(), answers.gates[row]
    return cascade.score(logits, prior), cascade.stops(logits)


def joined_answers(parts: Sequence[MemberAnswers], members: int) -> MemberAnswers:
    """The answers of consecutive shards as one; of no shards, without rows."""
    if not parts:
        none = np.empty((0, members), np.float32)
        return MemberAnswers(none, none)
    gates = [part.gates for part in parts if part.gates is not None]
    embeddings = [part.embeddings for part in parts if part.embeddings is not None]
    return MemberAnswers(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate(gates) if gates else None,
        np.concatenate(embeddings) if embeddings else None,
    )


def joined(parts: Sequence[StampStats]) -> StampStats:
    """The statistics of consecutive shards as one; of no shards, without rows."""
    if not parts:
        none = np.zeros(0, np.float32)
        empty = np.zeros(0, np.uint32)
        return StampStats(none, none, empty, empty, {name: np.zeros(0, np.int32) for name in flag_names()})
    return StampStats(
        np.concatenate([part.artefact_fraction for part in parts]),
        np.concatenate([part.valid_fraction for part in parts]),
        np.concatenate([part.centre_flags for part in parts]),
        np.concatenate([part.bands_missing for part in parts]),
        {name: np.concatenate([part.npix[name] for part in parts]) for name in flag_names()},
    )


def flag_names() -> tuple[str, ...]:
    """Names of the pixel flags as `StampStats.npix` has them."""
    return tuple(str(flag.name).lower() for flag in PixelFlag)


def _taken(stats: StampStats, row: Int64) -> StampStats:
    return StampStats(
        stats.artefact_fraction[row],
        stats.valid_fraction[row],
        stats.centre_flags[row],
        stats.bands_missing[row],
        {name: counts[row] for name, counts in stats.npix.items()},
    )
