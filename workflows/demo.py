"""The demo: a synthetic survey is written, scanned, and its catalogue compared with the truth."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import typer
from astropy.wcs import WCS
from rich.console import Group
from rich.table import Table

from pipeline.catalogue.query import query
from pipeline.errors import ProductMismatch
from pipeline.flags import PixelFlag, VetFlag, decode
from pipeline.geometry import pixel_scale, separation, to_pixel
from pipeline.io.fits import open_plane
from pipeline.io.tables import read_table
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from workflows.catalogue import scan_report
from workflows.cluster import ClusterConfig
from workflows.run import run_scan
from workflows.setup import open_scan

CLEAR_THETA_E = 1.2
"""Planted lenses count from this Einstein radius on, arcsec, ..."""
CLEAR_ARC_SNR = 20.0
"""... and from this S/N of the arc."""
MATCH_ARCSEC = 1.0
"""A lens is recovered by a candidate this near, and an artefact owns a candidate this near."""
TOP = 20

_SCAN = """\
# Written by `lensscan demo`; edit it and run `lensscan scan` on it to see what is redone.
scan_id = "demo-{seed}"
survey = "survey/survey.toml"
ensemble = "ground"
output = {output}
bands = ["g", "r", "i"]

[candidates]
# About one detection in fifty of this sky is a planted lens; the defaults are those of a real sky.
prior = 0.02
floor = 0.02
"""


@dataclass(frozen=True)
class Ranked:
    """One of the top candidates: what the truth says of it."""

    rank: int
    objid: int
    field_id: str
    score: float
    flags: str
    truth: str


@dataclass(frozen=True)
class DemoResult:
    """What the demo found; counts are of the whole synthetic survey."""

    fields: int
    failed: int
    detections: int
    scored: int
    candidates: int
    planted: int
    recovered: int
    artefacts_unflagged_in_top20: int
    catalogue: str
    report: str
    seconds: float
    ranking: tuple[Ranked, ...]

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON; the ranking is left out."""
        values = asdict(self)
        del values["ranking"]
        del values["failed"]
        return values


def run_demo(out: Path, cluster: ClusterConfig, *, seed: int = 1, sky: str = "demo-sky") -> DemoResult:
    """Write a synthetic survey, scan it, compare with the truth, write a report.

    A folder that holds the same demo already is scanned again, which does nothing if it is done.

    Parameters
    ----------
    out : Path
        Gets `survey/`, `scan.toml`, `products/` and `report.html`.
    cluster : ClusterConfig
    seed : int
        Of the sky.
    sky : str
        The sky's config.

    Raises
    ------
    ProductMismatch
        If the folder holds the demo of another seed.
    """
    began = time.monotonic()
    out = out.absolute()
    survey = _survey(out / "survey", sky, seed)
    products_folder = out / "products"
    config = out / "scan.toml"
    config.write_text(_SCAN.format(seed=seed, output=json.dumps(str(products_folder))), encoding="utf-8")
    outcome = run_scan(open_scan(str(config)), cluster)
    report = scan_report(products_folder, out / "report.html", forecast=outcome.forecast.as_dict())
    candidates = query(products_folder, top=None)
    lenses = read_table(survey / "truth.parquet")
    clear = lenses.filter(
        pa.array((lenses["theta_E"].to_numpy() > CLEAR_THETA_E) & (lenses["arc_snr"].to_numpy() > CLEAR_ARC_SNR))
    )
    ranking = rank(query(products_folder, primary=True, top=TOP), lenses, survey)
    return DemoResult(
        fields=outcome.summary.fields,
        failed=outcome.summary.failed,
        detections=outcome.summary.detections,
        scored=outcome.summary.scored,
        candidates=outcome.summary.candidates,
        planted=len(clear),
        recovered=int((nearest(clear, candidates) < MATCH_ARCSEC).sum()),
        artefacts_unflagged_in_top20=sum(row.truth == "artefact" and not row.flags for row in ranking),
        catalogue=str(products_folder),
        report=str(report),
        seconds=round(time.monotonic() - began, 1),
        ranking=ranking,
    )


