"""Products on disk: names, atomic writes, manifests and generations.

A scan's output folder holds::

    scan.json                                   whose output this is
    manifests/<field>/<stage>.<fingerprint>.json
    <stage>/<field>/<generation>/...            the product's files
    failures/<field>.json                       why a field is quarantined
    runs/<time>.json                            run records: times, hosts, tracebacks

A run of a stage writes to a generation of its own; publishing the manifest, one `os.replace`, makes it the
live one, and readers go through manifests. A generation that no manifest names is dead and may be removed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pipeline.errors import ProductMismatch

FORMAT = 1
"""Version of this layout; another one in an output is refused."""


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


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part.

    The data is on disk before the name is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON with sorted keys, atomically."""
    atomic_write(path, (json.dumps(values, sort_keys=True, indent=1, allow_nan=False) + "\n").encode())


def claim(output: Path, scan_id: str, survey: str, release: str) -> None:
    """Make an output folder a scan's own, or check that it is.

    Raises
    ------
    ProductMismatch
        If it belongs to another scan, survey or release, or holds files that no scan wrote.
    """
    mine = {"format": FORMAT, "scan_id": scan_id, "survey": survey, "release": release}
    path = output / "scan.json"
    if path.exists():
        theirs = _read(path)
        if {key: theirs.get(key) for key in mine} != mine:
            owner = ", ".join(f"{key} {theirs.get(key)!r}" for key in mine if theirs.get(key) != mine[key])
            raise ProductMismatch(f"{output} belongs to another scan ({owner}); choose another output with --out DIR.")
        return
    if output.exists() and any(not entry.name.lstrip(".").startswith("scan.lease") for entry in output.iterdir()):
        raise ProductMismatch(f"{output} is not empty and no scan's output; choose another folder with --out DIR.")
    write_json(path, mine)


def identity(output: Path) -> Mapping[str, Any]:
    """What `scan.json` says: format, scan_id, survey, release.

    Raises
    ------
    ProductMismatch
        If the folder is no scan's output.
    """
    path = output / "scan.json"
    if not path.is_file():
        raise ProductMismatch(f"{output} is not the output of a scan (no scan.json in it).")
    return _read(path)


def listing(output: Path) -> dict[str, dict[str, list[str]]]:
    """Every published fingerprint without opening a file: field_id -> stage -> fingerprints."""
    root = output / "manifests"
    found: dict[str, dict[str, list[str]]] = {}
    if not root.is_dir():
        return found
    with os.scandir(root) as fields:
        for entry in fields:
            found[unquote(entry.name)] = field_listing(output, unquote(entry.name))
    return found


def field_listing(output: Path, field_id: str) -> dict[str, list[str]]:
    """Published fingerprints of one field: stage -> fingerprints, sorted."""
    stages: dict[str, list[str]] = {}
    folder = output / "manifests" / encoded(field_id)
    if folder.is_dir():
        for name in sorted(os.listdir(folder)):
            stage, _, rest = name.partition(".")
            digest, dot, suffix = rest.partition(".")
            if dot and suffix == "json" and stage:
                stages.setdefault(stage, []).append(digest)
    return stages


def live_manifest(output: Path, field_id: str, stage: str) -> Manifest | None:
    """The manifest of a field's stage with the highest sequence, or None."""
    manifests = list(_manifests(output, field_id, stage))
    return max(manifests, key=lambda manifest: manifest.sequence) if manifests else None


def live_fingerprint(output: Path, field_id: str, stage: str, names: Mapping[str, list[str]]) -> str | None:
    """The live product's fingerprint from a field's listing; opens manifests only where there are several."""
    digests = names.get(stage, [])
    if len(digests) <= 1:
        return digests[0] if digests else None
    manifest = live_manifest(output, field_id, stage)
    return manifest.fingerprint if manifest else None


def live_files(output: Path, stage: str, name: str) -> dict[str, Path]:
    """One file of every field's live product of a stage: field_id -> path; fields without are left out."""
    files = {}
    for field_id, stages in sorted(listing(output).items()):
        manifest = live_manifest(output, field_id, stage) if stage in stages else None
        if manifest is not None and name in manifest.files:
            files[field_id] = output / manifest.place / name
    return files


