"""The tasks of a scan: each reads its inputs from disk, calls the library, writes and publishes.

They run on a worker or in the calling process alike. Arguments are small; results are a few bytes. A task
that ran before, wholly or in part, can run again: cutting writes to a generation of its own, a score part is
replaced by the same bytes, and only a published manifest makes any of it live.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import BadSurveyData, ConfigError, ModelMismatch, NoCoverage, ProductMismatch
from pipeline.field import Field, FieldImage
from pipeline.geometry import FieldGeometry, primary
from pipeline.io import cutout_store, products
from pipeline.io.cutout_store import Stamps
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.notes import listening
from pipeline.provenance import STAGES, fingerprint
from pipeline.scan.cutouts import cut, stamp_pixels
from pipeline.scan.detect import Detections, detect
from pipeline.scan.mapped import Planes, map_candidates, shards_with_candidates
from pipeline.scan.masks import FieldMasks, find
from pipeline.scan.rows import Origin, ScoredRows, score_rows
from pipeline.scan.score import ask_members
from pipeline.scan_config import ScanConfig
from pipeline.surveys import Survey, open_survey
from workflows import field_tables
from workflows.publisher import Publisher


@dataclass(frozen=True)
class Job:
    """What every task of a scan is told: where its output is and which files configure it.

    The keys are hashes of what the files said when the scan was planned: a worker that lives on from an earlier scan
    must not take what it remembers for what is there. `maps`: the ensemble draws some, which needs its device.
    """

    output: str
    config: ScanConfig
    survey: str
    survey_key: str
    ensemble: str | None
    ensemble_key: str
    maps: bool = False


@dataclass(frozen=True)
class CutResult:
    """A field after cutting: its cutouts, the shards still to score, and the stages written."""

    rows: int
    shards: tuple[int, ...]
    score_generation: str
    wrote: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class ScoreResult:
    """A shard after scoring."""

    rows: int
    seconds: float


def cut_field(
    job: Job, field: Field, wanted: Mapping[str, str], redo: Sequence[str], provenance: Mapping[str, Any]
) -> CutResult:
    """Masks, detections and cutouts of one field; each is published, and done ones are read back.

    A field without coverage is a success with zero rows.
    """
    began = time.monotonic()
    wrote: list[str] = []
    if {"masks", "detect", "cutouts"} & set(redo):
        with listening() as heard:
            try:
                wrote = _cut_stages(job, field, wanted, redo, provenance, heard)
            except NoCoverage as nothing:
                wrote = _publish_empty(job, field, wanted, provenance, [*heard, str(nothing)])
            except BadSurveyData as error:
                # What was odd before may well be why.
                raise BadSurveyData(" ".join([str(error), *(f"Noted before: {text}" for text in heard)])) from error
    manifest = _live(job, field.field_id, "cutouts")
    store = cutout_store.open_store(Path(job.output) / manifest.place)
    generation, shards = "", tuple(range(store.shards))
    if "score" in redo:
        generation, shards = _score_generation(job, field.field_id, wanted["score"], redo, shards)
    return CutResult(manifest.rows, shards, generation, tuple(wrote), time.monotonic() - began)


def score_shard(job: Job, field_id: str, index: int, generation: str) -> ScoreResult:
    """Answers of every member for one shard, written as a part of the field's scores."""
    began = time.monotonic()
    output = Path(job.output)
    manifest = _live(job, field_id, "cutouts")
    folder = output / manifest.place
    store = cutout_store.open_store(folder)
    stamps = cutout_store.read_shard(store, index)
    ensemble = _ensemble(str(job.ensemble), job.ensemble_key)
    _fix_threads(job.config.threads)
    answers = ask_members(
        stamps.image,
        stamps.ivar,
        stamps.mask,
        pixel_scale=store.pixel_scale,
        bands=store.bands,
        ensemble=ensemble,
        config=job.config.score,
    )
    first, last = store.span(index)
    objid = field_tables.read_stamps(folder).objid[first:last]
    target = output / products.generation_place("score", field_id, generation)
    field_tables.write_score_part(target, index, objid, first, answers, ensemble)
    return ScoreResult(last - first, time.monotonic() - began)


