"""One HTML page of a scan: what was done, the best candidates, the scores, what failed, and what it rests on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.colour import colour, fatal_outline, png
from pipeline.catalogue.purity import expected_purity
from pipeline.catalogue.query import query
from pipeline.catalogue.report_facts import CandidateFacts, FieldFacts, ReportFacts, ScoreHistogram
from pipeline.catalogue.report_page import page
from pipeline.catalogue.sources import open_source
from pipeline.catalogue.stamps import StampSource
from pipeline.errors import QueryError
from pipeline.flags import VetFlag, decode
from pipeline.io import ownership, products
from pipeline.io.places import Place
from pipeline.io.run_records import run_records
from pipeline.io.writing import atomic_write
from pipeline.provenance import STAGES

DECADES = 7
"""The histogram of scores reaches this many powers of ten below 1; what is lower counts in its lowest bin."""
BINS_A_DECADE = 5


def write_report(
    output: Place,
    target: Place,
    *,
    stamp: StampSource | None = None,
    forecast: Mapping[str, Any] | None = None,
    top: int = 48,
) -> Place:
    """Write the page of a scan, in one file that needs nothing else.

    Parameters
    ----------
    output : Path or ObjectPath
        The scan's output folder; a scan that is half done or has no ensemble gets a page, too.
    target : Path or ObjectPath
        The HTML file; replaced whole.
    stamp : callable, optional
        (field_id, objid, row) -> the stamp to show, or None; see `pipeline.catalogue.stamps.scan_stamps`.
    forecast : mapping, optional
        Values forecast before the scan, by name; else those of the last run that was recorded.
    top : int
        Candidates shown, primary ones only, best first.

    Returns
    -------
    Path or ObjectPath
        `target`.

    Raises
    ------
    ProductMismatch
        If `output` is no scan's output.
    """
    facts = gather(output, stamp=stamp, forecast=forecast, top=top)
    atomic_write(target, page(facts).encode())
    return target


def gather(
    output: Place, *, stamp: StampSource | None = None, forecast: Mapping[str, Any] | None = None, top: int = 48
) -> ReportFacts:
    """Read what the page says from manifests, tables and the last run record; parameters as `write_report`."""
    owner = ownership.identity(output)
    failures = products.failures(output)
    fields, provenances = [], []
    for field_id, live in products.live_by_field(output, sorted({*products.listing(output), *failures}), STAGES):
        facts, provenance = _field(field_id, live, failures.get(field_id))
        fields.append(facts)
        if provenance:
            provenances.append(provenance)
    try:
        scores, purity = _histogram(output), expected_purity(_primary_scores(output))
        best = query(output, primary=True, top=top)
    except QueryError:
        scores, best, purity = None, None, ()
    runs = run_records(output)
    last: Mapping[str, Any] = next((record for record in reversed(runs) if record.get("actual")), {})
    return ReportFacts(
        scan_id=str(owner.get("scan_id", "")),
        survey=str(owner.get("survey", "")),
        release=str(owner.get("release", "")),
        fields=tuple(fields),
        candidates=tuple(_candidate(row, stamp) for row in best.to_pylist()) if best is not None else (),
        scores=scores,
        forecast=dict(forecast if forecast is not None else last.get("forecast") or {}),
        actual=dict(last.get("actual") or {}),
        provenance=provenances[-1] if provenances else {},
        purity=purity,
        variants=len({json.dumps(provenance, sort_keys=True) for provenance in provenances}),
    )


def _field(
    field_id: str, live: Mapping[str, products.Manifest], failure: Mapping[str, str] | None
) -> tuple[FieldFacts, dict[str, Any]]:
    """A field, and what its last product rests on but for its own files."""
    states = tuple(
        "failed" if failure is not None and failure["stage"] == stage else "done" if stage in live else "-"
        for stage in STAGES
    )
    manifest = next(reversed(list(live.values())), None)
    counts = dict(manifest.counts) if manifest is not None else {}
    reason = failure["reason"] if failure is not None else None
    shared = ("config", "survey", "software", "packages")
    provenance = {key: manifest.provenance[key] for key in shared if key in manifest.provenance} if manifest else {}
    notes = tuple(text for _, text in products.notes_of(live))
    return FieldFacts(field_id, states, manifest is not None and manifest.empty, counts, reason, notes), provenance


def _histogram(output: Place) -> ScoreHistogram:
    """Count scores batch by batch, never holding a whole catalogue."""
    edges = np.linspace(-DECADES, 0, DECADES * BINS_A_DECADE + 1)
    scored, unflagged, candidates = (np.zeros(len(edges) - 1, np.int64) for _ in range(3))
    flags: Counter[str] = Counter()
    for batch in open_source(output, every_score=True).dataset.to_batches(columns=["score", "vet_flags"]):
        bits = batch.column("vet_flags").to_numpy()
        scored += _counts(batch, edges, np.ones(len(bits), bool))
        unflagged += _counts(batch, edges, bits == 0)
        flags.update({str(flag.name): int(((bits & flag.value) != 0).sum()) for flag in VetFlag})
    for batch in open_source(output).dataset.to_batches(columns=["score"]):
        candidates += _counts(batch, edges, np.ones(len(batch), bool))
    return ScoreHistogram(edges, scored, candidates, unflagged, flags)


def _primary_scores(output: Place) -> Iterator[npt.NDArray[Any]]:
    for batch in open_source(output, every_score=True).dataset.to_batches(columns=["score", "is_primary"]):
        yield batch.filter(batch.column("is_primary")).column("score").to_numpy(zero_copy_only=False)


def _counts(batch: pa.RecordBatch, edges: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> Any:
    score = batch.column("score").to_numpy(zero_copy_only=False)[chosen].astype(np.float64)
    score = score[np.isfinite(score)]
    return np.histogram(np.log10(np.clip(score, 10.0 ** edges[0], 1.0)), edges)[0]


def _candidate(row: Mapping[str, Any], stamp: StampSource | None) -> CandidateFacts:
    found = stamp(row["field_id"], row["objid"], row["row"]) if stamp is not None else None
    members = {name.removeprefix("score_"): row[name] for name in row if name.startswith("score_")}
    members.pop("std")
    return CandidateFacts(
        objid=row["objid"],
        field_id=row["field_id"],
        ra=row["ra"],
        dec=row["dec"],
        score=row["score"] if row["score"] is not None else float("nan"),
        score_std=row["score_std"],
        members=members,
        flags=tuple(decode(row["vet_flags"], VetFlag)),
        picture=png(colour(found)) if found is not None else b"",
        side_pix=int(found.image.shape[-1]) if found is not None else 1,
        pixel_scale=found.pixel_scale if found is not None else 1.0,
        bands=", ".join(found.bands) if found is not None else "",
        outline=fatal_outline(found.mask) if found is not None else "",
    )
