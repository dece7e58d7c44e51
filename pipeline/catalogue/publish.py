"""Publish a scan's catalogue: a folder that LSDB, TOPCAT, astropy and anybody with Parquet opens, and can cite.

The folder is a HATS collection, with a margin cache and a map of where rows are; beside it lie a VOTable and a FITS
table where rows are few enough, a data package and a README. Files are counted first, then rows are written partition
by partition, so that memory is that of one partition, whatever the size. What was written is read back and compared,
field by field, before the folder gets its name: it appears whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue.hats_metadata import (
    check_installed,
    margin_order,
    validate,
    write_catalogue_metadata,
    write_collection,
    write_margin_metadata,
)
from pipeline.catalogue.hats_pixels import Pixels, partitions, with_rest_of_sky
from pipeline.catalogue.hats_write import Margins, partition_files, write_partition, write_partitions
from pipeline.catalogue.publish_beside import BESIDE, write_beside
from pipeline.catalogue.publish_parts import (
    KEY,
    Counted,
    Material,
    checked_against,
    count,
    material,
    rows_between,
    tallied,
)
from pipeline.catalogue.publish_words import Credit, Facts, hats_properties
from pipeline.errors import ConfigError, QueryError
from pipeline.io.places import Place
from pipeline.io.writing import atomic_folder

ROWS_A_PARTITION = 1_000_000
"""A partition's rows take some 250 MB in memory, which LSDB's workers have room for."""

ROWS_IN_TABLES = 500_000
"""Up to so many rows are written as VOTable (330 MB then) and FITS (80 MB) too: what TOPCAT loads at once."""

MARGIN_ARCSEC = 10.0
MOST_MARGIN = 240.0
"""Wider than this, the cells of a margin would be as large as a partition may be small."""

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes
    ----------
    folder, name : str
    rows, fields, partitions, margin_rows : int
    read : int
        Rows in the files, chosen or not.
    tables : tuple of str
        Files beside the HATS catalogue.
    failed : tuple of str
        Fields in quarantine.
    ways : int
        Different configurations, weights or versions that fields were made with; 0 where files don't say.
    """

    folder: str
    name: str
    rows: int
    fields: int
    partitions: int
    margin_rows: int
    read: int
    tables: tuple[str, ...]
    failed: tuple[str, ...]
    ways: int

    def as_dict(self) -> dict[str, Any]:
        """Values fit for JSON."""
        return {**asdict(self), "tables": list(self.tables), "failed": list(self.failed)}


def publish(
    catalogue: Place,
    folder: Place,
    *,
    primary: bool = False,
    all: bool = False,
    name: str | None = None,
    margin_arcsec: float = MARGIN_ARCSEC,
    rows_in_tables: int = ROWS_IN_TABLES,
    rows_a_partition: int = ROWS_A_PARTITION,
    credit: Credit | None = None,
) -> Published:
    """Write a catalogue as a folder that others open.

    Parameters
    ----------
    catalogue : Path or ObjectPath
        A scan's output, or Parquet exported from one.
    folder : Path
        New or empty; its parent is made if need be.
    primary : bool
        Each object of overlapping fields once.
    all : bool
        Every score of a scan instead of its candidates.
    name : str, optional
        Of the HATS catalogue: letters, digits, `_.-`; the scan's id if None, other characters as `_`.
    margin_arcsec : float
        Rows closer to a partition than this are in its margin cache.
    rows_in_tables : int
        Up to so many rows are written as `candidates.vot` and `candidates.fits` too, the best score first.
    rows_a_partition : int
        Rows a HATS partition has at most, unless that many lie in one cell of 14 arcmin.
    credit : Credit, optional

    Returns
    -------
    Published

    Raises
    ------
    ConfigError
        If the folder is not empty or part of a scan's output, a value can't be used, or `hats` is not installed.
    QueryError
        If there is nothing to publish, or it is no catalogue.
    ProductMismatch
        If a field's file is not what its manifest says, or rows change meanwhile.
    """
    target = _free(catalogue, folder)
    if name is not None and not _NAME.match(name):
        raise ConfigError(f"name {name!r}: use letters, digits, _, . and -, a letter or digit first.")
    if not 0 < margin_arcsec <= MOST_MARGIN:
        raise ConfigError(f"margin: {margin_arcsec} must be above 0 and at most {MOST_MARGIN:g} arcsec.")
    if rows_a_partition < 1:
        raise ConfigError(f"rows a partition: {rows_a_partition} must be 1 or more.")
    check_installed()
    found = material(catalogue, every_score=all)
    counted = count(found.parts, primary=primary)
    if not counted.rows:
        more = "" if all else "; --all publishes every score"
        raise QueryError(f"{catalogue} has no {'primary ' if primary else ''}candidates to publish{more}.")
    facts = _facts(found, counted, name, primary, all, margin_arcsec, credit or Credit())
    if facts.name in {"collection.properties", *BESIDE}:
        raise ConfigError(f"name {facts.name!r} is that of a file in the folder; choose another with --name.")
    with atomic_folder(target) as made:
        pixels, margin_rows = _write_hats(made, facts, counted, primary, rows_a_partition)
        files = partition_files(made / facts.name, pixels)
        tables = write_beside(made, facts, counted, files, margin=_margin_name(facts), most=rows_in_tables)
        validate(made)
    return Published(
        folder=str(folder),
        name=facts.name,
        rows=counted.rows,
        fields=len(counted.fields),
        partitions=len(pixels),
        margin_rows=margin_rows,
        read=counted.read,
        tables=tables,
        failed=found.failed,
        ways=len(found.provenance),
    )


