"""Candidates that people graded, as labels for the cutouts of their scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from pipeline.errors import ConfigError, ProductMismatch
from pipeline.geometry import unit_vectors
from pipeline.io import ownership
from pipeline.io.id_tables import integer, read_columns
from pipeline.io.pools import plain_kinds
from pipeline.train.data_config import Graded, GradedConfig
from pipeline.train.sources.cutouts import FieldCutouts, kept, read_cutouts, rows_of_part, scan_fields
from pipeline.train.sources.opened import Opened, Rows

SAME_PLACE = 1.0
"""Arcsec within which two graded cutouts show one object."""

_LETTERS: tuple[Graded, ...] = ("A", "B", "C", "X")
_IDENTITY = ("survey", "release", "scan_id")


@dataclass(frozen=True)
class GradedRow:
    """One object with a label; `weight` is how often it is drawn."""

    field_id: str
    objid: int
    lens: bool
    weight: float


@dataclass(frozen=True)
class Placed:
    """Labelled objects with their cutouts' places, sorted by field and place.

    Attributes
    ----------
    fields : list of FieldCutouts
    numbers, places : int64 (n,)
        Index into `fields`, and row among the field's cutouts.
    lens : bool (n,)
    weight : float64 (n,)
    """

    fields: list[FieldCutouts]
    numbers: Rows
    places: Rows
    lens: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float64]

    @property
    def position(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Ra and dec of each, ICRS degrees."""
        ra, dec = np.empty(len(self.places)), np.empty(len(self.places))
        for number in np.unique(self.numbers).tolist():
            mine = self.numbers == number
            for angle, all_of_field in zip((ra, dec), self.fields[number].position, strict=True):
                angle[mine] = all_of_field[self.places[mine]]
        return ra, dec

    def name(self, row: int) -> str:
        """What a row is called in errors."""
        field = self.fields[self.numbers[row]]
        return f"objid {field.objid[self.places[row]]} of field {field.field_id}"

    def take(self, rows: Rows) -> Placed:
        """Some of them, ascending."""
        return Placed(self.fields, self.numbers[rows], self.places[rows], self.lens[rows], self.weight[rows])


def open_graded(config: GradedConfig, bands: tuple[str, ...]) -> Opened:
    """The cutouts of the candidates that were graded, or of those in some cells of the sky.

    Raises
    ------
    ConfigError
        If the table is not one of grades, or of another scan, leaves nothing to learn from, calls one object both, or
        an object has no cutout.
    """
    placed = place_graded(config, bands)
    there = kept(placed.fields, placed.numbers, placed.places)
    if not there.all():
        first = placed.name(int(np.flatnonzero(~there)[0]))
        raise ConfigError(
            f"{config.table}: {(~there).sum():,} of {len(there):,} graded objects have no cutout, since {config.scan} "
            f'did not keep them (the first is {first}); set cut_again = "SCAN.toml", the config of that scan, in the '
            'source to have them cut once more, or scan with cutouts.keep = "all".'
        )
    placed = placed.take(rows_of_part(config, placed.fields, placed.numbers, placed.places))
    return Opened(
        str(config),
        placed.lens,
        plain_kinds(placed.lens),
        lambda rows: read_cutouts(placed.fields, placed.numbers[rows], placed.places[rows]),
        lambda row: f"{config.table}: {placed.name(row)}",
        weight=placed.weight if config.weigh else None,
    )


def place_graded(config: GradedConfig, bands: tuple[str, ...]) -> Placed:
    """Every graded object that has a label, with the place of its cutout, kept or not; raises as `open_graded`."""
    rows = read_graded(config)
    fields = scan_fields(config.scan, bands, sorted({row.field_id for row in rows}))
    number = {field.field_id: index for index, field in enumerate(fields)}
    place = [{objid: row for row, objid in enumerate(field.objid.tolist())} for field in fields]
    where = np.full((len(rows), 2), -1, np.int64)
    for index, row in enumerate(rows):
        field = number.get(row.field_id)
        if field is not None and row.objid in place[field]:
            where[index] = field, place[field][row.objid]
    if lost := [row for row, (_, found) in zip(rows, where.tolist(), strict=True) if found < 0]:
        raise ConfigError(
            f"{config.table}: {len(lost):,} of {len(rows):,} graded objects are no longer in {config.scan} (the first "
            f"is objid {lost[0].objid} of field {lost[0].field_id}); take them out of the table, or name the output "
            "that was graded."
        )
    order = np.lexsort((where[:, 1], where[:, 0]))
    lens, weight = np.array([row.lens for row in rows]), np.array([row.weight for row in rows])
    placed = Placed(fields, where[order, 0], where[order, 1], lens[order], weight[order])
    _require_one_label(placed, config)
    return placed


