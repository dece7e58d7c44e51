"""The tasks of a scan: each reads its inputs from disk, calls the library, writes and publishes.

They run on a worker or in the calling process alike. Arguments are small; results are a few bytes. A task
that ran before, wholly or in part, can run again: cutting writes to a generation of its own, a score part is
replaced by the same bytes, and only a published manifest makes any of it live.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.field import Field
from pipeline.io import cutout_store, products
from pipeline.io.cutout_store import CutoutStore, Packed, Stamps
from pipeline.io.places import place
from pipeline.provenance import STAGES
from pipeline.scan.cutouts import Cutouts
from pipeline.scan.score import ask_members
from workflows import field_embeddings, field_tables
from workflows.field_cutouts import Tally, write_cutouts
from workflows.field_cutting import FieldTask, all_kept, cutting, input_bytes, live, opened, taken
from workflows.field_finish import finish, passed_field, publish_cutouts, stored_field
from workflows.job import Job
from workflows.remembered import computing
from workflows.task_results import CutResult, FinishResult, ScoreResult, WholeResult


def cut_field(
    job: Job, field: Field, wanted: Mapping[str, str], redo: Sequence[str], provenance: Mapping[str, Any]
) -> CutResult:
    """Masks, detections and cutouts of one field; each is published, and done ones are read back.

    A field without coverage is a success with zero rows. Where not all cutouts were kept and there are some to score,
    they are cut again.
    """
    began = time.monotonic()
    task = FieldTask(job, field, wanted, redo, provenance)
    writer = task.publisher()
    again = _cut_again(task)
    bytes_in = 0
    if again or {"masks", "detect", "cutouts"} & set(redo):
        bytes_in = input_bytes(task)
        with cutting(task, writer) as heard:
            fresh = opened(task, writer, heard)
            if again or "cutouts" in redo:
                # What does not stay goes by another name, so that what stays has the same one by every way.
                passing = job.config.cutouts.keep != "all" and len(fresh.detections) > 0
                write_cutouts(writer.begin("cutouts", ".all" if passing else ""), fresh)
                publish_cutouts(writer, len(fresh.detections), taken(heard), amend=again)
        if job.ensemble is None:
            writer.sweep(STAGES[:3])
    manifest = task.live("cutouts")
    store = cutout_store.open_store(place(job.output) / manifest.place)
    generation, shards = "", tuple(range(store.shards))
    if "score" in redo:
        generation, shards = _score_generation(job, task.name, wanted["score"], redo, shards)
    seconds = time.monotonic() - began
    return CutResult(manifest.rows, shards, generation, tuple(writer.wrote), seconds, bytes_in, writer.bytes)


def score_shard(job: Job, field_id: str, index: int, generation: str) -> ScoreResult:
    """Answers of every member for one shard, written as a part of the field's scores."""
    began = time.monotonic()
    folder = place(job.output) / live(job, field_id, "cutouts").place
    store = cutout_store.open_store(folder)
    stamps = cutout_store.read_shard(store, index)
    first, last = store.span(index)
    objid = field_tables.read_stamps(folder).objid[first:last]
    _score(job, field_id, generation, index, stamps, objid, store.pixel_scale)
    return ScoreResult(last - first, time.monotonic() - began)


def finish_field(
    job: Job,
    field: Field,
    wanted: Mapping[str, str],
    redo: Sequence[str],
    generation: str,
    near: Sequence[Field],
    provenance: Mapping[str, Any],
) -> FinishResult:
    """Publish a field's scores, write its catalogue rows, and let go of the cutouts that do not stay.

    `near` are the fields around it, of which the headers are read: they own some of its objects.

    Raises
    ------
    ProductMismatch
        If detections, cutouts and scores are not equally many.
    """
    began = time.monotonic()
    task = FieldTask(job, field, wanted, redo, provenance)
    writer = task.publisher(empty=task.live("cutouts").empty)
    rows = finish(task, writer, stored_field(task), generation, near)
    return FinishResult(rows, tuple(writer.wrote), time.monotonic() - began, writer.bytes)


