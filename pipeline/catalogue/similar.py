"""Query by example: the rows of a scan whose stamps looked most like one of them to a network of the ensemble.

The scan stores what a member's network makes of a stamp before its last layer, where it is asked to. Two stamps are as
alike as the cosine of the angle between their vectors. The search is exact: every vector is read, a block at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.conditions import flag_bits
from pipeline.catalogue.query import query
from pipeline.catalogue.similar_rows import Best, Conditions, FieldRows, Hits, joined
from pipeline.errors import ProductMismatch, QueryError
from pipeline.io import products
from pipeline.io.embeddings import EMBEDDINGS_FILE, EmbeddingFile
from pipeline.io.live_listing import LiveProduct, live_listing
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place, place
from pipeline.io.run_records import run_records

Float32 = npt.NDArray[np.float32]

STAGE = "candidates"

BYTES_EACH = 45
"""Of an embedding of 64 numbers and its id, compressed: many of the numbers are 0."""

_LARGEST = 2**63
"""An objid is int64."""

_SHOWN = 5
"""Fields that an error names."""


@dataclass(frozen=True)
class Neighbours:
    """What is like an example.

    Attributes
    ----------
    table : pyarrow.Table
        As `similar` gives it.
    objid : int
        Of the example.
    field_id : str
        Whose copy of the example was compared.
    member : str
        By whose embedding.
    compared : int
        Embeddings that were looked at.
    left_out : mapping of str to str
        Fields that were not, and why; empty unless that was allowed.
    """

    table: pa.Table
    objid: int
    field_id: str
    member: str
    compared: int
    left_out: Mapping[str, str]


def similar(
    path: str | Path | ObjectPath,
    objid: int,
    *,
    field_id: str | None = None,
    top: int = 50,
    without: Sequence[str] = (),
    primary: bool = True,
    all: bool = False,
    partial: bool = False,
) -> pa.Table:
    """Rows of a scan's catalogue that look like one of them, the most similar first; the row itself is left out.

    Parameters
    ----------
    path : str, Path or ObjectPath
        A scan's output folder; the scan was asked for embeddings (`embeddings` under `[score]` of its config).
    objid : int
        The example's. Its copies, which are rows with its objid or within an arcsecond of it, are left out with it.
    field_id : str, optional
        The example's field. Where several have the objid, the primary row is the example if no field is given.
    top : int
        At most so many rows.
    without : sequence of str
        Names of vet flags of which none may be set.
    primary : bool
        Each object of overlapping fields once, by its primary row.
    all : bool
        Look among all scored detections instead of the candidates; the scan has to hold embeddings of all.
    partial : bool
        Leave out fields that have no embeddings, or those of another network, instead of refusing.

    Returns
    -------
    pyarrow.Table
        The candidates' columns and `similarity`, float32: the cosine between the two embeddings, -1 to 1. By
        similarity from high to low, then by field and objid. Rows without an embedding have no similarity and are
        left out: no score either, or a gate of the cascade stopped them.

    Raises
    ------
    QueryError
        If the folder is no scan's output, holds no embeddings, or those of several networks; if there is no such
        objid, it stands in several fields none of which has its primary row, or it has no embedding; or if an argument
        is wrong.
    ProductMismatch
        If a file of the scan can't be read, or does not go with its field's catalogue.
    """
    return neighbours(
        path, objid, field_id=field_id, top=top, without=without, primary=primary, all=all, partial=partial
    ).table


def neighbours(
    path: str | Path | ObjectPath,
    objid: int,
    *,
    field_id: str | None = None,
    top: int = 50,
    without: Sequence[str] = (),
    primary: bool = True,
    all: bool = False,
    partial: bool = False,
) -> Neighbours:
    """What `similar` gives, with what was compared; parameters and errors as there."""
    output = place(path)
    if top < 0:
        raise QueryError(f"top: {top} is negative; give the number of rows wanted.")
    if not -_LARGEST <= objid < _LARGEST:
        raise QueryError(f"objid {objid} is no 64-bit number; `lensscan query {output}` lists the candidates'.")
    search = _Search(output, field_id, top, Conditions(objid, flag_bits(without), primary, all), partial)
    try:
        return search.run()
    except (OSError, ProductMismatch):
        # A field's rerun removes the files that it has replaced, perhaps between our listing and reading.
        return search.run()


@dataclass(frozen=True)
class _Search:
    output: Place
    field_id: str | None
    top: int
    conditions: Conditions
    partial: bool

    def run(self) -> Neighbours:
        """One pass over the fields."""
        live = self._live()
        example_field = self._field()
        example = self._rows(live[example_field])
        vector, position = self._example(example, example_field)
        identity, best, compared = example.file.kind.identity, Best(self.top), 0
        left_out: dict[str, str] = {}
        for number, (name, product) in enumerate(live.items()):
            if EMBEDDINGS_FILE not in product.sizes:
                left_out[name] = "no embeddings"
                continue
            rows = self._rows(product)
            if not rows.file.rows:
                continue
            why = self._stranger(rows, identity, len(vector))
            if why:
                left_out[name] = why
                continue
            for first, _, vectors in rows.file.blocks():
                similarity = cosines(vectors, vector)
                near = np.flatnonzero(similarity >= best.floor)
                if len(near):
                    near = near[rows.allowed(first + near, self.conditions, position)]
                    best.take(
                        Hits(similarity[near], np.full(len(near), number), first + near, rows.objid[first + near])
                    )
            compared += rows.file.rows
        if left_out and not self.partial:
            raise self._refusal(left_out, len(live))
        fields = list(live.values())
        parts = {
            number: self._rows(fields[number]).table(best.hits.row[best.hits.field == number])
            for number in dict.fromkeys(best.hits.field.tolist())
        }
        table = joined(parts, best.hits, example.table(np.empty(0, np.int64)))
        return Neighbours(table, self.conditions.objid, example_field, example.file.kind.member, compared, left_out)

    def _live(self) -> Mapping[str, LiveProduct]:
        """Live candidates of every field, in order of the fields; refuses where no field has embeddings."""
        if not self.output.exists():
            raise QueryError(f"{self.output} does not exist; name a scan's output folder.")
        if not (self.output / "scan.json").is_file():
            raise QueryError(f"{self.output} is not a scan's output: only that has embeddings to compare.")
        live = live_listing(self.output, STAGE).products
        if not live:
            raise QueryError(f"{self.output} holds no candidates: run or finish its scan first.")
        if not any(EMBEDDINGS_FILE in product.sizes for product in live.values()):
            raise QueryError(_how_to_get_them(self.output, list(live)))
        return live

    def _field(self) -> str:
        """The field of the example."""
        columns = ["field_id", "is_primary"]
        found = query(self.output, f"objid = {self.conditions.objid}", field=self.field_id, all=True, columns=columns)
        fields = [str(name) for name in found["field_id"].to_pylist()]
        where = f"field {self.field_id} of {self.output}" if self.field_id is not None else str(self.output)
        if not fields:
            raise QueryError(
                f"{where} has no objid {self.conditions.objid}; `lensscan query {self.output}` lists the candidates."
            )
        if len(fields) == 1:
            return fields[0]
        owners = [name for name, mine in zip(fields, found["is_primary"].to_pylist(), strict=True) if mine]
        if len(owners) != 1:
            shown = ", ".join(sorted(fields))
            raise QueryError(
                f"{where}: objid {self.conditions.objid} stands in fields {shown}; say which with --field."
            )
        return owners[0]

    def _example(self, rows: FieldRows, field_id: str) -> tuple[Float32, tuple[float, float]]:
        """The example's vector, of length 1, and position."""
        at = np.flatnonzero(rows.file.objid() == self.conditions.objid)
        about = f"{self.output}: objid {self.conditions.objid} of field {field_id}"
        if not len(at):
            raise QueryError(
                f"{about} is no candidate, and only candidates have embeddings here; set "
                'embeddings_of = "all" under [score] in the scan\'s config and run the scan again.'
            )
        for first, _, vectors in rows.file.blocks():
            if first <= at[0] < first + len(vectors):
                vector = vectors[at[0] - first].astype(np.float32)
                break
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise QueryError(
                f"{about} has no embedding: member {rows.file.kind.member} could not look at its stamp, or a gate of "
                "the cascade stopped it. Take another example."
            )
        return vector / np.float32(length), rows.position(int(at[0]))

    def _rows(self, product: LiveProduct) -> FieldRows:
        if EMBEDDINGS_FILE not in product.sizes:
            raise QueryError(
                f"{self.output}: field {product.field_id} has no embeddings, so objid {self.conditions.objid} can't "
                f"be compared; run the scan again, or `lensscan field SCAN.toml {product.field_id} --from candidates`."
            )
        return FieldRows(product.place, EmbeddingFile(product.place / EMBEDDINGS_FILE))

    def _stranger(self, rows: FieldRows, identity: str, width: int) -> str | None:
        """Why a field's embeddings can't be compared with the example, or None."""
        kind = rows.file.kind
        if kind.identity != identity:
            return f"embeddings by {kind.member}, with other weights or input"
        if rows.file.width != width:
            return f"embeddings of {rows.file.width} numbers, not {width}"
        if self.conditions.every and kind.of != "all":
            return "embeddings of candidates alone"
        return None

    def _refusal(self, left_out: Mapping[str, str], fields: int) -> QueryError:
        shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
        more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        key = ' with embeddings_of = "all" under [score]' if self.conditions.every else ""
        return QueryError(
            f"{self.output}: {len(left_out)} of {fields} fields can't be compared with objid "
            f"{self.conditions.objid} ({shown}{more}). Run the scan again{key}, or leave them out with --partial."
        )


