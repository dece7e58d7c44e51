"""The best rows of a large catalogue kept together in one file, so that a list of the best opens no field's file.

The best rows lie scattered over all fields. `index/best.parquet` of a scan's output holds copies of the best hundredth,
sorted, with the generation of every field that they were taken from: rows of a field that has been rerun since are
passed over and looked for in its own file. The file may be removed; a query without it gives the same and takes longer.
Where it is written anew while a query reads it, the query is answered without it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue.conditions import Conditions
from pipeline.catalogue.footers import opened, read_footers
from pipeline.catalogue.rows import best_rows, every_row, sorted_best_first
from pipeline.catalogue.sources import Source, open_source
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place
from pipeline.io.tables import parquet_bytes
from pipeline.io.writing import atomic_write

SMALLEST = 200_000
"""Rows below which a catalogue needs no index."""

SHARE, LEAST, MOST = 0.01, 20_000, 500_000
"""Part of the rows that is kept, and the fewest and the most of them."""

_ROW_GROUP = 5_000
_MOST_STALE = 0.1
_KEY = b"lensscan:best"
_NAME = "index/best.parquet"


@dataclass(frozen=True)
class BestIndex:
    """The index as it is now.

    Attributes
    ----------
    source : Source
        Its rows; every row of the catalogue whose score is above `above`, but for those of stale fields.
    above : float
    stale : frozenset of str
        Fields that were published since, or are gone.
    """

    source: Source
    above: float
    stale: frozenset[str]


def write_best_index(output: Place) -> int:
    """Write the index of a scan's candidates, unless the one that is there is of all that is live.

    Parameters
    ----------
    output : Path or ObjectPath
        A scan's output folder.

    Returns
    -------
    int
        Rows in it; 0 where the catalogue is small enough without one, and none is left there.
    """
    source = open_source(output)
    rows = int(source.groups.rows.sum())
    if rows < SMALLEST:
        (output / _NAME).unlink(missing_ok=True)
        return 0
    there = _open(source, Conditions())
    if there is not None and not there.stale:
        return int(there.source.groups.rows.sum())
    most = int(np.clip(rows * SHARE, LEAST, MOST))
    table = best_rows(source, Conditions(min_score=0.0), source.columns, most)
    above = -1.0
    if len(table) == most:
        # Some rows of the last one's score may not be there: the index is complete above it.
        above = float(table["score"][-1].as_py())
        table = table.slice(0, int(np.searchsorted(-table["score"].to_numpy(), -above)))
    said = {"above": above, "fields": _places(source)}
    packed = base64.b64encode(zlib.compress(json.dumps(said, sort_keys=True).encode(), 9))
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: packed})
    atomic_write(output / _NAME, parquet_bytes(marked, row_group=_ROW_GROUP))
    return len(table)


def best_of(source: Source, asked: Conditions, columns: Sequence[str], top: int) -> pa.Table:
    """What `best_rows` gives, by the index where it holds the answer."""
    index = _open(source, asked)
    if index is None:
        return best_rows(source, asked, columns, top)
    wanted = [name for name in source.columns if name in {*columns, "score", "field_id", "objid"}]
    inside = replace(asked, barred=index.stale, min_score=asked.min_score if asked.min_score is not None else 0.0)
    found = best_rows(index.source, inside, wanted, top)
    if len(found) < top or _open(source, asked) is not index:
        return best_rows(source, asked, columns, top)
    # A row that takes one's place is no worse than the last.
    bound = replace(asked, min_score=float(found["score"][-1].as_py())) if top else asked
    return _with_stale(source, bound, index, found, columns).slice(0, top)


def every_one(source: Source, asked: Conditions, columns: Sequence[str]) -> pa.Table:
    """All rows, best first, by the index where the lowest score asked for is in it."""
    index = _open(source, asked) if asked.min_score is not None else None
    if index is None or asked.min_score is None or not np.float32(asked.min_score) > index.above:
        return sorted_best_first(every_row(source, asked, columns), columns)
    wanted = [name for name in source.columns if name in {*columns, "score", "field_id", "objid"}]
    found = every_row(index.source, replace(asked, barred=index.stale), wanted)
    if _open(source, asked) is not index:
        return sorted_best_first(every_row(source, asked, columns), columns)
    return _with_stale(source, asked, index, found, columns)


def _with_stale(
    source: Source, asked: Conditions, index: BestIndex, found: pa.Table, columns: Sequence[str]
) -> pa.Table:
    """Rows of the index, and those of fields that changed since from their own files, best first."""
    parts = [found]
    if index.stale and source.fields is not None:
        files = frozenset(at for at, field in enumerate(source.fields) if field in index.stale)
        parts.append(every_row(source, replace(asked, files=files), found.column_names))
    return sorted_best_first(pa.concat_tables(parts), columns)


_indices: dict[str, tuple[Any, Source, BestIndex | None]] = {}


def _open(source: Source, asked: Conditions) -> BestIndex | None:
    """The index, where there is one that helps: a small region is found faster without."""
    if source.output is None or source.fields is None or asked.region is not None:
        return None
    file = source.output / _NAME
    try:
        token = file.info().etag if isinstance(file, ObjectPath) else _local_token(file)
    except FileNotFoundError:
        return None
    known = _indices.get(str(file))
    if known is None or known[:2] != (token, source):
        known = _indices[str(file)] = (token, source, _read(source, file, token))
    return known[2]


def _read(source: Source, file: Place, token: Any) -> BestIndex | None:
    (footer,) = read_footers([file], [token])
    packed = pq.read_metadata(opened(file)).metadata.get(_KEY)
    if packed is None or footer.schema.remove_metadata() != source.schema.remove_metadata():
        return None  # a field has come with other columns since
    said = json.loads(zlib.decompress(base64.b64decode(packed)))
    live, there = _places(source), said["fields"]
    stale = frozenset(field for field in live.keys() | there.keys() if live.get(field) != there.get(field))
    if len(stale) > len(live) * _MOST_STALE:
        return None
    return BestIndex(Source((file,), None, (footer,), footer.schema), float(said["above"]), stale)


def _local_token(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def _places(source: Source) -> dict[str, str]:
    """Field -> name of the generation that its rows are of."""
    return dict(zip(source.fields or (), (file.parent.name for file in source.files), strict=True))
