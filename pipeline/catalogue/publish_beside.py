"""What lies beside a published HATS catalogue: a MOC, tables for TOPCAT, a data package, a README."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.catalogue.publish_parts import MOC_ORDER, Counted
from pipeline.catalogue.publish_words import (
    Facts,
    data_package,
    fits_cards,
    header_lines,
    readme,
    table_schema,
)
from pipeline.io.exports import BATCH
from pipeline.io.fits_table import fits_parts
from pipeline.io.votable import votable_parts
from pipeline.io.writing import write_json

BESIDE = ("moc.fits", "candidates.vot", "candidates.fits", "tableschema.json", "datapackage.json", "README.md")
"""Names of what there may be."""


def write_beside(
    folder: Path, facts: Facts, counted: Counted, partitions: Sequence[Path], *, margin: str, most: int
) -> tuple[str, ...]:
    """Write MOC, tables for TOPCAT, data package and README beside a HATS catalogue.

    Parameters
    ----------
    folder : Path
    facts : Facts
    counted : Counted
    partitions : sequence of Path
        The catalogue's files, in the folder.
    margin : str
        Folder of the margin cache.
    most : int
        Rows up to which there are tables.

    Returns
    -------
    tuple of str
        Names of the files written.
    """
    files = {
        facts.name: "HATS catalogue: Parquet, partitioned by HEALPix",
        margin: "its margin cache",
        "moc.fits": f"MOC of where rows are, order {MOC_ORDER}",
    }
    _write_moc(folder / "moc.fits", counted)
    if counted.rows <= most:
        _write_tables(folder, facts, counted.schema, _best_first(partitions))
        files["candidates.vot"] = "all rows as a VOTable, the best score first"
        files["candidates.fits"] = "the same as a FITS table"
    write_json(folder / "tableschema.json", table_schema(counted.schema))
    files["tableschema.json"] = "the columns as a Frictionless Table Schema, with units and UCDs"
    write_json(folder / "datapackage.json", data_package(facts, _resources(folder, facts, partitions, files)))
    files["datapackage.json"] = "Frictionless Data Package: files, provenance, licence, citation"
    (folder / "README.md").write_text(readme(facts, counted.schema, files), encoding="utf-8")
    return (*list(files)[2:], "README.md")


def _write_moc(path: Path, counted: Counted) -> None:
    from mocpy import MOC

    cells = counted.moc.astype(np.uint64)
    MOC.from_healpix_cells(cells, np.full(len(cells), MOC_ORDER, np.uint8), MOC_ORDER).save(path, format="fits")


def _write_tables(folder: Path, facts: Facts, schema: pa.Schema, table: pa.Table) -> None:
    batches = table.to_batches(max_chunksize=BATCH)
    _write(
        folder / "candidates.vot",
        votable_parts(
            schema,
            batches,
            rows=len(table),
            name=facts.name,
            description=f"{facts.title}. {facts.description}",
            infos=header_lines(facts),
        ),
    )
    cards = fits_cards(facts)
    _write(folder / "candidates.fits", fits_parts(schema, lambda: batches, rows=len(table), cards=cards))


def _best_first(partitions: Sequence[Path]) -> pa.Table:
    """All rows, sorted as a query sorts them."""
    table = pa.concat_tables([pq.read_table(file, partitioning=None) for file in partitions])
    keys = [("score", "descending"), ("field_id", "ascending"), ("objid", "ascending")]
    return table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()


def _resources(
    folder: Path, facts: Facts, partitions: Sequence[Path], files: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The data package's resources: tables with their columns, and the MOC."""
    parquet = "application/vnd.apache.parquet"
    described: list[dict[str, Any]] = [
        {
            "name": "candidates",
            "title": files[facts.name],
            "path": [file.relative_to(folder).as_posix() for file in partitions],
            "type": "table",
            "format": "parquet",
            "mediatype": parquet,
            "schema": "tableschema.json",
        }
    ]
    kinds = {
        "candidates.vot": ("votable", "application/x-votable+xml"),
        "candidates.fits": ("fits", "application/fits"),
        "moc.fits": ("fits", "application/fits"),
    }
    for name, (form, media) in kinds.items():
        if name not in files:
            continue
        path = folder / name
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        entry: dict[str, Any] = {"name": name.replace(".", "-"), "title": files[name], "path": name, "format": form}
        entry |= {"mediatype": media, "bytes": path.stat().st_size, "hash": f"sha256:{digest}"}
        if name != "moc.fits":
            entry["schema"] = "tableschema.json"
        described.append(entry)
    return described


def _write(path: Path, parts: Iterator[bytes]) -> None:
    with path.open("wb") as stream:
        for part in parts:
            stream.write(part)
