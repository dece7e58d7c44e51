"""A table of labels over the cutouts of a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from pipeline.io.id_tables import integer, read_columns
from pipeline.io.pools import plain_kinds
from pipeline.io.products import live_files
from pipeline.io.tables import read_table
from pipeline.train.data_config import TableConfig
from pipeline.train.sources.cutouts import FieldCutouts, read_cutouts, rows_of_part, scan_fields
from pipeline.train.sources.opened import Opened, Rows, label_of


@dataclass(frozen=True)
class Label:
    """One row of a label table; `field_id` is None where the table doesn't say."""

    objid: int
    lens: bool
    field_id: str | None


def open_table(config: TableConfig, bands: tuple[str, ...]) -> Opened:
    """The cutouts that a table labels, in the order of field and place.

    An objid that stands in several fields, without a `field_id` in the table, is its primary copy where the scan
    has scores that say which that is.

    Raises
    ------
    ConfigError
        If the table can't be read or doesn't match the cutouts.
    """
    path = Path(config.table)
    labels = read_labels(path)
    fields = scan_fields(config.scan, bands)
    where = _places(labels, fields, path, config.scan)
    order = np.lexsort((where[:, 1], where[:, 0]))
    numbers, places = where[order, 0], where[order, 1]
    lens = np.array([labels[index].lens for index in order.tolist()], np.bool_)
    kept = rows_of_part(config, fields, numbers, places)
    numbers, places, lens = numbers[kept], places[kept], lens[kept]
    return Opened(
        str(config),
        lens,
        plain_kinds(lens),
        lambda rows: read_cutouts(fields, numbers[rows], places[rows]),
        lambda row: f"{path}: objid {fields[numbers[row]].objid[places[row]]}",
    )


def read_labels(path: Path) -> list[Label]:
    """Rows of a table with `objid`, `label` and perhaps `field_id`.

    Ids are integers from the file to the answer: none goes through a float.

    Parameters
    ----------
    path : Path
        Parquet by its suffix, CSV otherwise (comment lines with `#`).

    Raises
    ------
    ConfigError
        If it can't be read, lacks a column, or has an id that is no integer, an id twice, or a label that is
        neither 0 nor 1.
    """
    columns = read_columns(path, ("objid", "label"), ("field_id",))
    names = columns.get("field_id", [None] * len(columns["objid"]))
    found: dict[tuple[str | None, int], Label] = {}
    for given, value, name in zip(columns["objid"], columns["label"], names, strict=True):
        objid = integer(given, path)
        field_id = None if name is None else str(name)
        if (field_id, objid) in found:
            raise ConfigError(f"{path}: objid {objid} stands there twice; keep one row of it.")
        found[field_id, objid] = Label(objid, label_of(value, f"{path}: objid {objid}"), field_id)
    if not found:
        raise ConfigError(f"{path}: no row in it; give objid and label of some cutouts.")
    return list(found.values())


def _places(labels: Sequence[Label], fields: Sequence[FieldCutouts], path: Path, scan: str) -> Rows:
    """Field and place in it of each label's cutout, int64 (n, 2)."""
    copies: dict[int, list[tuple[int, int]]] = {label.objid: [] for label in labels}
    for number, field in enumerate(fields):
        for place, objid in enumerate(field.objid.tolist()):
            if objid in copies:
                copies[objid].append((number, place))
    primary: Mapping[str, set[int]] | None = None
    where, lost = np.empty((len(labels), 2), np.int64), []
    for row, label in enumerate(labels):
        found = copies[label.objid]
        if label.field_id is not None:
            found = [copy for copy in found if fields[copy[0]].field_id == label.field_id]
        if len(found) > 1:
            if primary is None:
                primary = _primary_ids(scan)
            names = ", ".join(fields[copy[0]].field_id for copy in found)
            found = [copy for copy in found if label.objid in primary.get(fields[copy[0]].field_id, ())]
            if len(found) != 1:
                raise ConfigError(
                    f"{path}: objid {label.objid} has cutouts in fields {names}; add a column field_id to say which."
                )
        if found:
            where[row] = found[0]
        else:
            lost.append(label.objid)
    if lost:
        raise ConfigError(
            f"{path}: {len(lost)} of {len(labels)} ids have no cutout in {scan}, the first is {lost[0]}; remove them, "
            "or name the scan that they come from."
        )
    repeated = np.flatnonzero(np.unique(where, axis=0, return_counts=True)[1] > 1)
    if repeated.size:
        number, place = np.unique(where, axis=0)[repeated[0]].tolist()
        raise ConfigError(f"{path}: objid {fields[number].objid[place]} stands there twice; keep one row of it.")
    return where


def _primary_ids(scan: str) -> dict[str, set[int]]:
    """Ids of the primary rows of each field; empty where the scan has no scores."""
    found = {}
    for field_id, path in live_files(Path(scan), "candidates", "scores.parquet").items():
        table = read_table(path)
        found[field_id] = set(table["objid"].to_numpy()[table["is_primary"].to_numpy()].tolist())
    return found