def finish_field(
    job: Job,
    field: Field,
    wanted: Mapping[str, str],
    redo: Sequence[str],
    generation: str,
    geometry: FieldGeometry,
    neighbours: Sequence[FieldGeometry],
    provenance: Mapping[str, Any],
) -> tuple[str, ...]:
    """Publish a field's scores and write its catalogue rows; returns the stages written.

    Raises
    ------
    ProductMismatch
        If detections, cutouts and scores are not equally many.
    """
    output = Path(job.output)
    name = field.field_id
    ensemble = _ensemble(str(job.ensemble), job.ensemble_key)
    cutouts = _live(job, name, "cutouts")
    stamps = field_tables.read_stamps(output / cutouts.place)
    detections = field_tables.read_detections(output / _live(job, name, "detect").place, job.config.bands)
    writer = Publisher(output, name, wanted, provenance, empty=cutouts.empty)
    if "score" in redo:
        objid, _ = field_tables.read_score_parts(writer.go_on("score", generation), ensemble.names)
        _conserve(name, len(detections), len(stamps.objid), len(objid))
        writer.publish("score", rows=len(objid))
    objid, answers = field_tables.read_score_parts(output / _live(job, name, "score").place, ensemble.names)
    _conserve(name, len(detections), len(stamps.objid), len(objid))
    scored = score_rows(
        detections,
        stamps,
        objid,
        answers,
        is_primary=primary(geometry, neighbours, detections.ra, detections.dec),
        ensemble=ensemble,
        bands=job.config.bands,
        vet=job.config.vet,
        candidates=job.config.candidates,
        origin=Origin(field.survey, field.release, name, job.config.scan_id, job.config.cutouts.shard),
        seeing=cutout_store.seeing(output / cutouts.place),
    )
    scored = _mapped(job, scored, ensemble, output / cutouts.place, geometry)
    field_tables.write_scored(writer.begin("candidates"), scored, job.config, ensemble)
    counts = {
        "detections": len(detections),
        "cutouts": len(stamps.objid),
        "scored": len(objid),
        "unscorable": scored.unscorable,
        "stopped": scored.stopped,
        "candidates": int(scored.is_candidate.sum()),
    }
    writer.publish("candidates", rows=len(objid), counts=counts)
    products.sweep(output, name, STAGES)
    return tuple(writer.wrote)


def _mapped(job: Job, scored: ScoredRows, ensemble: Ensemble, cutouts: Path, geometry: FieldGeometry) -> ScoredRows:
    """The rows with the maps of the candidates, where the ensemble draws any; one shard of cutouts at a time."""
    if ensemble.mapper is None or not scored.is_candidate.any():
        return scored
    store = cutout_store.open_store(cutouts)
    _fix_threads(job.config.threads)

    def shards() -> Iterator[tuple[int, Planes]]:
        for index in shards_with_candidates(scored):
            stamps = cutout_store.read_shard(store, index)
            yield store.span(index)[0], (stamps.image, stamps.ivar, stamps.mask)

    return map_candidates(
        scored,
        shards(),
        ensemble=ensemble,
        bands=store.bands,
        pixel_scale=store.pixel_scale,
        size=store.size,
        wcs=geometry.wcs,
        config=job.config,
    )


def _cut_stages(
    job: Job,
    field: Field,
    wanted: Mapping[str, str],
    redo: Sequence[str],
    provenance: Mapping[str, Any],
    heard: list[str],
) -> list[str]:
    """Write what is to be redone; each product carries what was `heard` while it was made."""
    output, config = Path(job.output), job.config
    survey = _survey(job.survey, job.survey_key)
    field_image = survey.open(field, config.bands)
    writer = Publisher(output, field.field_id, wanted, provenance)
    if "masks" in redo:
        survey.check_masks(field_image)
        masks = find(field_image, config.masks, config.memory)
        folder = writer.begin("masks")
        field_tables.write_masks(folder, masks)
        writer.publish("masks", rows=0, notes=_taken(heard))
    else:
        masks = field_tables.read_masks(output / _live(job, field.field_id, "masks").place)
    if "detect" in redo:
        detections = _detect(job, survey, field, field_image, masks)
        folder = writer.begin("detect")
        field_tables.write_detections(folder, detections)
        writer.publish("detect", rows=len(detections), notes=_taken(heard))
    else:
        detections = field_tables.read_detections(output / _live(job, field.field_id, "detect").place, config.bands)
    if "cutouts" in redo:
        folder = writer.begin("cutouts")
        _write_cutouts(folder, config, field_image, masks, detections)
        counts = {"detections": len(detections), "cutouts": len(detections)}
        writer.publish("cutouts", rows=len(detections), counts=counts, notes=_taken(heard))
    if job.ensemble is None:
        products.sweep(output, field.field_id, STAGES[:3])
    return writer.wrote


def _taken(heard: list[str]) -> list[str]:
    """What was heard since this was last asked."""
    notes = list(heard)
    heard.clear()
    return notes


def _detect(job: Job, survey: Survey, field: Field, field_image: FieldImage, masks: FieldMasks) -> Detections:
    """Detections that keep the ids of the field's previous generation."""
    output, config = Path(job.output), job.config
    before = products.live_manifest(output, field.field_id, "detect")
    previous = field_tables.read_detections(output / before.place, config.bands) if before is not None else None
    external = survey.detections(field, field_image) if config.detect.method == "catalogue" else None
    return detect(field_image, masks, config.detect, config.memory, external=external, previous=previous)