def _free(catalogue: Place, folder: Place) -> Path:
    """Where to publish, as an absolute path."""
    if not isinstance(folder, Path):
        raise ConfigError(f"{folder}: a store has no folder that appears whole; publish to a local one and copy it.")
    target = folder.resolve()
    owner = next((each for each in (target, *target.parents) if (each / "scan.json").is_file()), None)
    if owner is not None:
        raise ConfigError(f"{folder} is inside a scan's output ({owner}); choose a folder outside it.")
    if isinstance(catalogue, Path) and catalogue.is_dir() and target.is_relative_to(catalogue.resolve()):
        raise ConfigError(f"{folder} is inside {catalogue}, which is published; choose a folder outside it.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{folder} exists and is not an empty folder; choose another or remove it.")
    return target


def _facts(
    found: Material, counted: Counted, name: str | None, primary: bool, every: bool, margin: float, credit: Credit
) -> Facts:
    scans = [
        dict(zip(("survey", "release", "scan_id"), key, strict=True)) | {"rows": rows}
        for key, rows in sorted(counted.scans.items())
    ]
    ids = dict.fromkeys(str(scan["scan_id"]) for scan in scans)
    made = re.sub(r"[^A-Za-z0-9_.-]", "_", "_".join(ids)).lstrip("_.-")[:64]
    whole = "every detection" if every else "candidates"
    return Facts(
        name=name or made or "candidates",
        credit=credit,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        scans=scans,
        provenance=found.provenance,
        counts={
            "rows": counted.rows,
            "rows_in_files": counted.read,
            "fields": len(found.parts) if found.provenance else len(counted.fields),
            "fields_with_rows": len(counted.fields),
            "fields_failed": len(found.failed),
        },
        selection=f"{whole}; an object of overlapping fields {'stands once' if primary else 'has a row in each'}",
        margin_arcsec=margin,
    )


def _write_hats(made: Path, facts: Facts, counted: Counted, primary: bool, most: int) -> tuple[Pixels, int]:
    """The collection: catalogue, margin cache, and what HATS keeps beside them; read back and compared."""
    catalogue, margin = made / facts.name, made / _margin_name(facts)
    pixels = partitions(*counted.in_cells(), most)
    margins = Margins(made / ".margin", with_rest_of_sky(pixels), margin_order(facts.margin_arcsec))
    for _ in write_partitions(
        catalogue, pixels, lambda first, behind: rows_between(counted, first, behind, primary=primary), margins
    ):
        pass
    files = partition_files(catalogue, pixels)
    checked_against(tallied(_keys(files)), counted.fields, "what was written")
    orders, numbers, rows = [], [], []
    for order, pixel, table in margins.tables():
        write_partition(margin, order, pixel, table)
        orders.append(order)
        numbers.append(pixel)
        rows.append(len(table))
    around = Pixels(np.array(orders, np.int64), np.array(numbers, np.int64))
    said = hats_properties(facts)
    write_catalogue_metadata(
        catalogue,
        facts.name,
        counted.schema,
        pixels,
        rows=counted.rows,
        most=max(pq.read_metadata(file).num_rows for file in files),
        cells=counted.in_cells(),
        said=said,
    )
    write_margin_metadata(
        margin,
        margin.name,
        counted.schema,
        around,
        rows=sum(rows),
        most=max(rows, default=0),
        primary=facts.name,
        arcsec=facts.margin_arcsec,
        said=said,
    )
    write_collection(made, facts.name, margin.name, said)
    return pixels, sum(rows)


def _margin_name(facts: Facts) -> str:
    return f"{facts.name}_margin_{facts.margin_arcsec:g}arcs"


def _keys(files: list[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(columns=list(KEY))
