"""The fields of a scan as its manifests tell of them, one at a time, in columns that a hundred thousand of fit into."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.catalogue.field_turn import field_turns
from pipeline.catalogue.report_facts import COUNTS, DONE, FAILED, NOT_DONE, Failure, FieldNotes, FieldTable
from pipeline.io import products
from pipeline.io.footprints import read_footprints
from pipeline.io.places import Place
from pipeline.io.products import Manifest
from pipeline.provenance import STAGES

MOST_NOTES = 200
"""Notes that are kept to be shown; the others are counted."""

SHARED = ("config", "survey", "software", "packages")
"""What a product rests on that is the same for every field of one run."""


@dataclass(frozen=True)
class ScoreFile:
    """Where the scores of a field are, and how many of its rows are candidates."""

    field: int
    path: Place
    candidates: int


@dataclass(frozen=True)
class ReadFields:
    """What manifests, quarantine and footprints say.

    Attributes
    ----------
    table : FieldTable
    score_files : tuple of ScoreFile
        Of the fields that have scores, in order.
    failures : tuple of Failure
        Every field in quarantine, in order of the stages.
    notes : FieldNotes
    provenance : mapping
        What the most fields' last products rest on.
    variants : int
        Different ones that there are.
    """

    table: FieldTable
    score_files: tuple[ScoreFile, ...]
    failures: tuple[Failure, ...]
    notes: FieldNotes
    provenance: Mapping[str, Any]
    variants: int


def read_fields(output: Place) -> ReadFields:
    """Read every field's live manifests, the quarantine and the remembered footprints.

    Fields that only the footprints know of are the ones that a scan has not begun.
    """
    failures = products.failures(output)
    begun = {field_id for field_id, _ in products.listings(output)} | set(failures)
    footprints = read_footprints(output).footprints
    ids = tuple(sorted(begun | set(footprints.ids)))
    index = {field_id: row for row, field_id in enumerate(ids)}
    states = np.zeros((len(ids), len(STAGES)), np.uint8)
    counts = np.full((len(ids), len(COUNTS)), -1, np.int64)
    empty = np.zeros(len(ids), bool)
    files: list[ScoreFile] = []
    detections: list[tuple[int, Place]] = []
    notes: list[tuple[str, str]] = []
    number = 0
    seen: Counter[str] = Counter()
    kinds: dict[str, dict[str, Any]] = {}
    for field_id, live in products.live_by_field(output, sorted(begun), STAGES):
        row = index[field_id]
        states[row] = [DONE if stage in live else NOT_DONE for stage in STAGES]
        last = next(reversed(list(live.values())), None)
        if last is None:
            continue
        empty[row] = last.empty
        counts[row] = [last.counts.get(name, -1) for name in COUNTS]
        _remember(last, seen, kinds)
        told = [(field_id, text) for _, text in products.notes_of(live)]
        number += len(told)
        notes += told[: MOST_NOTES - len(notes)]
        detected, scored = live.get("detect"), live.get("candidates")
        if detected is not None and "detections.parquet" in detected.files:
            detections.append((row, output / detected.place / "detections.parquet"))
        if scored is not None and "scores.parquet" in scored.files:
            files.append(
                ScoreFile(row, output / scored.place / "scores.parquet", int(scored.counts.get("candidates", 0)))
            )
    quarantine = []
    for field_id, record in failures.items():
        stage = str(record["stage"])
        if stage in STAGES:
            states[index[field_id], STAGES.index(stage)] = FAILED
        else:
            states[index[field_id], 0] = FAILED  # before any stage began
        quarantine.append(Failure(field_id, stage, str(record["reason"]), record.get("again") == "yes"))
    order = {stage: place for place, stage in enumerate(STAGES)}
    quarantine.sort(key=lambda failure: (order.get(failure.stage, -1), failure.field_id))
    chosen = seen.most_common(1)
    provenance = kinds[chosen[0][0]] if chosen else {}
    places = dict(zip(("ra", "dec", "width", "height"), _places(footprints, index), strict=True))
    return ReadFields(
        table=FieldTable(
            ids,
            states,
            empty,
            counts,
            **places,
            turn=field_turns(detections, len(ids), output),
            last=_last(provenance, states),
        ),
        score_files=tuple(files),
        failures=tuple(quarantine),
        notes=FieldNotes(tuple(notes), number),
        provenance=provenance,
        variants=len(seen),
    )


def _last(provenance: Mapping[str, Any], states: np.ndarray[Any, Any]) -> str:
    """The last stage of this scan: `cutouts` where its config names no ensemble and nothing is scored."""
    config = provenance.get("config")
    scored = (states[:, STAGES.index("score") :] != NOT_DONE).any()
    return "cutouts" if config and not config.get("ensemble") and not scored else STAGES[-1]


def _remember(manifest: Manifest, seen: Counter[str], kinds: dict[str, dict[str, Any]]) -> None:
    """Count what a field rests on but for its own files; each kind is kept once."""
    shared = {key: manifest.provenance[key] for key in SHARED if key in manifest.provenance}
    if shared:
        digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
        seen[digest] += 1
        kinds.setdefault(digest, shared)


def _places(footprints: Any, index: Mapping[str, int]) -> tuple[np.ndarray[Any, Any], ...]:
    """Middle and sides of every field in degrees: ra, dec, width, height; NaN where no footprint is remembered."""
    ra, dec, width, height = (np.full(len(index), np.nan) for _ in range(4))
    if len(footprints):
        rows = np.array([index[field_id] for field_id in footprints.ids])
        x, y, z = footprints.centre.T
        ra[rows] = np.degrees(np.arctan2(y, x)) % 360
        dec[rows] = np.degrees(np.arctan2(z, np.hypot(x, y)))
        height[rows], width[rows] = (footprints.shape * footprints.pixel_scale[:, None] / 3600).T
    return ra, dec, width, height
