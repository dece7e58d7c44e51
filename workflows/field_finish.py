"""A field's end: its scores published, its catalogue rows written, and the cutouts that do not stay let go."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.errors import BadSurveyData, ProductMismatch
from pipeline.field import Field
from pipeline.geometry import FieldGeometry, primary
from pipeline.io import cutout_store
from pipeline.io.cutout_store import CutoutStore
from pipeline.io.embeddings import EMBEDDINGS_FILE, write_embeddings
from pipeline.io.places import place
from pipeline.models.ensemble import Ensemble
from pipeline.provenance import STAGES
from pipeline.scan.detect import Detections
from pipeline.scan.measured import Planes, measure_candidates, shards_with_candidates
from pipeline.scan.rows import Origin, ScoredRows, StampTable, joined, score_rows
from workflows import field_tables
from workflows.field_cutouts import CutoutSource, Fresh, Stored, Tally, kept_rows, shards_of, write_cutouts
from workflows.field_cutting import FieldTask, opened
from workflows.field_embeddings import gather
from workflows.job import Job
from workflows.publisher import Publisher
from workflows.remembered import computing, ensemble_of, geometry_of


@dataclass(frozen=True)
class CutField:
    """What the finish of a field knows of its cutouts.

    Attributes
    ----------
    detections : Detections
    stamps : StampTable
    pixel_scale : float
    seeing : mapping of band to arcsec
    store : CutoutStore or None
        The live one; None where none was published.
    fresh : Fresh or None
        The field itself, if this task has it open.
    notes : sequence of str
        For the manifest of cutouts that are not yet published.
    """

    detections: Detections
    stamps: StampTable
    pixel_scale: float
    seeing: dict[str, float]
    store: CutoutStore | None
    fresh: Fresh | None = None
    notes: Sequence[str] = ()


def stored_field(task: FieldTask) -> CutField:
    """A field whose cutouts are published."""
    output = place(task.job.output)
    folder = output / task.live("cutouts").place
    store = cutout_store.open_store(folder)
    detections = field_tables.read_detections(output / task.live("detect").place, task.job.config.bands)
    return CutField(detections, field_tables.read_stamps(folder), store.pixel_scale, cutout_store.seeing(folder), store)


def passed_field(fresh: Fresh, tally: Tally, notes: Sequence[str]) -> CutField:
    """A field whose cutouts went by without being stored."""
    stats = joined([part for _, part in tally.parts])
    objid = np.concatenate([ids for ids, _ in tally.parts] or [np.empty(0, np.int64)])
    image = fresh.field_image
    seeing = {str(band): float(value) for band, value in image.meta.get("seeing", {}).items()}
    stamps = StampTable(objid, stats, fresh.size)
    return CutField(fresh.detections, stamps, image.pixel_scale, seeing, None, fresh, notes)


def finish(task: FieldTask, writer: Publisher, cut: CutField, generation: str, near: Sequence[Field]) -> int:
    """Publish scores, the cutouts that stay, and the catalogue rows; gives their number.

    Cutouts come before the catalogue, which says where they are: a field that is done has let go of what does not stay.
    """
    job, name = task.job, task.name
    ensemble = ensemble_of(job)
    if "score" in task.redo:
        objid, _ = field_tables.read_score_parts(writer.go_on("score", generation), ensemble.names)
        _conserve(name, len(cut.detections), len(cut.stamps.objid), len(objid))
        writer.publish("score", rows=len(objid))
    objid, answers = field_tables.read_score_parts(place(job.output) / task.live("score").place, ensemble.names)
    _conserve(name, len(cut.detections), len(cut.stamps.objid), len(objid))
    owners = [_neighbour(job, other) for other in near]
    scored = score_rows(
        cut.detections,
        cut.stamps,
        objid,
        answers,
        is_primary=primary(geometry_of(job, task.field), owners, cut.detections.ra, cut.detections.dec),
        ensemble=ensemble,
        bands=job.config.bands,
        vet=job.config.vet,
        candidates=job.config.candidates,
        origin=Origin(task.field.survey, task.field.release, name, job.config.scan_id, job.config.cutouts.shard),
        seeing=cut.seeing,
    )
    kept = kept_rows(scored, job.config.cutouts.keep) if len(scored.row) else None
    gathered = gather(task, scored, answers, ensemble)
    looked_at = None if gathered is None else gathered.rows_to_look_at()
    source = _source(task, writer, cut, scored, kept, ensemble, looked_at)
    scored = _measured(task, scored, cut, source, ensemble)
    if cut.store is None or cut.store.kept != kept:
        _keep(task, writer, cut, source, kept)
    embeddings = None if gathered is None else gathered.completed(source, cut.pixel_scale)
    folder = writer.begin("candidates")
    field_tables.write_scored(folder, scored, job.config, ensemble)
    counts = {
        "detections": len(cut.detections),
        "cutouts": len(cut.stamps.objid),
        "scored": len(objid),
        "unscorable": scored.unscorable,
        "stopped": scored.stopped,
        "candidates": int(scored.is_candidate.sum()),
    }
    about = None
    if embeddings is not None:
        write_embeddings(folder / EMBEDDINGS_FILE, embeddings)
        counts["embedded"] = int(np.isfinite(embeddings.vectors).all(axis=1).sum())
        about = {"embeddings": {**asdict(embeddings.kind), "scores": task.wanted["score"]}}
    writer.publish("candidates", rows=len(objid), counts=counts, about=about)
    writer.sweep(STAGES)
    return len(objid)


def _neighbour(job: Job, other: Field) -> FieldGeometry:
    """Where a field lies that owns some of this one's objects.

    Raises
    ------
    OSError
        If its file has gone bad since the plan: that field's fault and not this one's, which is tried again.
    """
    try:
        return geometry_of(job, other)
    except BadSurveyData as error:
        raise OSError(errno.ESTALE, f"neighbour {other.field_id} has changed since the scan began: {error}") from error


def _source(
    task: FieldTask,
    writer: Publisher,
    cut: CutField,
    scored: ScoredRows,
    kept: tuple[int, ...] | None,
    ensemble: Ensemble,
    looked_at: set[int] | None,
) -> CutoutSource:
    """Where the cutouts that are needed come from: the store, or the field, cut again, if it lacks some."""
    if cut.fresh is not None:
        return cut.fresh
    store = cut.store
    if store is None:
        raise ProductMismatch(f"field {task.name}: cutouts are not there; rerun the field from cutouts.")
    measured = scored.row[scored.is_candidate].tolist() if ensemble.measurers() else []
    needed = {*measured, *(kept or ()), *(looked_at or ())}
    if store.kept is None or (kept is not None and needed <= set(store.kept)):
        return Stored(store)
    reading = FieldTask(task.job, task.field, task.wanted, (), task.provenance)
    return opened(reading, writer, [])


def _measured(
    task: FieldTask, scored: ScoredRows, cut: CutField, source: CutoutSource, ensemble: Ensemble
) -> ScoredRows:
    """The rows with maps and lens parameters of the candidates, where the ensemble has any; one shard at a time."""
    if not ensemble.measurers() or not scored.is_candidate.any():
        return scored
    config = task.job.config

    def shards() -> Iterator[tuple[int, Planes]]:
        for index, packed in source.shards(shards_with_candidates(scored)):
            stamps = packed.stamps()
            yield index * config.cutouts.shard, (stamps.image, stamps.ivar, stamps.mask)

    wcs = geometry_of(task.job, task.field).wcs
    with computing(task.job) as own:
        return measure_candidates(
            scored,
            shards(),
            ensemble=own,
            bands=config.bands,
            pixel_scale=cut.pixel_scale,
            size=cut.stamps.size,
            wcs=wcs,
            config=config,
        )


def _keep(
    task: FieldTask, writer: Publisher, cut: CutField, source: CutoutSource, kept: tuple[int, ...] | None
) -> None:
    """Publish the cutouts that stay, in the place of those that are live, if any are."""
    config = task.job.config.cutouts
    folder = writer.begin("cutouts")
    if kept is None and isinstance(source, Fresh):
        write_cutouts(folder, source)
    else:
        store = cutout_store.create(
            folder,
            bands=task.job.config.bands,
            pixel_scale=cut.pixel_scale,
            rows=len(cut.detections),
            size=cut.stamps.size,
            chunk=config.chunk,
            shard=config.shard,
            codec=config.codec,
            seeing=cut.seeing,
            kept=kept,
        )
        cutout_store.write_kept(store, source.shards(shards_of(kept or (), config.shard)))
        field_tables.write_stamps(folder, [(cut.stamps.objid, cut.stamps.stats)], cut.stamps.size)
    notes = cut.notes if cut.store is None else task.live("cutouts").notes
    publish_cutouts(writer, len(cut.detections), notes, amend=cut.store is not None)


def publish_cutouts(writer: Publisher, rows: int, notes: Sequence[str], *, amend: bool = False) -> None:
    """Publish the cutouts of a field, or what is left of them, begun before."""
    writer.publish("cutouts", rows=rows, counts={"detections": rows, "cutouts": rows}, notes=notes, amend=amend)


def _conserve(field_id: str, detections: int, cutouts: int, scores: int) -> None:
    if not detections == cutouts == scores:
        raise ProductMismatch(
            f"field {field_id}: {detections} detections, {cutouts} cutouts and {scores} scores are not equally many; "
            f"nothing was published. Rerun the field from masks."
        )
