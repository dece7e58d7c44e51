"""The rows that a query asks for: all of them, the best of all, or the best of each field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue.conditions import Conditions
from pipeline.catalogue.reading import each_of, first_wave, in_waves, nothing, read_group
from pipeline.catalogue.sources import Source, text_type

WAVE = 400_000
"""Rows whose deciding columns are in memory at a time."""

_AHEAD = 4
"""The first wave of a search for the best has this many times the rows that are wanted, the next ones twice as many."""

_GROUP, _AT = "__group__", "__at__"


def every_row(source: Source, asked: Conditions, columns: Sequence[str]) -> pa.Table:
    """All rows, unsorted, with what they are sorted by."""
    wanted = list(dict.fromkeys([*columns, *_order(source)]))
    parts = list(rows_as_they_lie(source, asked, wanted))
    return pa.concat_tables([nothing(source, wanted), *parts])


def rows_as_they_lie(source: Source, asked: Conditions, columns: Sequence[str]) -> Iterator[pa.Table]:
    """All rows, in the order of files and of rows in them, a wave of row groups at a time."""
    narrow = [name for name in source.columns if name in asked.columns]
    if not narrow and asked.where is not None:
        narrow = source.columns[:1]  # a condition such as "false" names no column and counts all the same
    rest = [name for name in columns if name not in narrow]
    for wave in in_waves(asked.groups(source), source.groups.rows, WAVE):
        if not narrow:
            yield pa.concat_tables(each_of(source, lambda group: read_group(source, group, columns), list(wave)))
            continue
        tables, kept = _decided(source, asked, wave, narrow)
        items = [(int(group), table, at) for group, table, at in zip(wave, tables, kept, strict=True) if len(at)]

        def whole(item: tuple[int, pa.Table, npt.NDArray[np.int64]]) -> pa.Table:
            group, table, at = item
            more = read_group(source, group, rest) if rest else table
            found = pa.table({name: (table if name in narrow else more)[name] for name in columns})
            return found if len(at) == len(found) else found.take(pa.array(at))

        found = each_of(source, whole, items)
        if found:
            schema = nothing(source, columns).schema
            yield pa.concat_tables([table.cast(schema) for table in found])


def best_rows(source: Source, asked: Conditions, columns: Sequence[str], top: int) -> pa.Table:
    """The `top` best rows, best first.

    Row groups come in the order of their best scores, which their footers tell, until none that is left can hold a
    row that is better than the last one found.
    """
    order = _order(source)
    narrow = [name for name in source.columns if name in asked.columns | set(order)]
    groups = asked.groups(source)
    limit = source.groups.best[groups]
    turn = np.argsort(-limit, kind="stable")
    groups, limit = groups[turn], limit[turn]
    kept = _keys(nothing(source, narrow), order, np.zeros(0, np.int64), np.zeros(0, np.int64))
    start, size = 0, _AHEAD * top
    while start < len(groups) and top > 0:
        full = len(kept) == top
        last = kept["score"][-1].as_py() if full else None
        # NaN, which others' Parquet may hold, stands behind every number as null does.
        worst = last if last is not None and not np.isnan(last) else None
        if full and worst is not None and limit[start] < worst:
            break
        wave = first_wave(groups[start:], source.groups.rows, min(size, WAVE))
        tables, rows = _decided(source, asked, wave, narrow)
        parts = [kept]
        for group, table, at in zip(wave, tables, rows, strict=True):
            good = at if worst is None else at[_not_below(table["score"], worst)[at]]
            parts.append(_keys(table.take(pa.array(good)), order, np.full(len(good), group), good))
        kept = _sorted(pa.concat_tables(parts), order).slice(0, top)
        start, size = start + len(wave), 2 * size
    return _whole_rows(source, kept, columns)


def best_rows_of_fields(source: Source, asked: Conditions, columns: Sequence[str], top: int) -> pa.Table:
    """The `top` best rows of each field, in order of fields and best first in each."""
    order = _order(source)
    narrow = [name for name in source.columns if name in asked.columns | set(order)]
    kept = _keys(nothing(source, narrow), order, np.zeros(0, np.int64), np.zeros(0, np.int64))
    for wave in in_waves(asked.groups(source), source.groups.rows, WAVE):
        tables, rows = _decided(source, asked, wave, narrow)
        parts = [
            _keys(table.take(pa.array(at)), order, np.full(len(at), group), at)
            for group, table, at in zip(wave, tables, rows, strict=True)
        ]
        kept = _first_of_fields(pa.concat_tables([kept, *parts]), order, top)
    return _whole_rows(source, kept, columns)


def sorted_best_first(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """A table of `every_row` in order: score from high to low, null last, then by field and objid."""
    order = [name for name in ("score", "field_id", "objid") if name in table.column_names]
    keys = pa.table({name: table[name].cast(text_type(table[name].type)) for name in order})
    index = pc.sort_indices(keys, sort_keys=_sort_keys(order))
    return table.select(list(columns)).unify_dictionaries().take(index).combine_chunks()


def _decided(
    source: Source, asked: Conditions, groups: npt.NDArray[np.int64], columns: Sequence[str]
) -> tuple[list[pa.Table], list[npt.NDArray[np.int64]]]:
    """The deciding columns of some row groups, and which rows of each fulfil everything."""
    tables = each_of(source, lambda group: read_group(source, group, columns), list(groups))
    keep = asked.chosen(pa.concat_tables(tables))
    return tables, [np.flatnonzero(part) for part in np.split(keep, np.cumsum([len(table) for table in tables])[:-1])]


def _keys(table: pa.Table, order: Sequence[str], group: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> pa.Table:
    """What rows are sorted by, and where they lie."""
    columns = {name: table[name].cast(text_type(table[name].type)) for name in order}
    columns[_GROUP], columns[_AT] = pa.array(group, pa.int64()), pa.array(at, pa.int64())
    return pa.table(columns)


def _sorted(keys: pa.Table, order: Sequence[str]) -> pa.Table:
    return keys.take(pc.sort_indices(keys, sort_keys=_sort_keys(order)))


def _first_of_fields(keys: pa.Table, order: Sequence[str], top: int) -> pa.Table:
    by_field = [("field_id", "ascending"), *(key for key in _sort_keys(order) if key[0] != "field_id")]
    ordered = keys.take(pc.sort_indices(keys, sort_keys=by_field))
    codes = ordered["field_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    rank = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    return ordered.filter(pa.array(rank < top))


def _not_below(score: pa.ChunkedArray, worst: float) -> npt.NDArray[np.bool_]:
    return pc.greater_equal(score, worst).fill_null(False).to_numpy()  # type: ignore[no-any-return]


def _whole_rows(source: Source, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Rows by where they lie, in the order of `keys`."""
    group, at = keys[_GROUP].to_numpy(), keys[_AT].to_numpy()
    order = np.lexsort((at, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    pieces = np.split(order, starts[1:]) if len(starts) else []

    def taken(piece: npt.NDArray[np.int64]) -> pa.Table:
        return read_group(source, int(group[piece[0]]), columns).take(pa.array(at[piece]))

    parts = [nothing(source, columns), *each_of(source, taken, pieces)]
    back = np.argsort(order)
    return pa.concat_tables(parts).unify_dictionaries().take(pa.array(back)).combine_chunks()


def _order(source: Source) -> list[str]:
    """Columns that rows are sorted by, the first one from high to low."""
    return [name for name in ("score", "field_id", "objid") if name in source.columns]


def _sort_keys(order: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, "descending" if name == "score" else "ascending") for name in order]
