"""The files of a HATS catalogue or collection, from its own list of partitions.

A HATS catalogue is a folder of Parquet files, one a HEALPix pixel, beside which lie copies of their footers, thumbnails
and, in a collection, margins whose rows are copies of others: a query must read none of these.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from pipeline.errors import QueryError
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place

_known: dict[str, tuple[Any, list[tuple[Place, Any]]]] = {}


def hats_files(path: Place) -> list[tuple[Place, Any]] | None:
    """Files of the catalogue at a folder, each with what changes when the catalogue is written anew.

    Parameters
    ----------
    path : Path or ObjectPath
        A catalogue, or a collection, of which the main catalogue is taken.

    Returns
    -------
    list of (Path or ObjectPath, token), or None
        In order of pixels as the catalogue lists them; None if the folder is no HATS catalogue.

    Raises
    ------
    QueryError
        If it says that it is one and its list of partitions is missing or unreadable.
    """
    collection = _properties(path / "collection.properties")
    if collection is not None:
        main = collection.get("hats_primary_table_url", "").strip("/")
        if not main or ".." in main.split("/"):
            raise QueryError(f"{path / 'collection.properties'} names no catalogue inside its folder.")
        return hats_files(path / main)
    told = _properties(path / "hats.properties")
    told = told if told is not None else _properties(path / "properties")
    if told is None:
        return None
    listed = path / "partition_info.csv"
    try:
        # Another version may have as many rows in each partition: its properties tell when it was made.
        token = (_token(listed), tuple(sorted(told.items())))
        known = _known.get(str(listed))
        if known is None or known[0] != token:
            known = _known[str(listed)] = (token, _partitions(path, listed.read_text(), token))
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise QueryError(f"{path} is a HATS catalogue without a readable partition_info.csv ({error}).") from error
    return known[1]


def _partitions(path: Place, text: str, token: Any) -> list[tuple[Place, Any]]:
    files: list[tuple[Place, Any]] = []
    for row in csv.DictReader(io.StringIO(text)):
        order, pixel = int(row["Norder"]), int(row["Npix"])
        folder = path / "dataset" / f"Norder={order}" / f"Dir={pixel // 10_000 * 10_000}"
        files.append((folder / f"Npix={pixel}.parquet", token))
    if not files:
        raise ValueError("it lists no partition")
    return files


def _properties(file: Place) -> dict[str, str] | None:
    """Keys and values of a Java properties file, as far as HATS writes them; None where there is none."""
    try:
        text = file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith(("#", "!"))]
    return {key.strip(): value.strip() for key, _, value in pairs}


def _token(file: Place) -> Any:
    if isinstance(file, ObjectPath):
        return file.info().etag
    found = file.stat()
    return (found.st_size, found.st_mtime_ns)
