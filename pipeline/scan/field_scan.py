"""The straight line on one field, in memory: what a notebook calls, and the same steps that workflows run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.field import FieldImage
from pipeline.geometry import FieldGeometry, primary
from pipeline.models.ensemble import Ensemble
from pipeline.scan.cutouts import cut
from pipeline.scan.detect import ExternalCatalogue, detect
from pipeline.scan.masks import find
from pipeline.scan.measured import measure_candidates
from pipeline.scan.rows import Origin, ScoredRows, StampTable, joined, joined_answers, score_rows
from pipeline.scan.score import ask_members
from pipeline.scan_config import ScanConfig


def scan_field(
    field_image: FieldImage,
    ensemble: Ensemble,
    config: ScanConfig,
    *,
    external: ExternalCatalogue | None = None,
    neighbours: Sequence[FieldGeometry] = (),
) -> ScoredRows:
    """Scan one field in memory: masks, detections, cutouts, scores, vet flags, candidates, maps, parameters.

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
    size = config.cutouts.stamp_pixels(field_image.pixel_scale)
    scored = score_rows(
        detections,
        StampTable(objid, joined([s.stats for s in shards]), size),
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
    return measure_candidates(
        scored,
        ((int(shard.rows[0]), (shard.image, shard.ivar, shard.mask)) for shard in shards),
        ensemble=ensemble,
        bands=field_image.bands,
        pixel_scale=field_image.pixel_scale,
        size=size,
        wcs=field_image.wcs,
        config=config,
    )
