"""The straight line on one field, in memory: what a notebook calls, and the same steps that workflows run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ProductMismatch
from pipeline.field import FieldImage
from pipeline.flags import PixelFlag
from pipeline.geometry import FieldGeometry, primary
from pipeline.models.ensemble import Ensemble
from pipeline.scan.candidates import choose_candidates
from pipeline.scan.cutouts import cut, stamp_pixels
from pipeline.scan.cutouts_stats import StampStats
from pipeline.scan.detect import Detections, ExternalCatalogue, detect
from pipeline.scan.masks import find
from pipeline.scan.score import MemberAnswers, ask_members
from pipeline.scan.vet import vet_flags
from pipeline.scan_config import CandidatesConfig, ScanConfig, VetConfig

Float32 = npt.NDArray[np.float32]
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
class ScoredRows:
    """A field's catalogue rows, in the order of its detections.

    Attributes
    ----------
    origin : Origin
    detections : Detections
    members : tuple of str
    score, score_std : float32 (n,); NaN where not scorable
    ood : float32 (n,)
        Share of validation stamps that are more familiar; NaN where not scorable or no member has a familiarity.
    member_scores : float32 (n, members)
    vet_flags : uint32 (n,)
    artefact_fraction, valid_fraction : float32 (n,)
    is_primary, is_candidate : bool (n,)
    row : int32 (n,)
        Row of the cutout in the field's arrays.
    seeing : mapping
        band -> FWHM in arcsec.
    """

    origin: Origin
    detections: Detections
    members: tuple[str, ...]
    score: Float32
    score_std: Float32
    ood: Float32
    member_scores: Float32
    vet_flags: UInt32
    artefact_fraction: Float32
    valid_fraction: Float32
    is_primary: Bool
    is_candidate: Bool
    row: Int32
    seeing: Mapping[str, float]

    @property
    def unscorable(self) -> int:
        """Rows whose score is null."""
        return int(np.isnan(self.score).sum())

    @property
    def shard(self) -> list[str]:
        """Shard of each row, as `<field_id>/<number>`."""
        return [f"{self.origin.field_id}/{number}" for number in (self.row // self.origin.shard).tolist()]


def scan_field(
    field_image: FieldImage,
    ensemble: Ensemble,
    config: ScanConfig,
    *,
    external: ExternalCatalogue | None = None,
    neighbours: Sequence[FieldGeometry] = (),
) -> ScoredRows:
    """Scan one field in memory: masks, detections, cutouts, scores, vet flags, candidates.

    Parameters
    ----------
    field_image : FieldImage
    ensemble : Ensemble
    config : ScanConfig
    external : ExternalCatalogue, optional
        The survey's own detections, for `detect.method = "catalogue"`.
    neighbours : sequence of FieldGeometry
        Fields that overlap this one; they decide `is_primary`.

    Raises
    ------
    NoCoverage, BadSurveyData, ModelMismatch
        As the steps do.
    """
    field = field_image.field
    geometry = FieldGeometry(field.field_id, field_image.shape, field_image.wcs)
    masks = find(field_image, config.masks, config.memory)
    detections = detect(field_image, masks, config.detect, config.memory, external=external)
    shards = list(cut(field_image, masks, detections, config.cutouts, config.vet, config.memory))
    answers = [
        ask_members(
            shard.image,
            shard.ivar,
            shard.mask,
            pixel_scale=field_image.pixel_scale,
            bands=field_image.bands,
            ensemble=ensemble,
            config=config.score,
        )
        for shard in shards
    ]
    objid = np.concatenate([shard.objid for shard in shards] or [np.empty(0, np.int64)])
    return score_rows(
        detections,
        StampTable(objid, joined([s.stats for s in shards]), stamp_pixels(config.cutouts, field_image.pixel_scale)),
        objid,
        joined_answers(answers, len(ensemble.members)),
        is_primary=primary(geometry, neighbours, detections.ra, detections.dec),
        ensemble=ensemble,
        bands=field_image.bands,
        vet=config.vet,
        candidates=config.candidates,
        origin=Origin(field.survey, field.release, field.field_id, config.scan_id, config.cutouts.shard),
        seeing=field_image.meta.get("seeing", {}),
    )


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
    stats = _taken(stamps.stats, row)
    used = sum(1 << bands.index(band) for band in ensemble.bands())
    return ScoredRows(
        origin=origin,
        detections=detections,
        members=ensemble.names,
        score=found.score,
        score_std=found.score_std,
        ood=ood,
        member_scores=found.members,
        vet_flags=vet_flags(stats, found.disagreement, vet, stamps.size**2, used, ood),
        artefact_fraction=stats.artefact_fraction,
        valid_fraction=stats.valid_fraction,
        is_primary=is_primary,
        is_candidate=choose_candidates(found.score, detections.objid, candidates),
        row=row.astype(np.int32),
        seeing=seeing,
    )


def joined_answers(parts: Sequence[MemberAnswers], members: int) -> MemberAnswers:
    """The answers of consecutive shards as one; of no shards, without rows."""
    if not parts:
        none = np.empty((0, members), np.float32)
        return MemberAnswers(none, none)
    return MemberAnswers(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.distances for part in parts])
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
