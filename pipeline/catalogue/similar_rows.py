"""The rows behind embeddings: which of a field's may be answered, and the best of all fields so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.sources import union_schema
from pipeline.errors import ProductMismatch
from pipeline.io.embeddings import EmbeddingFile
from pipeline.io.places import Place
from pipeline.io.tables import plain, read_table
from pipeline.schema import SCORES, SIMILARITY, arrow_schema

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_ASKED = tuple(column for column in SCORES if column.name in ("objid", "ra", "dec", "vet_flags", "is_primary"))
"""Columns that conditions ask of, `objid` first."""

_COPY_ARCSEC = 1.0
"""A row this near to the example is another field's copy of it."""


@dataclass(frozen=True)
class Conditions:
    """What rows have to fulfil.

    Attributes
    ----------
    objid : int
        Of the example, which no answer has.
    bits : int
        Vet flags of which none may be set.
    primary : bool
        Only primary rows.
    every : bool
        Not only candidates.
    """

    objid: int
    bits: int
    primary: bool
    every: bool


@dataclass(frozen=True)
class FieldRows:
    """One field's catalogue rows, which stand in the order of its embeddings; read when they are first asked for.

    Attributes
    ----------
    folder : Path or ObjectPath
    file : EmbeddingFile
    """

    folder: Place
    file: EmbeddingFile

    @property
    def _name(self) -> str:
        return "scores.parquet" if self.file.kind.of == "all" else "candidates.parquet"

    @cached_property
    def _asked(self) -> pa.Table:
        """What conditions ask of the rows."""
        table = read_table(self.folder / self._name, _ASKED)
        if not np.array_equal(table["objid"].to_numpy(), self.objid):
            raise ProductMismatch(f"{self.folder}: embeddings are not of the rows of {self._name}; rerun the field.")
        return table

    @cached_property
    def objid(self) -> Int64:
        """Of every row."""
        return self.file.objid()

    @cached_property
    def _candidate(self) -> Bool:
        if self.file.kind.of != "all":
            return np.full(self.file.rows, True)
        chosen: Bool = np.isin(
            self.objid, read_table(self.folder / "candidates.parquet", _ASKED[:1])["objid"].to_numpy()
        )
        return chosen

    def table(self, rows: Int64) -> pa.Table:
        """Some rows, in the order given, with all their columns."""
        return read_table(self.folder / self._name).take(pa.array(rows)).combine_chunks()

    def position(self, row: int) -> tuple[float, float]:
        """Right ascension and declination of a row, degrees."""
        return float(self._asked["ra"][row].as_py()), float(self._asked["dec"][row].as_py())

    def allowed(self, rows: Int64, conditions: Conditions, example: tuple[float, float]) -> Bool:
        """Which of some rows may be answered; the example at a position, and its copies, may not.

        Parameters
        ----------
        rows : int64 (n,)
        conditions : Conditions
        example : (ra, dec), degrees

        Returns
        -------
        bool (n,)
        """
        ra, dec = (self._asked[name].to_numpy()[rows] for name in ("ra", "dec"))
        apart = _separation_arcsec(ra, dec, *example)
        flags, primary = (self._asked[name].to_numpy()[rows] for name in ("vet_flags", "is_primary"))
        fit = (self.objid[rows] != conditions.objid) & (apart > _COPY_ARCSEC)
        fit &= (flags & np.uint32(conditions.bits)) == 0
        if conditions.primary:
            fit &= primary
        if not conditions.every:
            fit &= self._candidate[rows]
        chosen: Bool = fit
        return chosen


@dataclass(frozen=True)
class Hits:
    """Rows with their similarity, (n,) each: number of the field, row of its table, objid."""

    similarity: Float32
    field: Int64
    row: Int64
    objid: Int64

    def chosen(self, which: npt.NDArray[np.intp]) -> Hits:
        """Those at some places, in their order."""
        return Hits(self.similarity[which], self.field[which], self.row[which], self.objid[which])


class Best:
    """The most similar rows so far: at most `top`, in order of similarity, then field, then objid."""

    def __init__(self, top: int) -> None:
        self._top = top
        none = np.empty(0, np.int64)
        self.hits = Hits(np.empty(0, np.float32), none, none, none)

    @property
    def floor(self) -> float:
        """Similarity below which a row can't be among them."""
        if not self._top:
            return np.inf
        return float(self.hits.similarity[-1]) if len(self.hits.row) == self._top else -np.inf

    def take(self, found: Hits) -> None:
        """Let more rows compete."""
        both = Hits(
            np.concatenate([self.hits.similarity, found.similarity]),
            np.concatenate([self.hits.field, found.field]),
            np.concatenate([self.hits.row, found.row]),
            np.concatenate([self.hits.objid, found.objid]),
        )
        order = np.lexsort((both.objid, both.field, -both.similarity))
        self.hits = both.chosen(order[: self._top])


def joined(parts: Mapping[int, pa.Table], hits: Hits, none: pa.Table) -> pa.Table:
    """The rows of hits in their order, with `similarity` as the last column.

    Parameters
    ----------
    parts : mapping
        Number of a field -> its rows among the hits, in their order.
    hits : Hits
    none : pyarrow.Table
        No rows, with the columns of an answer without any.

    Raises
    ------
    QueryError
        If two fields hold a column of one name and different types.
    """
    schema = union_schema([table.schema for table in (*parts.values(), none)], [*map(str, parts), "example"])
    order = [np.flatnonzero(hits.field == number) for number in parts]
    back = np.argsort(np.concatenate([np.empty(0, np.intp), *order]))
    together = pa.concat_tables([plain(schema.empty_table()), *map(plain, parts.values())], promote_options="default")
    rows = together.select(schema.names).take(pa.array(back)).combine_chunks().cast(schema)
    return rows.append_column(arrow_schema([SIMILARITY]).field(0), pa.array(hits.similarity))


def _separation_arcsec(
    ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], ra0: float, dec0: float
) -> npt.NDArray[np.float64]:
    """Angle between positions (degrees) and one of them, by the haversine formula."""
    phi, phi0 = np.radians(dec), np.radians(dec0)
    half = np.sin((phi - phi0) / 2) ** 2 + np.cos(phi) * np.cos(phi0) * np.sin(np.radians(ra - ra0) / 2) ** 2
    angle: npt.NDArray[np.float64] = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))) * 3600
    return angle
