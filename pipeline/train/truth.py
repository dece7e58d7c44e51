"""What a simulation put into its stamps: the truth columns of pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.io.npz import Archive
from pipeline.io.pools import labels, opened_pool, pools_of
from pipeline.train.data import allotted

_NO_TRUTH = {"image", "ivar", "mask", "arc", "bands", "kinds"}


def read_truth(patterns: Sequence[str], limit: int | None = None) -> pa.Table:
    """Truth columns of pools, row by row with `read_stamps` of the same patterns and limit.

    Any array of one value a stamp is a column under its name; one of a value a stamp and band is a column for
    each band, `<name>_<band>`. `label` is bool and `kind` the kind's name. Missing numbers are null, also where
    one pool has a column and another has not; integers stay integers.

    Parameters
    ----------
    patterns : sequence of str
        Glob patterns of pools, relative to the working directory.
    limit : int, optional

    Returns
    -------
    pyarrow.Table
        Columns in the order in which the pools name them.

    Raises
    ------
    ConfigError
        If a pattern matches nothing, a pool is damaged, or a column is numbers in one and text in another.
    """
    tables = [_of_pattern(pattern) for pattern in patterns]
    given = allotted([len(table) for table in tables], limit)
    return _joined([table.slice(0, number) for table, number in zip(tables, given, strict=True)])


def _of_pattern(pattern: str) -> pa.Table:
    tables = []
    for path in pools_of([pattern]):
        with opened_pool(path) as archive:
            if "label" not in archive.names:
                raise ConfigError(f"{path}: a pool needs label; it has {', '.join(archive.names)}.")
            lens, kind = labels(archive, path)
            bands = [str(band) for band in archive.whole("bands")] if "bands" in archive.names else []
            columns: dict[str, Any] = {"label": pa.array(lens), "kind": pa.array(kind.tolist(), pa.string())}
            for name in archive.names:
                if name not in _NO_TRUTH and name not in columns:
                    columns |= _columns(archive, name, len(lens), bands)
            tables.append(pa.table(columns))
    return _joined(tables)


def _columns(archive: Archive, name: str, n: int, bands: list[str]) -> dict[str, Any]:
    shape = archive.shape(name)
    if shape == (n,):
        return {name: _column(archive.whole(name))}
    if bands and shape == (n, len(bands)):
        values = archive.whole(name)
        return {f"{name}_{band}": _column(values[:, place]) for place, band in enumerate(bands)}
    return {}


def _column(values: npt.NDArray[Any]) -> Any:
    plain = np.ascontiguousarray(values)
    return pa.array(plain.tolist(), pa.string()) if plain.dtype.kind == "U" else pa.array(plain, from_pandas=True)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ConfigError(f"truth columns of the pools differ in type ({error}); simulate them anew.") from error