def scan_field_whole(
    job: Job,
    field: Field,
    wanted: Mapping[str, str],
    redo: Sequence[str],
    near: Sequence[Field],
    provenance: Mapping[str, Any],
) -> WholeResult:
    """All that is to be done of one field, where cutting and scoring share a machine: the bytes of the three tasks.

    Cutouts are scored as they are cut, shard by shard, as a reader of the store would have them. They are written if
    they stay, and not read back. Memory holds a block of rows, or the field where it fits, and one shard.

    Parameters
    ----------
    redo : sequence of str
        Stages to compute; what is not among them is read back.
    near : sequence of Field
        As `finish_field` has it.

    Raises
    ------
    ConfigError
        If the scan has no ensemble: `cut_field` does all of such a one.
    """
    if job.ensemble is None:
        raise ConfigError("a scan without an ensemble has nothing to score; its fields are cut.")
    began = time.monotonic()
    task = FieldTask(job, field, wanted, redo, provenance)
    writer = task.publisher()
    again = _cut_again(task)
    scoring = _Scoring(task)
    fresh, passed, bytes_in = None, None, 0
    if again or {"masks", "detect", "cutouts"} & set(redo):
        bytes_in = input_bytes(task)
        with cutting(task, writer) as heard:
            fresh = opened(task, writer, heard)
            scoring.begin(len(fresh.detections), fresh.field_image.pixel_scale)
            if "cutouts" in redo and (job.config.cutouts.keep == "all" or len(fresh.detections) == 0):
                write_cutouts(writer.begin("cutouts"), fresh, scoring.take)
                publish_cutouts(writer, len(fresh.detections), taken(heard))
            elif again or "cutouts" in redo:
                tally = Tally()
                for cutouts, packed in fresh.cut():
                    tally.take(cutouts)
                    scoring.take(cutouts, packed)
                passed = passed_field(fresh, tally, taken(heard)) if "cutouts" in redo else None
    cut = passed or replace(stored_field(task), fresh=fresh)
    if cut.store is not None and fresh is None:
        scoring.read(cut.store, cut.stamps.objid)
    cut_seconds = time.monotonic() - began - scoring.seconds
    ending = task.publisher(empty=passed is None and task.live("cutouts").empty)
    rows = finish(task, ending, cut, scoring.generation, near)
    return WholeResult(
        rows=rows,
        shards=tuple(scoring.shards),
        wrote=(*writer.wrote, *ending.wrote),
        seconds=time.monotonic() - began,
        cut_seconds=cut_seconds,
        score_seconds=scoring.seconds,
        bytes_in=bytes_in,
        bytes_out=writer.bytes + ending.bytes,
    )


class _Scoring:
    """Scores shards as they come by; remembers which, and how long that took."""

    def __init__(self, task: FieldTask) -> None:
        self._task = task
        self._left: tuple[int, ...] = ()
        self._pixel_scale = 1.0
        self.generation = ""
        self.shards: list[int] = []
        self.seconds = 0.0

    def begin(self, rows: int, pixel_scale: float) -> None:
        """Say how many cutouts there are, of what pixels; parts of the scores that are there already are left."""
        self._pixel_scale = pixel_scale
        if "score" in self._task.redo:
            job = self._task.job
            shards = tuple(range(-(-rows // job.config.cutouts.shard)))
            self.generation, self._left = _score_generation(
                job, self._task.name, self._task.wanted["score"], self._task.redo, shards
            )

    def take(self, cutouts: Cutouts, packed: Packed) -> None:
        """Score a shard on its way from the field."""
        if cutouts.shard in self._left:
            self._score(cutouts.shard, packed.stamps(), cutouts.objid)

    def read(self, store: CutoutStore, objid: npt.NDArray[np.int64]) -> None:
        """Score what is left of a field's stored cutouts."""
        self.begin(store.rows, store.pixel_scale)
        for index in self._left:
            first, last = store.span(index)
            self._score(index, cutout_store.read_shard(store, index), objid[first:last])

    def _score(self, index: int, stamps: Stamps, objid: npt.NDArray[np.int64]) -> None:
        began = time.monotonic()
        _score(self._task.job, self._task.name, self.generation, index, stamps, objid, self._pixel_scale)
        self.shards.append(index)
        self.seconds += time.monotonic() - began


def _score(
    job: Job,
    field_id: str,
    generation: str,
    index: int,
    stamps: Stamps,
    objid: npt.NDArray[np.int64],
    pixel_scale: float,
) -> None:
    """Ask the members of one shard and write their answers."""
    with computing(job) as ensemble:
        answers = ask_members(
            stamps.image,
            stamps.ivar,
            stamps.mask,
            pixel_scale=pixel_scale,
            bands=job.config.bands,
            ensemble=ensemble,
            config=job.config.score,
        )
    # Before the scores, whose part says that a shard is done.
    field_embeddings.write_part(job, field_id, generation, index, objid, answers, ensemble)
    target = place(job.output) / products.generation_place("score", field_id, generation)
    field_tables.write_score_part(target, index, objid, index * job.config.cutouts.shard, answers, ensemble)


def _cut_again(task: FieldTask) -> bool:
    """Whether cutouts are done but not all of them were kept, and all are to be scored."""
    return "cutouts" not in task.redo and "score" in task.redo and not all_kept(task.job, task.name)


def _score_generation(
    job: Job, field_id: str, fingerprint: str, redo: Sequence[str], shards: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Where the parts of a field's scores go, and which are still to write.

    A resumed scan goes on with the parts that are there. A rerun of work that is published starts afresh.
    """
    output = place(job.output)
    live = products.live_manifest(output, field_id, "score")
    if live is not None and live.fingerprint == fingerprint:
        return products.new_generation(output, "score", field_id, fingerprint), shards
    generation = fingerprint[:16]
    there = products.sizes(output / products.generation_place("score", field_id, generation)) or {}
    return generation, tuple(index for index in shards if field_tables.part_name(index) not in there)
