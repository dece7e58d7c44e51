"""The objects that the page shows: rows of the catalogue and what is planted, under names that tell nothing of them.

The page knows an object by its token, and by its number among the tokens in alphabetical order, so that neither ids
nor order tell a planted object from a candidate, or a high score from a low one.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue.query import query
from pipeline.errors import QueryError
from pipeline.inspector.history import Key
from pipeline.inspector.planted import Planted, mix, token
from pipeline.io.places import Place

MOST = 100_000
"""Objects that one page holds; a larger catalogue is narrowed down by a condition."""


def read_candidates(
    output: Place, where: str | None = None, *, top: int | None = None, copies: bool = False
) -> tuple[pa.Table, bool]:
    """The candidates to look at, best score first, and whether there were more than `top`, which is at most `MOST`.

    Of an object in overlapping fields its primary row alone, unless `copies`.

    Raises
    ------
    QueryError
        If the condition is refused, or no row fulfils it.
    """
    most = MOST if top is None else min(top, MOST)
    table = query(output, where, top=most + 1, primary=not copies)
    if not len(table):
        raise QueryError(
            f"{output}: no candidate" + (f" with {where}" if where else "") + "; there is nothing to look at."
        )
    return table.slice(0, most), len(table) > most


class Objects:
    """Rows of a catalogue and planted objects, numbered.

    Parameters
    ----------
    output : Path or ObjectPath
        The scan's output, which conditions are asked of.
    table : pyarrow.Table
        See `read_candidates`.
    planted : Planted
    secret : bytes
        `GradesFile.secret`.

    Attributes
    ----------
    keys : list of (field_id, objid)
        By number.
    tokens : list of str
        By number.
    rows : dict
        (field_id, objid) -> row of the table, for those that have one.
    """

    def __init__(self, output: Place, table: pa.Table, planted: Planted, secret: bytes) -> None:
        self.output, self.table, self.planted, self._secret = output, table, planted, secret
        catalogue = _keys(table)
        self.rows = {key: row for row, key in enumerate(catalogue)}
        named = sorted((token(secret, key), key) for key in {*catalogue, *planted.by_key})
        self.tokens = [name for name, _ in named]
        self.keys = [key for _, key in named]
        self._numbers = {key: number for number, key in enumerate(self.keys)}
        self._by_token = {name: number for number, name in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, name: str) -> int | None:
        """Number of a token; None for one that is not there."""
        return self._by_token.get(name)

    def numbers(self, keys: Sequence[Key]) -> list[int]:
        """Numbers of keys, in their order; those that are not shown are left out."""
        return [self._numbers[key] for key in keys if key in self._numbers]

    def stream(self, *, where: str | None = None, sort: str | None = None, descending: bool = True) -> list[int]:
        """Numbers of the candidates that fulfil a condition, sorted by a column; nothing of a pool is among them.

        Parameters
        ----------
        where : str, optional
            As `lensscan query` takes it.
        sort : str, optional
            A column; by score if None. Rows without a value come last; of equal ones the better score comes first.

        Raises
        ------
        QueryError
            If the condition is refused, or there is no such column.
        """
        chosen, inside = self._order(sort, descending), self._inside(where)
        return self.numbers(chosen if inside is None else [key for key in chosen if key in inside])

    def blind_stream(self, grader: str, *, where: str | None = None, share: float = 0.0) -> list[int]:
        """Numbers in an order that is the grader's own and tells nothing, with a share of planted objects.

        It is the same each time, and an object keeps its place among the others when some come or go. A condition lets
        a planted object without a row through where it lets a candidate through that stands for it, always the same:
        whatever is asked, planted objects come and go as the others do.

        Raises
        ------
        QueryError
            If the condition is refused.
        """
        inside = self._inside(where)
        seed = hashlib.blake2b(grader.encode(), key=self._secret, digest_size=32).digest()
        keys = sorted(self.rows, key=lambda key: _place(seed, key))
        stream = mix(keys, self.planted.by_key, share=share, seed=seed)
        return self.numbers(stream if inside is None else [key for key in stream if self._like.get(key, key) in inside])

    @cached_property
    def _like(self) -> dict[Key, Key]:
        """The candidate that stands for each planted object that is none; it stays when others come or go."""
        # Not the order of the tokens: who stands for whom is not to be read off them.
        seed = hashlib.blake2b(b"stands for", key=self._secret, digest_size=32).digest()
        ring = sorted((_place(seed, key), key) for key in self.rows)
        without = [key for key in self.planted.by_key if key not in self.rows]
        return {key: ring[bisect(ring, (_place(seed, key), key)) % len(ring)][1] for key in without}

    def _inside(self, where: str | None) -> set[Key] | None:
        """Keys that fulfil a condition; None for no condition."""
        if where is None or not where.strip():
            return None
        return set(_keys(query(self.output, where, columns=["field_id", "objid"])))

    def _order(self, sort: str | None, descending: bool) -> list[Key]:
        keys = list(self.rows)
        if sort is None or (sort == "score" and descending):
            return keys
        if sort not in self.table.column_names:
            raise QueryError(f"sort: there is no column {sort!r}; columns: {', '.join(self.table.column_names)}.")
        column = self.table[sort]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):
            # NaN would stand before what is missing; both are no value.
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
        rank = pa.table({"value": column, "row": pa.array(range(len(column)), pa.int64())})
        by = [("value", "descending" if descending else "ascending"), ("row", "ascending")]
        order = pc.sort_indices(rank, sort_keys=by)  # what is missing at the end
        return [keys[row] for row in order.to_pylist()]


def _place(seed: bytes, key: Key) -> bytes:
    """A place in an order that tells nothing of the keys."""
    return hashlib.blake2b(f"{key[1]} {key[0]}".encode(), key=seed, digest_size=8).digest()


def _keys(table: pa.Table) -> list[Key]:
    fields = table["field_id"].cast(pa.string()).to_pylist()
    return list(zip(fields, table["objid"].to_pylist(), strict=True))
