"""Which files of a scan's output are live, remembered in the process and looked at again only where something changed.

`products.publish` touches the folder of manifests when it has published, and a manifest that appears changes the time
of its field's folder: one look at the first tells that nothing is new, one at each field which manifests to read again.
In a store one listing says the same by ETags. A time that is younger than `SETTLES` is not relied on, since a clock
that ticks coarsely may give two publications the same.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.io import objects
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place, each
from pipeline.io.products import live_manifest

SETTLES = 2_000_000_000
"""Nanoseconds after which a folder's time tells one publication from the next."""

_Token = tuple[Any, ...]


@dataclass(frozen=True)
class LiveProduct:
    """One field's live product of a stage.

    Attributes
    ----------
    field_id : str
    place : Path or ObjectPath
        Its generation's folder.
    sizes : mapping
        Bytes of each file by its name.
    rows : int
        Detections that it holds.
    sequence : int
        Counts the field's publications: of two generations of one name it tells which is meant.
    """

    field_id: str
    place: Place
    sizes: Mapping[str, int]
    rows: int
    sequence: int


@dataclass(frozen=True)
class Listing:
    """Live products of one stage, in order of `field_id`; the same object as long as nothing was published."""

    products: Mapping[str, LiveProduct]


@dataclass(frozen=True)
class _Known:
    mark: int | None
    tokens: Mapping[str, _Token]
    listing: Listing


_known: dict[tuple[str, str], _Known] = {}
_lock = threading.Lock()


def live_listing(output: Place, stage: str) -> Listing:
    """The live products of a stage of every field.

    Parameters
    ----------
    output : Path or ObjectPath
        A scan's output folder.
    stage : str

    Raises
    ------
    ProductMismatch
        If a manifest can't be read.
    """
    key = (str(output if isinstance(output, ObjectPath) else output.resolve()), stage)
    with _lock:
        known = _known.get(key)
        mark = None if isinstance(output, ObjectPath) else _settled(output / "manifests")
        if known is not None and mark is not None and known.mark == mark:
            return known.listing
        tokens = _tokens(output, stage)
        if known is None or any(token is None for token in tokens.values()) or known.tokens != tokens:
            listing = _read(output, stage, tokens, known)
        else:
            listing = known.listing
        _known[key] = _Known(mark, {field: token for field, token in tokens.items() if token is not None}, listing)
        return listing


def live_product(output: Place, field_id: str, stage: str) -> LiveProduct | None:
    """The live product of one field, without a look at any other; None if it has none."""
    manifest = live_manifest(output, field_id, stage)
    if manifest is None:
        return None
    return LiveProduct(field_id, output / manifest.place, dict(manifest.files), manifest.rows, manifest.sequence)


def forget_listings() -> None:
    """Look at every field again next time: a run killed between publishing and touching the folder tells nobody."""
    with _lock:
        _known.clear()


def _tokens(output: Place, stage: str) -> dict[str, _Token | None]:
    """What changes when a field publishes, by field; None where it may not be relied on yet."""
    root = output / "manifests"
    if isinstance(root, ObjectPath):
        found: dict[str, list[tuple[str, str]]] = {}
        for key, info in objects.below(root.bucket, root.key):
            folder, _, name = key.removeprefix(f"{root.key}/").partition("/")
            if name.startswith(f"{stage}.") and name.endswith(".json"):
                found.setdefault(unquote(folder), []).append((name, str(info.etag)))
        return {field_id: tuple(sorted(names)) for field_id, names in sorted(found.items())}
    try:
        with os.scandir(root) as fields:
            tokens = {unquote(entry.name): _settled(Path(entry.path)) for entry in fields}
    except FileNotFoundError:
        return {}
    return {field_id: None if token is None else (token,) for field_id, token in sorted(tokens.items())}


def _settled(folder: Path) -> int | None:
    """A folder's time of change in nanoseconds; None where it is too young, or the folder is not there."""
    try:
        changed = os.stat(folder).st_mtime_ns
    except FileNotFoundError:
        return None
    return changed if time.time_ns() - changed > SETTLES else None


def _read(output: Place, stage: str, tokens: Mapping[str, _Token | None], known: _Known | None) -> Listing:
    """A new listing; what did not change is taken from the one before."""
    before = known.listing.products if known is not None else {}
    same = known.tokens if known is not None else {}
    unchanged = {field for field, token in tokens.items() if token is not None and same.get(field) == token}
    changed = [field for field in tokens if field not in unchanged]
    fresh = dict(zip(changed, each(lambda field: live_product(output, field, stage), changed, output), strict=True))
    live = {field: before.get(field) if field in unchanged else fresh[field] for field in tokens}
    return Listing({field: product for field, product in live.items() if product is not None})