def notes_of(output: Path, field_id: str, stages: Sequence[str]) -> list[tuple[str, str]]:
    """What the live products of a field note: (stage, text), in order of the stages, each text once."""
    told: dict[str, str] = {}
    for stage in stages:
        manifest = live_manifest(output, field_id, stage)
        for text in manifest.notes if manifest is not None else ():
            told.setdefault(text, stage)
    return [(stage, text) for text, stage in told.items()]


def generation_place(stage: str, field_id: str, generation: str) -> str:
    """Folder of a generation, relative to the output."""
    return f"{stage}/{encoded(field_id)}/{generation}"


def new_generation(output: Path, stage: str, field_id: str, fingerprint: str) -> str:
    """Make and name a generation of a fingerprint that no other run has: `<fingerprint[:16]>`, then `.2`, `.3`, ...

    The folder exists when this returns, so that two writers never share one.
    """
    parent = output / stage / encoded(field_id)
    parent.mkdir(parents=True, exist_ok=True)
    name, number = fingerprint[:16], 1
    while True:
        try:
            (parent / name).mkdir()
        except FileExistsError:
            number += 1
            name = f"{fingerprint[:16]}.{number}"
        else:
            return name


def publish(
    output: Path,
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
) -> Manifest:
    """Make a generation the live product of a field's stage; its files must all be written.

    Raises
    ------
    ProductMismatch
        If the generation's folder is not there.
    """
    place = generation_place(stage, field_id, generation)
    folder = output / place
    if not folder.is_dir():
        raise ProductMismatch(f"{folder} is missing; nothing to publish for field {field_id}.")
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
    before = live_manifest(output, field_id, stage)
    manifest = Manifest(
        field_id=field_id,
        stage=stage,
        fingerprint=fingerprint,
        sequence=before.sequence + 1 if before else 1,
        place=place,
        rows=rows,
        empty=empty,
        counts=dict(counts or {}),
        files=files,
        provenance=provenance,
        notes=tuple(notes),
    )
    write_json(_manifest_path(output, field_id, stage, fingerprint), asdict(manifest))
    return manifest


def sweep(output: Path, field_id: str, stages: tuple[str, ...]) -> None:
    """Remove a field's superseded manifests, then every generation that no manifest names."""
    for stage in stages:
        live = live_manifest(output, field_id, stage)
        if live is None:
            continue
        for manifest in _manifests(output, field_id, stage):
            if manifest.fingerprint != live.fingerprint:
                _manifest_path(output, field_id, stage, manifest.fingerprint).unlink(missing_ok=True)
        parent = output / stage / encoded(field_id)
        for folder in parent.iterdir():
            if generation_place(stage, field_id, folder.name) != live.place:
                shutil.rmtree(folder, ignore_errors=True)


def record_failure(output: Path, field_id: str, stage: str, fingerprint: str, reason: str, *, again: bool) -> None:
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


def clear_failure(output: Path, field_id: str) -> None:
    """Forget a field's failure."""
    (output / "failures" / f"{encoded(field_id)}.json").unlink(missing_ok=True)


def failures(output: Path) -> dict[str, dict[str, str]]:
    """Fields that failed: field_id -> {"field_id", "stage", "fingerprint", "reason", "again"}."""
    folder = output / "failures"
    records = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return {str(record["field_id"]): record for record in records}


def write_run_record(output: Path, name: str, values: Mapping[str, Any]) -> Path:
    """Keep what happened in one call: times, attempts, hosts, tracebacks; never read by the scan's products."""
    path = output / "runs" / f"{name}.json"
    write_json(path, values)
    return path


def run_records(output: Path) -> list[dict[str, Any]]:
    """Every run record, oldest first by name."""
    folder = output / "runs"
    return [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []


def _manifests(output: Path, field_id: str, stage: str) -> Iterator[Manifest]:
    for digest in field_listing(output, field_id).get(stage, []):
        path = _manifest_path(output, field_id, stage, digest)
        try:
            yield Manifest(**_read(path))
        except FileNotFoundError:
            continue  # swept by another process between listing and reading


def _manifest_path(output: Path, field_id: str, stage: str, fingerprint: str) -> Path:
    return output / "manifests" / encoded(field_id) / f"{stage}.{fingerprint}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ProductMismatch(f"{path} is not readable JSON ({error}); move it away and run again.") from error
    if not isinstance(values, dict):
        raise ProductMismatch(f"{path} does not hold a JSON object; move it away and run again.")
    return values


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
