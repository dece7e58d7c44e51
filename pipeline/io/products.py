"""Products on disk: names, atomic writes, manifests and generations.

A scan's output folder holds::

    scan.json                                   whose output this is
    manifests/<field>/<stage>.<fingerprint>.json
    <stage>/<field>/<generation>/...            the product's files
    failures/<field>.json                       why a field is quarantined
    runs/<time>.json                            run records: times, hosts, tracebacks

A run of a stage writes to a generation of its own; publishing the manifest, one `os.replace` or one PUT, makes it the
live one, and readers go through manifests. A generation that no manifest names is dead and may be removed.

In an object store a generation is claimed by an object `.begun` in it, which only one writer can make.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pipeline.errors import ProductMismatch
from pipeline.io import objects
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place, each, remove
from pipeline.io.writing import is_unfinished, write_json

_BEGUN = ".begun"
_FIELDS_AT_ONCE = 256
_LOOKS = 8


@dataclass(frozen=True)
class Manifest:
    """One published product.

    Attributes
    ----------
    field_id, stage, fingerprint : str
    sequence : int
        Counts publications of this stage of this field; the highest is live.
    place : str
        Folder of the files, relative to the output.
    rows : int
        Detections that the product holds, those without a score included.
    empty : bool
        Whether the field has no coverage.
    counts : mapping
        What else the summary of a scan adds up, such as candidates.
    files : mapping
        name -> size in bytes.
    provenance : mapping
        Configuration, inputs, software and weights that made it; no times, no hosts.
    notes : sequence of str
        What a person should know of the field that went on all the same (`pipeline.notes`).
    """

    field_id: str
    stage: str
    fingerprint: str
    sequence: int
    place: str
    rows: int
    empty: bool
    counts: Mapping[str, int]
    files: Mapping[str, int]
    provenance: Mapping[str, Any]
    notes: Sequence[str] = ()


def encoded(field_id: str) -> str:
    """A field's name as one path component: percent-encoded, never `.` or `..`."""
    text = quote(field_id, safe="")
    return text.replace(".", "%2E") if text.strip(".") == "" else text


def listing(output: Place) -> dict[str, dict[str, list[str]]]:
    """Every published fingerprint without opening a file: field_id -> stage -> fingerprints."""
    return dict(listings(output))


def listings(output: Place) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """What `listing` gives, field by field, for whoever does not need all at once: a kilobyte a field."""
    root = output / "manifests"
    if isinstance(root, ObjectPath):
        names: dict[str, list[str]] = {}
        for key, _ in objects.below(root.bucket, root.key):
            folder, _, name = key.removeprefix(f"{root.key}/").partition("/")
            names.setdefault(unquote(folder), []).append(name)
        yield from ((field_id, _by_stage(found)) for field_id, found in names.items())
    elif root.is_dir():
        with os.scandir(root) as fields:
            for entry in fields:
                yield unquote(entry.name), field_listing(output, unquote(entry.name))


def field_listing(output: Place, field_id: str) -> dict[str, list[str]]:
    """Published fingerprints of one field: stage -> fingerprints, sorted."""
    folder = output / "manifests" / encoded(field_id)
    if isinstance(folder, ObjectPath):
        return _by_stage(path.name for path in folder.iterdir())
    return _by_stage(os.listdir(folder)) if folder.is_dir() else {}


