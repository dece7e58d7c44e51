"""A field's embeddings, from the scoring of its shards to its catalogue.

The pass that scores a shard makes embeddings of all that it sees, before anybody knows which rows become candidates.
They wait in parts beside the field's candidates, in a folder that no manifest names; the field's finish takes what
stays, publishes it with the candidates by one manifest, and sweeps the rest away. What the finish does not find,
because the scores were there before embeddings were asked for, it has the one network look at again, batch by batch as
in scoring, so that the bytes are the same by either way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ProductMismatch
from pipeline.io import products
from pipeline.io.embeddings import EMBEDDINGS_FILE, EmbeddingFile, EmbeddingKind, Embeddings, write_embeddings
from pipeline.io.places import Place, place
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import embedding_width
from pipeline.provenance import fingerprint
from pipeline.scan.rows import ScoredRows
from pipeline.scan.score import MemberAnswers, embed_cutouts
from pipeline.scan_config import ScoreConfig
from workflows import field_tables
from workflows.field_cutouts import CutoutSource, shards_of
from workflows.field_cutting import FieldTask
from workflows.job import Job
from workflows.remembered import computing

Bool = npt.NDArray[np.bool_]
Float16 = npt.NDArray[np.float16]
Int64 = npt.NDArray[np.int64]


def kind_of(ensemble: Ensemble, config: ScoreConfig) -> EmbeddingKind | None:
    """What embeddings a scan keeps; None if it keeps none."""
    number = ensemble.embedder(config.embeddings)
    if number is None:
        return None
    member = ensemble.members[number]
    return EmbeddingKind(member.name, member.logit_fingerprint(), config.embeddings_of)


def write_part(
    job: Job,
    field_id: str,
    generation: str,
    index: int,
    objid: Int64,
    answers: MemberAnswers,
    ensemble: Ensemble,
) -> None:
    """Keep the embeddings of one shard until the field is finished, where the scan asks for some."""
    kind = kind_of(ensemble, job.config.score)
    if kind is None or answers.embeddings is None:
        return
    folder = _parts(job, field_id, generation, kind)
    folder.mkdir(parents=True, exist_ok=True)
    write_embeddings(folder / field_tables.part_name(index), Embeddings(kind, objid, answers.embeddings))


def gather(task: FieldTask, scored: ScoredRows, answers: MemberAnswers, ensemble: Ensemble) -> Gathered | None:
    """What is there of the embeddings that a field keeps; None if it keeps none.

    Parameters
    ----------
    task : FieldTask
        With its scores published.
    scored : ScoredRows
        The field's rows, of which the candidates are known.
    answers : MemberAnswers
        In cutting order.
    ensemble : Ensemble
    """
    kind = kind_of(ensemble, task.job.config.score)
    if kind is None:
        return None
    chosen = np.arange(len(scored.row)) if kind.of == "all" else np.flatnonzero(scored.is_candidate)
    member = ensemble.members[ensemble.names.index(kind.member)]
    row = scored.row[chosen].astype(np.int64)
    gathered = Gathered(
        task=task,
        kind=kind,
        ensemble=ensemble,
        answers=answers,
        objid=scored.detections.objid[chosen],
        row=row,
        wanted=np.isfinite(answers.logits[row, ensemble.names.index(kind.member)]),
        vectors=np.full((len(row), embedding_width(member)), np.nan, np.float16),
    )
    gathered.take_parts()
    gathered.take_published()
    return gathered


@dataclass(frozen=True)
class Gathered:
    """The embeddings that a field keeps, as far as they are there.

    Attributes
    ----------
    task : FieldTask
    kind : EmbeddingKind
    ensemble : Ensemble
    answers : MemberAnswers
        In cutting order.
    objid, row : int64 (n,)
        Of the rows that are kept, in the order of the catalogue: id, and row of the cutout.
    wanted : bool (n,)
        Whether the member has seen the stamp.
    vectors : float16 (n, d)
        NaN where there is none yet.
    """

    task: FieldTask
    kind: EmbeddingKind
    ensemble: Ensemble
    answers: MemberAnswers
    objid: Int64
    row: Int64
    wanted: Bool
    vectors: Float16

    @property
    def _shard(self) -> int:
        return self.task.job.config.cutouts.shard

    def _lacking(self) -> Bool:
        return self.wanted & np.isnan(self.vectors).any(axis=1)

    def take_parts(self) -> None:
        """Take what the scoring of shards has left."""
        job, field_id = self.task.job, self.task.name
        folder = _parts(job, field_id, self.task.live("score").place.rpartition("/")[2], self.kind)
        there = products.sizes(folder) or {}
        for index in shards_of(self.row[self._lacking()].tolist(), self._shard):
            name = field_tables.part_name(index)
            part = _read(folder / name) if name in there else None
            if part is not None:
                mine = self.row // self._shard == index
                self._take(mine, part)

    def take_published(self) -> None:
        """Take what is published with candidates of another choice from the same scores, such as of another floor.

        A rerun of the same choice makes its embeddings anew.
        """
        live = products.live_manifest(place(self.task.job.output), self.task.name, "candidates")
        if live is None or EMBEDDINGS_FILE not in live.files or not self._lacking().any():
            return
        of_these_scores = live.provenance.get("embeddings", {}).get("scores") == self.task.wanted["score"]
        if of_these_scores and live.fingerprint != self.task.wanted["candidates"]:
            published = _read(place(self.task.job.output) / live.place / EMBEDDINGS_FILE)
            if published is not None:
                self._take(self._lacking(), published)

    def rows_to_look_at(self) -> set[int]:
        """Rows of the cutouts that the network has to see again: all of each shard that lacks some."""
        rows: set[int] = set()
        for index in shards_of(self.row[self._lacking()].tolist(), self._shard):
            rows |= set(range(index * self._shard, min((index + 1) * self._shard, len(self.answers.logits))))
        return rows

    def completed(self, source: CutoutSource, pixel_scale: float) -> Embeddings:
        """All of them; what is lacking is made from the field's cutouts, one shard at a time.

        Parameters
        ----------
        source : CutoutSource
            With the cutouts of `rows_to_look_at`.
        pixel_scale : float, arcsec
        """
        config = self.task.job.config
        for index, packed in source.shards(shards_of(self.row[self._lacking()].tolist(), self._shard)):
            stamps, first = packed.stamps(), index * self._shard
            with computing(self.task.job) as own:
                made = embed_cutouts(
                    stamps.image,
                    stamps.ivar,
                    stamps.mask,
                    pixel_scale=pixel_scale,
                    bands=config.bands,
                    member=own.members[own.names.index(self.kind.member)],
                    config=config.score,
                    passed=self._passed(first, len(stamps.image)),
                )
            mine = self._lacking() & (self.row // self._shard == index)
            self.vectors[mine] = made[self.row[mine] - first]
        return Embeddings(self.kind, self.objid, self.vectors)

    def _passed(self, first: int, count: int) -> Int64 | None:
        """Which of a shard's stamps the gates have passed; None without a cascade."""
        if self.answers.gates is None:
            return None
        stopped = self.ensemble.gates().stops(self.answers.gates[first : first + count])
        return np.flatnonzero(~stopped)

    def _take(self, mine: Bool, stored: Embeddings) -> None:
        """Fill in some rows from others with their objids."""
        if stored.vectors.shape[1] != self.vectors.shape[1] or not len(stored.objid):
            return
        if (stored.kind.member, stored.kind.identity) != (self.kind.member, self.kind.identity):
            return
        order = np.argsort(stored.objid, kind="stable")
        ids = stored.objid[order]
        at = np.minimum(np.searchsorted(ids, self.objid), len(ids) - 1)
        known = mine & (ids[at] == self.objid)
        self.vectors[known] = stored.vectors[order[at[known]]]


def _parts(job: Job, field_id: str, generation: str, kind: EmbeddingKind) -> Place:
    """Where the parts of one generation of scores wait, apart from those of another network."""
    which = fingerprint([kind.member, kind.identity])[:16]
    return place(job.output) / products.generation_place("candidates", field_id, f"{generation}.embedded-{which}")


def _read(path: Place) -> Embeddings | None:
    """What a file holds; None if it can't be read, and its rows have to be made again."""
    try:
        return EmbeddingFile(path).whole()
    except ProductMismatch:
        return None