def nearest(of: pa.Table, among: pa.Table) -> npt.NDArray[np.float64]:
    """Distance in arcsec of each row to the nearest row of another table, inf where that is empty."""
    if len(among) == 0:
        return np.full(len(of), np.inf)
    ra, dec = among["ra"].to_numpy(), among["dec"].to_numpy()
    rows = zip(of["ra"].to_numpy(), of["dec"].to_numpy(), strict=True)
    return np.array([separation(a, d, ra, dec).min() * 3600.0 for a, d in rows])


def rank(top: pa.Table, lenses: pa.Table, survey: Path) -> tuple[Ranked, ...]:
    """What the truth says of each candidate: a planted lens, a planted artefact at its centre, or neither."""
    to_lens = nearest(top, lenses)
    rows = []
    for number, row in enumerate(top.to_pylist()):
        truth = "artefact" if _on_artefact(survey, row) else "other"
        if to_lens[number] < MATCH_ARCSEC:
            truth = "lens"
        flags = ", ".join(decode(row["vet_flags"], VetFlag))
        rows.append(Ranked(number + 1, row["objid"], row["field_id"], row["score"], flags, truth))
    return tuple(rows)


def demo_text(result: DemoResult) -> Group:
    """The ranking, then the counts."""
    table = Table(box=None)
    for heading in ("rank", "objid", "field", "score", "truth", "flags"):
        table.add_column(heading)
    for row in result.ranking:
        table.add_row(str(row.rank), str(row.objid), row.field_id, f"{row.score:.4f}", row.truth, row.flags.lower())
    return Group(
        table,
        f"{result.detections:,} detections, {result.scored:,} scored, {result.candidates:,} candidates",
        f"{result.recovered} of {result.planted} clear planted lenses recovered "
        f'(theta_E > {CLEAR_THETA_E}", arc S/N > {CLEAR_ARC_SNR:g})',
        f"{result.artefacts_unflagged_in_top20} unflagged artefacts among the top {TOP}",
        f"catalogue: {result.catalogue}",
        f"report: {result.report}",
        f"{result.seconds:,.1f} s",
    )


def _survey(folder: Path, sky: str, seed: int) -> Path:
    """The survey's folder, written unless it is there."""
    note = folder / "seed.json"
    wanted = {"sky": sky, "seed": seed}
    if note.exists():
        if json.loads(note.read_text()) != wanted:
            raise ProductMismatch(f"{folder} holds the sky of another seed; choose another folder with --out DIR.")
        return folder
    config = load_sims(sky)
    if not isinstance(config, SkyConfig):
        raise ProductMismatch(f"{sky} is no sky; the demo needs one.")
    write_survey(config, folder, seed, progress=lambda line: typer.echo(line, err=True))
    note.write_text(json.dumps(wanted))
    return folder


def _on_artefact(survey: Path, row: dict[str, Any]) -> bool:
    """Whether a planted artefact lies within `MATCH_ARCSEC` of a candidate, in any band."""
    plane = open_plane(str(survey / row["field_id"] / f"{row['field_id']}_truth.fits"), 0)
    wcs = WCS(plane.header)
    reach = MATCH_ARCSEC / pixel_scale(wcs)
    x, y = (float(value) for value in to_pixel(wcs, row["ra"], row["dec"]))
    first, last = max(0, int(y - reach)), min(plane.shape[0], int(y + reach) + 2)
    flags = plane.read_integers(first, last)
    yy, xx = np.mgrid[first:last, 0 : plane.shape[1]]
    near = flags[(xx - x) ** 2 + (yy - y) ** 2 <= reach**2]
    # A region of less exposure is sky like any other: a galaxy in it is no artefact.
    return bool((near & ~np.int64(PixelFlag.LOW_EXPOSURE)).any())
