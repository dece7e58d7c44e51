"""One HTML page of a scan: where it looked, what it found, what the scores promise, what failed, what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.colour import colour, fatal_outline, outline, png
from pipeline.catalogue.drift import find_drift
from pipeline.catalogue.observed import Judged, observed_rows
from pipeline.catalogue.proportion import share
from pipeline.catalogue.query import query
from pipeline.catalogue.report_facts import ArtefactShare, CalibrationFacts, CandidateFacts, KnownFacts, ReportFacts
from pipeline.catalogue.report_fields import ReadFields, read_fields
from pipeline.catalogue.report_page import page
from pipeline.catalogue.report_scores import ARTEFACTS, ScoreTally, Told, tally_scores
from pipeline.catalogue.stamps import Stamp, StampSource
from pipeline.errors import LensscanError, QueryError
from pipeline.flags import VetFlag, decode
from pipeline.io import ownership
from pipeline.io.places import Place
from pipeline.io.run_records import run_records
from pipeline.io.writing import atomic_write
from pipeline.scan_config import CandidatesConfig

Map = npt.NDArray[np.float32]
MapSource = Callable[[Sequence[Stamp]], Sequence[tuple[Map, Map] | None]]
"""Stamps -> lens light and artefact of each, (y, x) from 0 to 1, or None where there are no maps."""

TOPS = (10, 100)
"""Numbers of the best candidates whose share of artefacts is told, besides the most that are kept."""


def write_report(output: Place, target: Place, **options: Any) -> Place:
    """Write the page of a scan, in one file that needs nothing else.

    Parameters
    ----------
    output : Path or ObjectPath
        The scan's output folder; a scan that is half done, failed or has no ensemble gets a page, too.
    target : Path or ObjectPath
        The HTML file; replaced whole.
    **options
        Those of `gather`.

    Returns
    -------
    Path or ObjectPath
        `target`.

    Raises
    ------
    ProductMismatch
        If `output` is no scan's output.
    """
    atomic_write(target, page(gather(output, **options)).encode())
    return target


def gather(
    output: Place,
    *,
    stamp: StampSource | None = None,
    maps: MapSource | None = None,
    maps_told: str = "",
    calibration: CalibrationFacts | None = None,
    judged: Judged | None = None,
    known: KnownFacts | None = None,
    forecast: Mapping[str, Any] | None = None,
    top: int = 48,
    seconds: float | None = None,
    told: Told | None = None,
) -> ReportFacts:
    """Read what the page says from manifests, tables and the last run record.

    Every field's scores are read once and added up; the catalogue is never held.

    Parameters
    ----------
    output : Path or ObjectPath
    stamp : callable, optional
        (field_id, objid, row) -> the stamp to show, or None; see `pipeline.catalogue.stamps.scan_stamps`.
    maps : callable, optional
        Draws the ensemble's maps of stamps, which are outlined on them.
    maps_told : str
        Why there are none, or what a reader should know of them.
    calibration : CalibrationFacts, optional
        What the ensemble's files say of its calibration.
    judged : Judged, optional
        Which detections people found to be lenses, or none.
    known : KnownFacts, optional
        What became of known lenses.
    forecast : mapping, optional
        Values forecast before the scan, by name; else those of the last run that was recorded.
    top : int
        Candidates shown, primary ones only, best first.
    seconds : float, optional
        Time to read scores for; what was not read in it is told.
    told : callable, optional
        Gets (fields whose scores are read, fields in all) now and then.

    Raises
    ------
    ProductMismatch
        If `output` is no scan's output.
    """
    owner = ownership.identity(output)
    read = read_fields(output)
    tally = tally_scores(output, read.table, read.score_files, seconds=seconds, told=told)
    best, unread = _best(output, tally, top)
    runs = run_records(output)
    last: Mapping[str, Any] = next((record for record in reversed(runs) if record.get("actual")), {})
    scored = tally.reading.read > 0
    return ReportFacts(
        scan_id=str(owner.get("scan_id", "")),
        survey=str(owner.get("survey", "")),
        release=str(owner.get("release", "")),
        fields=tally.fields,
        failures=read.failures,
        notes=read.notes,
        candidates=_candidates(best, stamp, maps) if best is not None else (),
        unread_candidates=unread,
        maps=maps_told,
        scores=tally.histogram if scored else None,
        purity=tally.purity.rows(),
        expected_lenses=tally.purity.lenses,
        primary_scored=tally.purity.scored,
        prior=_prior(read),
        calibration=calibration,
        observed=observed_rows(output, judged) if judged is not None and scored else (),
        observed_by=judged.by if judged is not None else "",
        known=known,
        artefacts=_artefacts(tally),
        drift=find_drift(tally.clean, tally.clean_candidates) if scored else None,
        conditions=tally.conditions if scored else None,
        reading=tally.reading,
        forecast=dict(forecast if forecast is not None else last.get("forecast") or {}),
        actual=dict(last.get("actual") or {}),
        provenance=read.provenance,
        variants=read.variants,
    )


def _best(output: Place, tally: ScoreTally, top: int) -> tuple[pa.Table | None, tuple[tuple[str, str], ...]]:
    """The best primary candidates of what was read, and fields whose candidates can't be, each with the reason.

    No field is opened that has none of them.
    """
    fields = sorted({tally.fields.ids[row] for row in tally.best.field[:top].tolist()})
    if not fields:
        return None, ()
    try:
        return query(output, field=fields, primary=True, top=top), ()
    except QueryError:
        pass  # a file is broken, or went while the page was made: the others are shown, and it is named
    best: pa.Table | None = None
    readable: list[str] = []
    unread: list[tuple[str, str]] = []
    for field in fields:
        try:
            best = query(output, field=[*readable, field], primary=True, top=top)
            readable.append(field)
        except QueryError as error:
            unread.append((field, str(error)))
    return best, tuple(unread)


def _prior(read: ReadFields) -> float | None:
    """Share of lenses that the scores are for, as the config has it; None where no field says how it was scored."""
    config = read.provenance.get("config")
    if not isinstance(config, Mapping):
        return None
    given = (config.get("candidates") or {}).get("prior")
    return float(given) if given is not None else CandidatesConfig().prior


def _artefacts(tally: ScoreTally) -> tuple[ArtefactShare, ...]:
    rows = [ArtefactShare("all", tally.artefacts, tally.primaries, share(tally.artefacts, tally.primaries))]
    touched = (tally.best.flags & np.uint32(ARTEFACTS)) != 0
    if len(touched):
        for number in (*(top for top in TOPS if top < len(touched)), len(touched)):
            count = int(touched[:number].sum())
            rows.append(ArtefactShare(f"{number:,} best candidates", count, number, share(count, number)))
    return tuple(rows)


def _candidates(best: pa.Table, stamp: StampSource | None, maps: MapSource | None) -> tuple[CandidateFacts, ...]:
    rows = best.to_pylist()
    stamps = [_stamp(row, stamp) for row in rows]
    there = [number for number, found in enumerate(stamps) if found is not None]
    drawn: dict[int, tuple[Map, Map] | None] = {}
    if maps is not None and there:
        drawn = dict(zip(there, maps([found for found in stamps if found is not None]), strict=True))
    return tuple(
        _candidate(row, found, drawn.get(number)) for number, (row, found) in enumerate(zip(rows, stamps, strict=True))
    )


def _stamp(row: Mapping[str, Any], stamp: StampSource | None) -> Stamp | None:
    """A row's stamp; none where the field's cutouts are gone or can't be read, which is no reason to have no page."""
    if stamp is None:
        return None
    try:
        return stamp(row["field_id"], row["objid"], row["row"])
    except (LensscanError, OSError):
        return None


def _candidate(row: Mapping[str, Any], found: Stamp | None, drawn: tuple[Map, Map] | None) -> CandidateFacts:
    members = {name.removeprefix("score_"): row[name] for name in row if name.startswith("score_")}
    members.pop("std", None)
    light, artefact = (outline(np.nan_to_num(part) > 0.5) for part in drawn) if drawn is not None else ("", "")
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
        light=light,
        artefact=artefact,
        arc_area=row.get("arc_area"),
        peak=_peak(row),
        theta_E=(row["theta_E"], row["theta_E_std"]) if row.get("theta_E") is not None else None,
        trusted=row.get("theta_E_trusted"),
    )


def _peak(row: Mapping[str, Any]) -> float | None:
    """Distance of the lens light's peak from the position, arcsec."""
    if row.get("lens_ra") is None or row.get("lens_dec") is None:
        return None
    east = ((row["lens_ra"] - row["ra"] + 180) % 360 - 180) * np.cos(np.radians(row["dec"]))
    return float(np.hypot(east, row["lens_dec"] - row["dec"]) * 3600)