def _by_stage(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of one field's manifests, in order, by stage."""
    stages: dict[str, list[str]] = {}
    for name in sorted(names):
        stage, _, rest = name.partition(".")
        digest, dot, suffix = rest.partition(".")
        if dot and suffix == "json" and stage:
            stages.setdefault(stage, []).append(digest)
    return stages


def live_manifest(output: Place, field_id: str, stage: str) -> Manifest | None:
    """The manifest of a field's stage with the highest sequence, or None."""
    for _ in range(_LOOKS):
        names = field_listing(output, field_id)
        found = _latest(_manifests(output, field_id, stage, names))
        if found is not None or stage not in names:
            return found
        # A rerun has published another one and swept these between our listing and reading: look again.
    raise ProductMismatch(f"{output}: manifests of {stage} of field {field_id} go as fast as they are read; try again.")


def live_fingerprint(output: Place, field_id: str, stage: str, names: Mapping[str, list[str]]) -> str | None:
    """The live product's fingerprint from a field's listing; opens manifests only where there are several."""
    digests = names.get(stage, [])
    if len(digests) <= 1:
        return digests[0] if digests else None
    manifest = live_manifest(output, field_id, stage)
    return manifest.fingerprint if manifest else None


def live_files(output: Place, stage: str, name: str) -> dict[str, Place]:
    """One file of every field's live product of a stage: field_id -> path; fields without are left out."""
    fields = [(field_id, stages) for field_id, stages in sorted(listing(output).items()) if stage in stages]
    manifests = each(lambda field: _latest(_manifests(output, field[0], stage, field[1])), fields, output)
    return {
        manifest.field_id: output / manifest.place / name
        for manifest in manifests
        if manifest is not None and name in manifest.files
    }


def live_by_field(
    output: Place, fields: Iterable[str], stages: Sequence[str]
) -> Iterator[tuple[str, dict[str, Manifest]]]:
    """Every field in turn with its live manifests, by stage in the order given; what is not there is left out.

    For the many fields of a whole scan: of a store there is one listing for all of them, and the manifests of some
    fields at a time are read together.
    """
    names = listing(output) if isinstance(output, ObjectPath) else None

    def live(field_id: str) -> tuple[str, dict[str, Manifest]]:
        found = field_listing(output, field_id) if names is None else names.get(field_id, {})
        latest = {stage: _latest(_manifests(output, field_id, stage, found)) for stage in stages}
        return field_id, {stage: manifest for stage, manifest in latest.items() if manifest is not None}

    waiting = iter(fields)
    while some := list(islice(waiting, _FIELDS_AT_ONCE)):
        yield from each(live, some, output)


def notes_of(live: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """What the live products of a field note: (stage, text), in order of the stages, each text once."""
    told: dict[str, str] = {}
    for stage, manifest in live.items():
        for text in manifest.notes:
            told.setdefault(text, stage)
    return [(stage, text) for text, stage in told.items()]


def generation_place(stage: str, field_id: str, generation: str) -> str:
    """Folder of a generation, relative to the output."""
    return f"{stage}/{encoded(field_id)}/{generation}"


def new_generation(output: Place, stage: str, field_id: str, fingerprint: str, suffix: str = "") -> str:
    """Make and name a generation of a fingerprint that no other run has: `<fingerprint[:16]>`, then `.2`, `.3`, ...

    `suffix` tells one that is not there to stay from the one that is; it comes after the fingerprint.

    The folder exists when this returns, so that two writers never share one.
    """
    parent = output / stage / encoded(field_id)
    parent.mkdir(parents=True, exist_ok=True)
    stem = fingerprint[:16] + suffix
    name, number = stem, 1
    while not _begin(parent / name):
        number += 1
        name = f"{stem}.{number}"
    return name


def _begin(folder: Place) -> bool:
    """Make the folder of a generation; whether it is this call that made it."""
    if isinstance(folder, ObjectPath):
        mark = folder / _BEGUN
        return objects.create(mark.bucket, mark.key, uuid.uuid4().hex.encode()) is not None
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def publish(
    output: Place,
    *,
    field_id: str,
    stage: str,
    fingerprint: str,
    generation: str,
    rows: int,
    provenance: Mapping[str, Any],
    empty: bool = False,
    counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    amend: bool = False,
) -> Manifest:
    """Make a generation the live product of a field's stage; its files must all be written.

    What killed processes left half written in it is removed first.

    Where `amend`, it takes the place of a live one of the same fingerprint, number and all: it holds the same, or a
    part of it that is enough.

    Raises
    ------
    ProductMismatch
        If the generation's folder is not there.
    """
    place = generation_place(stage, field_id, generation)
    files = sizes(output / place)
    if files is None:
        raise ProductMismatch(f"{output / place} is missing; nothing to publish for field {field_id}.")
    _tidy(output / place)
    before = live_manifest(output, field_id, stage)
    manifest = Manifest(
        field_id=field_id,
        stage=stage,
        fingerprint=fingerprint,
        sequence=_number(before, fingerprint if amend else None),
        place=place,
        rows=rows,
        empty=empty,
        counts=dict(counts or {}),
        files=files,
        provenance=provenance,
        notes=tuple(notes),
    )
    write_json(_manifest_path(output, field_id, stage, fingerprint), asdict(manifest))
    if isinstance(output, Path):
        os.utime(output / "manifests")  # readers see by its time that something was published: `live_listing`
    return manifest


def _number(before: Manifest | None, amended: str | None) -> int:
    """Sequence of a publication after another, or in its stead where it has the fingerprint that is amended."""
    if before is None:
        return 1
    return before.sequence if before.fingerprint == amended else before.sequence + 1


def sizes(folder: Place) -> dict[str, int] | None:
    """Every file below a folder and its size in bytes, by its path from there; None if there is no such folder.

    What a killed process was writing is none of them. In a store an empty folder is none, and no folder an empty one.
    """
    if isinstance(folder, ObjectPath):
        found = objects.below(folder.bucket, folder.key)
        named = {key.removeprefix(f"{folder.key}/"): info.size for key, info in found}
        return {name: size for name, size in named.items() if name != _BEGUN}
    if not folder.is_dir():
        return None
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_unfinished(path.name)
    }


def _tidy(folder: Place) -> None:
    """Remove files that were never written to their end."""
    if isinstance(folder, ObjectPath):
        return  # A store shows an object when all of it is there.
    for path in folder.rglob("*"):
        if is_unfinished(path.name):
            path.unlink(missing_ok=True)


def sweep(output: Place, field_id: str, stages: tuple[str, ...]) -> None:
    """Remove a field's superseded manifests, every generation that no manifest names, and what kills left of either."""
    _tidy(output / "manifests" / encoded(field_id))
    names = field_listing(output, field_id)
    for stage in stages:
        manifests = _manifests(output, field_id, stage, names)
        live = _latest(manifests)
        if live is None:
            continue
        for manifest in manifests:
            if manifest.fingerprint != live.fingerprint:
                _manifest_path(output, field_id, stage, manifest.fingerprint).unlink(missing_ok=True)
        parent = output / stage / encoded(field_id)
        if isinstance(parent, ObjectPath):
            keys = [key for key, _ in objects.below(parent.bucket, parent.key)]
            kept = f"{(output / live.place).key}/"  # type: ignore[union-attr]
            objects.delete(parent.bucket, [key for key in keys if not key.startswith(kept)])
            continue
        for folder in parent.iterdir():
            if generation_place(stage, field_id, folder.name) != live.place:
                remove(folder)


def record_failure(output: Place, field_id: str, stage: str, fingerprint: str, reason: str, *, again: bool) -> None:
    """Note why a stage of a field failed and for which inputs; `again` is whether trying again may help."""
    write_json(
        output / "failures" / f"{encoded(field_id)}.json",
        {
            "field_id": field_id,
            "stage": stage,
            "fingerprint": fingerprint,
            "reason": reason,
            "again": "yes" if again else "no",
        },
    )


def clear_failure(output: Place, field_id: str) -> None:
    """Forget a field's failure."""
    (output / "failures" / f"{encoded(field_id)}.json").unlink(missing_ok=True)


def failures(output: Place) -> dict[str, dict[str, str]]:
    """Fields that failed: field_id -> {"field_id", "stage", "fingerprint", "reason", "again"}."""
    records = read_all_json(output / "failures")
    return {str(record["field_id"]): record for record in records}


def _manifests(output: Place, field_id: str, stage: str, names: Mapping[str, Sequence[str]]) -> list[Manifest]:
    """The manifests of a stage in a field's listing."""
    found = []
    for digest in names.get(stage, []):
        try:
            found.append(Manifest(**read_json(_manifest_path(output, field_id, stage, digest))))
        except FileNotFoundError:
            continue  # swept by another process between listing and reading
    return found


def _latest(manifests: Sequence[Manifest]) -> Manifest | None:
    return max(manifests, key=lambda manifest: manifest.sequence) if manifests else None


def _manifest_path(output: Place, field_id: str, stage: str, fingerprint: str) -> Place:
    return output / "manifests" / encoded(field_id) / f"{stage}.{fingerprint}.json"


def read_all_json(folder: Place) -> list[dict[str, Any]]:
    """Every JSON file of a folder, in order of names."""
    if isinstance(folder, Path) and not folder.is_dir():
        return []
    paths: list[Place] = sorted(folder.glob("*.json"), key=str)
    return each(read_json, paths, folder)


def read_json(path: Place) -> dict[str, Any]:
    """The object that a JSON file holds; raises ProductMismatch if it holds none."""
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ProductMismatch(f"{path} is not readable JSON ({error}); move it away and run again.") from error
    if not isinstance(values, dict):
        raise ProductMismatch(f"{path} does not hold a JSON object; move it away and run again.")
    return values