def _write_cutouts(
    folder: Path, config: ScanConfig, field_image: FieldImage, masks: FieldMasks, detections: Detections
) -> None:
    store = cutout_store.create(
        folder,
        bands=field_image.bands,
        pixel_scale=field_image.pixel_scale,
        rows=len(detections),
        size=stamp_pixels(config.cutouts, field_image.pixel_scale),
        chunk=config.cutouts.chunk,
        shard=config.cutouts.shard,
        codec=config.cutouts.codec,
        seeing=field_image.meta.get("seeing", {}),
    )
    shards = []

    def pixels() -> Any:
        for cutouts in cut(field_image, masks, detections, config.cutouts, config.vet, config.memory):
            shards.append((cutouts.objid, cutouts.stats))
            yield Stamps(cutouts.image, cutouts.ivar, cutouts.mask)

    cutout_store.write(store, pixels())
    field_tables.write_stamps(folder, shards, store.size)


def _publish_empty(
    job: Job, field: Field, wanted: Mapping[str, str], provenance: Mapping[str, Any], notes: Sequence[str]
) -> list[str]:
    """A field without coverage: every cutting stage done, with zero rows, and why."""
    config = job.config
    writer = Publisher(Path(job.output), field.field_id, wanted, provenance, empty=True)
    writer.begin("masks")
    writer.publish("masks", rows=0, notes=notes)
    field_tables.write_detections(writer.begin("detect"), field_tables.no_detections(config.bands))
    writer.publish("detect", rows=0)
    folder = writer.begin("cutouts")
    store = cutout_store.create(
        folder,
        bands=config.bands,
        pixel_scale=1.0,
        rows=0,
        size=1,
        chunk=config.cutouts.chunk,
        shard=config.cutouts.shard,
        codec=config.cutouts.codec,
        seeing={},
    )
    cutout_store.write(store, [])
    field_tables.write_stamps(folder, [], store.size)
    writer.publish("cutouts", rows=0)
    return writer.wrote


def _score_generation(
    job: Job, field_id: str, fingerprint: str, redo: Sequence[str], shards: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Where the parts of a field's scores go, and which are still to write.

    A resumed scan goes on with the parts that are there. A rerun of work that is published starts afresh.
    """
    output = Path(job.output)
    live = products.live_manifest(output, field_id, "score")
    if live is not None and live.fingerprint == fingerprint:
        return products.new_generation(output, "score", field_id, fingerprint), shards
    generation = fingerprint[:16]
    folder = output / products.generation_place("score", field_id, generation)
    return generation, tuple(index for index in shards if not (folder / field_tables.part_name(index)).exists())


def _conserve(field_id: str, detections: int, cutouts: int, scores: int) -> None:
    if not detections == cutouts == scores:
        raise ProductMismatch(
            f"field {field_id}: {detections} detections, {cutouts} cutouts and {scores} scores are not equally many; "
            f"nothing was published. Rerun the field from masks."
        )


def _live(job: Job, field_id: str, stage: str) -> products.Manifest:
    manifest = products.live_manifest(Path(job.output), field_id, stage)
    if manifest is None:
        raise ProductMismatch(f"field {field_id}: {stage} is not there; rerun the field from {stage}.")
    return manifest


def _fix_threads(threads: int) -> None:
    """The number of threads is part of what makes bytes equal."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def survey_key(survey: Survey) -> str:
    """Hash of what pixels, masks and detections depend on beside the files."""
    return fingerprint([survey.provenance(), survey.catalogue_provenance(), str(survey.root)])


def ensemble_key(ensemble: Ensemble) -> str:
    """Hash of what scores depend on: networks, weights, calibration and rule."""
    maps = [] if ensemble.mapper is None else [ensemble.mapper.fingerprint()]
    logits = ensemble.fingerprint(cascade=ensemble.cascade is not None)
    return fingerprint([logits, ensemble.calibration_fingerprint(), *maps])


@lru_cache(maxsize=2)
def _survey(path: str, key: str) -> Survey:
    survey = open_survey(path)
    if survey_key(survey) != key:
        raise ConfigError(f"{path}: changed while the scan runs, or differs on this worker; run the scan again.")
    return survey


@lru_cache(maxsize=2)
def _ensemble(path: str, key: str) -> Ensemble:
    ensemble = load_ensemble(path)
    if ensemble_key(ensemble) != key:
        raise ModelMismatch(f"{path}: its packages changed while the scan runs, or differ on this worker; run again.")
    return ensemble