def read_graded(config: GradedConfig) -> list[GradedRow]:
    """Rows of a table of grades that have a label.

    Raises
    ------
    ConfigError
        If it is no such table, or of another scan than `config.scan`; or no row has a label.
    """
    path = Path(config.table)
    again = "write it with `lensscan grades PATH --output FILE`, which gives a row an object"
    needed = ("objid", "field_id", "grade", *_IDENTITY)
    columns = read_columns(path, (), (*needed, "p_lens", "planted"))
    if absent := [name for name in needed if name not in columns]:
        raise ConfigError(f"{path} is no table of graded candidates (no column {', '.join(absent)}); {again}.")
    _require_scan(path, columns, config.scan)
    rows: dict[tuple[str, int], GradedRow] = {}
    given = len(columns["objid"])
    missing: Sequence[object] = [None] * given
    planted, chances = columns.get("planted", missing), columns.get("p_lens", missing)
    for index, (objid, field_id, letter) in enumerate(
        zip(columns["objid"], columns["field_id"], columns["grade"], strict=True)
    ):
        if letter in (None, "") or planted[index] not in (None, ""):
            continue
        key = (str(field_id), integer(objid, path))
        if letter not in _LETTERS:
            raise ConfigError(
                f"{path}: objid {key[1]} has grade {letter!r}, not one of {', '.join(_LETTERS)}; {again}."
            )
        if key in rows:
            raise ConfigError(f"{path}: objid {key[1]} of field {key[0]} stands there twice; {again}.")
        if letter in config.positives + config.negatives:
            lens = letter in config.positives
            rows[key] = GradedRow(*key, lens, _weight(path, key, lens, chances[index]) if config.weigh else 1.0)
    if not rows:
        wanted = ", ".join(config.positives + config.negatives)
        raise ConfigError(f"{path}: none of its {given:,} rows has a grade of {wanted}; grade some, or {again}.")
    return list(rows.values())


def graded_positions(config: GradedConfig, bands: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], ...]:
    """Ra and dec (ICRS degrees) of what `open_graded` gives, before limits."""
    placed = place_graded(config, bands)
    return placed.take(rows_of_part(config, placed.fields, placed.numbers, placed.places)).position


def _weight(path: Path, key: tuple[str, int], lens: bool, given: object) -> float:
    try:
        chance = float(str(given))
    except ValueError:
        chance = float("nan")
    if not 0 <= chance <= 1:
        raise ConfigError(
            f"{path}: objid {key[1]} has p_lens {given!r}; weigh = true needs probabilities: write the table with "
            "`lensscan grades PATH --consensus dawid-skene --output FILE`, or leave weigh out."
        )
    return chance if lens else 1 - chance


def _require_scan(path: Path, columns: dict[str, list[object]], scan: str) -> None:
    try:
        owner = ownership.identity(Path(scan))
    except ProductMismatch as error:
        raise ConfigError(f"{error} Give the output of a scan as the source's scan.") from error
    for name in _IDENTITY:
        others = sorted({str(value) for value in columns[name]} - {str(owner[name])})
        if others:
            raise ConfigError(
                f"{path}: graded rows of {name} {', '.join(map(repr, others))}, but {scan} has {name} "
                f"{str(owner[name])!r}; name the output that was graded as the source's scan."
            )


def _require_one_label(placed: Placed, config: GradedConfig) -> None:
    """Refuse an object that is graded as a lens in one field and as none in another."""
    ra, dec = placed.position
    reach = 2 * np.sin(np.radians(SAME_PLACE / 3600) / 2)
    pairs = cKDTree(unit_vectors(ra, dec)).query_pairs(reach, output_type="ndarray")
    apart = pairs[placed.lens[pairs[:, 0]] != placed.lens[pairs[:, 1]]]
    if len(apart):
        one, other = (placed.name(int(row)) for row in apart[0])
        raise ConfigError(
            f"{config.table}: {one} and {other} are one object, graded as a lens and as none, and so are "
            f"{len(apart) - 1:,} more pairs; look again, and keep one row of each."
        )