def cosines(vectors: npt.NDArray[np.float16], unit: Float32) -> Float32:
    """Cosine of the angle between each vector and one of length 1.

    Parameters
    ----------
    vectors : float16 (n, d)
    unit : float32 (d,)

    Returns
    -------
    float32 (n,)
        At most 1 in size; NaN for a vector with a NaN or of length 0.
    """
    wide = vectors.astype(np.float32)
    # Not by BLAS, whose threads take longer to start than a block of products takes.
    length = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    with np.errstate(invalid="ignore", divide="ignore"):
        answer: Float32 = np.clip(np.einsum("nd,d->n", wide, unit) / length, -1.0, 1.0)
    return answer


def _how_to_get_them(output: Place, fields: Sequence[str]) -> str:
    """What to set and run for embeddings, and what that would cost."""
    counts: Counter[str] = Counter()
    for _, live in products.live_by_field(output, fields, [STAGE]):
        counts.update({name: int(number) for product in live.values() for name, number in product.counts.items()})
    candidates, detections = counts["candidates"], counts["detections"]
    rates = [record.get("rates") for record in run_records(output)]
    each = next((float(rate["score"]) for rate in reversed(rates) if rate and rate.get("score")), None)
    took = "" if each is None else f", at most the {detections * each:,.0f} s of one worker that scoring took"
    return (
        f"{output} has no embeddings to compare. Set `embeddings = true` under [score] in the scan's config and run "
        "`lensscan scan SCAN.toml` again: it keeps masks, detections, cutouts and scores, and has one network look "
        f"once more at {detections:,} cutouts{took}. It writes some {BYTES_EACH * candidates / 1e6:,.2g} MB for "
        f"{candidates:,} candidates."
    )
