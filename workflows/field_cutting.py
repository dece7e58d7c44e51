"""A field from its files to what can be cut: masks and detections, made or read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadSurveyData, NoCoverage, ProductMismatch
from pipeline.field import Field, FieldImage
from pipeline.io import cutout_store, products
from pipeline.io.places import file_identity, place
from pipeline.notes import listening
from pipeline.scan.detect import Detections, detect
from pipeline.scan.held import held
from pipeline.scan.masks import FieldMasks, find
from workflows import field_tables
from workflows.field_cutouts import Fresh
from workflows.job import Job
from workflows.publisher import Publisher
from workflows.remembered import survey_of
from workflows.wanted import pixel_files


@dataclass(frozen=True)
class FieldTask:
    """One field in a task that writes some of its stages."""

    job: Job
    field: Field
    wanted: Mapping[str, str]
    redo: Sequence[str]
    provenance: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The field's own."""
        return self.field.field_id

    def publisher(self, *, empty: bool = False) -> Publisher:
        """What writes its products."""
        return Publisher(self.job, self.name, self.wanted, self.provenance, empty=empty)

    def live(self, stage: str) -> products.Manifest:
        """The live product of a stage; raises ProductMismatch if there is none."""
        return live(self.job, self.name, stage)


def live(job: Job, field_id: str, stage: str) -> products.Manifest:
    """The live product of a field's stage; raises ProductMismatch if there is none."""
    manifest = products.live_manifest(place(job.output), field_id, stage)
    if manifest is None:
        raise ProductMismatch(f"field {field_id}: {stage} is not there; rerun the field from {stage}.")
    return manifest


@contextmanager
def cutting(task: FieldTask, writer: Publisher) -> Iterator[list[str]]:
    """Gives the list of what is noted of the field while it is worked on.

    A field without coverage ends here, as a success with zero rows; what was odd before goes with an error.
    """
    with listening() as heard:
        try:
            yield heard
        except NoCoverage as nothing:
            _publish_empty(task, writer, [*heard, str(nothing)])
        except BadSurveyData as error:
            # What was odd before may well be why.
            raise BadSurveyData(" ".join([str(error), *(f"Noted before: {text}" for text in heard)])) from error


def opened(task: FieldTask, writer: Publisher, heard: list[str]) -> Fresh:
    """A field with its masks and detections: those to redo are made and published, the others read back.

    Each product carries what was `heard` while it was made.
    """
    output, config = place(task.job.output), task.job.config
    survey = survey_of(task.job)
    files = survey.open(task.field, config.bands)
    field_image, memory = held(files, config.memory)
    if "masks" in task.redo:
        survey.check_masks(files)
        masks = find(field_image, config.masks, memory)
        field_tables.write_masks(writer.begin("masks"), masks)
        writer.publish("masks", rows=0, notes=taken(heard))
    else:
        masks = field_tables.read_masks(output / task.live("masks").place)
    if "detect" in task.redo:
        detections = _detect(task, field_image, masks, memory)
        field_tables.write_detections(writer.begin("detect"), detections)
        writer.publish("detect", rows=len(detections), notes=taken(heard))
    else:
        detections = field_tables.read_detections(output / task.live("detect").place, config.bands)
    return Fresh(field_image, masks, detections, config, memory)


def taken(heard: list[str]) -> list[str]:
    """What was heard since this was last asked."""
    notes = list(heard)
    heard.clear()
    return notes


def input_bytes(task: FieldTask) -> int:
    """Size of the files that a field's bands are read from."""
    return sum(max(0, int(file_identity(path)[1])) for path in pixel_files(task.job.config, task.field))


def all_kept(job: Job, field_id: str) -> bool:
    """Whether the live cutouts of a field, where there are any, are those of every detection."""
    manifest = products.live_manifest(place(job.output), field_id, "cutouts")
    return manifest is None or cutout_store.open_store(place(job.output) / manifest.place).kept is None


def _detect(task: FieldTask, field_image: FieldImage, masks: FieldMasks, memory: float) -> Detections:
    """Detections that keep the ids of the field's previous generation."""
    output, config = place(task.job.output), task.job.config
    before = products.live_manifest(output, task.name, "detect")
    previous = field_tables.read_detections(output / before.place, config.bands) if before is not None else None
    external = None
    if config.detect.method == "catalogue":
        external = survey_of(task.job).detections(task.field, field_image)
    return detect(field_image, masks, config.detect, memory, external=external, previous=previous)


def _publish_empty(task: FieldTask, writer: Publisher, notes: Sequence[str]) -> None:
    """A field without coverage: every cutting stage done, with zero rows, and why."""
    config = task.job.config
    empty = task.publisher(empty=True)
    empty.begin("masks")
    empty.publish("masks", rows=0, notes=notes)
    field_tables.write_detections(empty.begin("detect"), field_tables.no_detections(config.bands))
    empty.publish("detect", rows=0)
    folder = empty.begin("cutouts")
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
    empty.publish("cutouts", rows=0)
    writer.wrote += empty.wrote
    writer.bytes += empty.bytes
