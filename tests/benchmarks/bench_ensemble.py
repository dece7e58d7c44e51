"""What an ensemble finds: on synthetic skies that nothing was tuned on, and on real lenses and galaxies.

    python tests/benchmarks/bench_ensemble.py [--ensemble ground] [--seeds 1001 1002]

On a sky of `demo-sky` with 60 lenses, every own detection is scored: how many of the clear lenses are in the best
tenth, the AUROC of the score, and that of one number alone (r magnitude, g - i). With `LENSSCAN_DATA`: the share of
`kids-viking` detections (no lens is known there) above p = 0.5 at a prior of one half, and the share of confirmed
lensed galaxies of `ps1-lenses` with S/N above 10 that are above the same score. Intervals are 68 %.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.evaluate.metrics import auroc, share
from pipeline.geometry import FieldGeometry, separation
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.scan.field_scan import scan_field
from pipeline.scan.rows import ScoredRows
from pipeline.scan_config import CandidatesConfig, ScanConfig
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from pipeline.surveys import Survey, open_survey
from workflows.stamps import score_stamps

BANDS = ("g", "r", "i")
LENSES = 60
SAME_ARCSEC = 1.5
CLEAR_THETA_E, CLEAR_ARC_SNR = 1.2, 20.0
DEEP = 10.0


def scanned(survey: Survey, ensemble: Ensemble) -> list[ScoredRows]:
    """Every field of a survey, scored at a prior of one half."""
    config = ScanConfig(
        scan_id="bench", survey="none", output="none", bands=BANDS, candidates=CandidatesConfig(prior=0.5, floor=0.0)
    )
    fields = survey.fields()
    geometries: dict[str, FieldGeometry] = {field.field_id: survey.geometry(field) for field in fields}
    rows = []
    for field in fields:
        others = [geometry for name, geometry in geometries.items() if name != field.field_id]
        rows.append(scan_field(survey.open(field, BANDS), ensemble, config, neighbours=others))
    return rows


def joined(rows: Sequence[ScoredRows], values: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """One value a primary, scorable row of all fields."""
    kept = [part[row.is_primary & np.isfinite(row.score)] for row, part in zip(rows, values, strict=True)]
    return np.concatenate(kept).astype(np.float64)


def sky(seed: int, ensemble: Ensemble) -> None:
    """Print the figures of one synthetic sky."""
    config = load_sims("demo-sky")
    if not isinstance(config, SkyConfig):
        raise TypeError("demo-sky is no sky")
    with tempfile.TemporaryDirectory() as folder:
        toml = write_survey(config.model_copy(update={"lenses": LENSES}), Path(folder) / "sky", seed)
        lenses = pq.read_table(toml.parent / "truth.parquet").to_pandas()
        rows = scanned(open_survey(toml), ensemble)
    score, ra, dec, red, blue, red_mag = (
        joined(rows, values)
        for values in (
            [row.score for row in rows],
            [row.detections.ra for row in rows],
            [row.detections.dec for row in rows],
            [row.detections.mags[:, 2] for row in rows],
            [row.detections.mags[:, 0] for row in rows],
            [row.detections.mags[:, 1] for row in rows],
        )
    )
    distance = separation(lenses.ra.to_numpy()[:, None], lenses.dec.to_numpy()[:, None], ra, dec) * 3600
    label = (distance.min(axis=0) < SAME_ARCSEC).astype(np.int8)
    best = np.argsort(-score)[: len(score) // 10]
    clear = (lenses.theta_E > CLEAR_THETA_E).to_numpy() & (lenses.arc_snr > CLEAR_ARC_SNR).to_numpy()
    found = (distance[:, best].min(axis=1) < SAME_ARCSEC) & clear
    known = np.isfinite(red_mag)
    coloured = np.isfinite(blue) & np.isfinite(red)
    print(
        f"sky {seed}: {found.sum()} of {clear.sum()} clear lenses in the best tenth of {len(score)} detections; "
        f"AUROC {auroc(score, label).value:.3f}, r magnitude alone {auroc(-red_mag[known], label[known]).value:.3f}, "
        f"g - i alone {auroc((blue - red)[coloured], label[coloured]).value:.3f}"
    )


def real(data: Path, reference: str, ensemble: Ensemble) -> None:
    """Print the figures on real images."""
    rows = scanned(open_survey("kids-viking"), ensemble)
    score = joined(rows, [row.score for row in rows])
    galaxies = share(int((score > 0.5).sum()), len(score))
    print(f"kids-viking: {galaxies.value:.3f} [{galaxies.low:.3f}, {galaxies.high:.3f}] of {len(score)} above p = 0.5")
    with (data / "ps1-lenses" / "labels.csv").open(newline="") as stream:
        deep = {
            row["name"]
            for row in csv.DictReader(stream)
            if row["cls"] == "lensed_galaxies" and float(row["snrmax_i"] or 0) > DEEP
        }
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "scores.csv"
        stamps = data / "ps1-lenses" / "stamps"
        score_stamps(stamps, table, pixel_scale=0.25, bands=BANDS, ensemble=reference, prior=0.5)
        with table.open(newline="") as stream:
            scored = {row["name"].split(".")[0]: row["score"] for row in csv.DictReader(stream)}
    lenses = np.array([float(scored[name]) for name in sorted(deep & set(scored)) if scored[name]])
    for label, cut in (("p = 0.5", 0.5), ("the score that 1 % of kids-viking pass", float(np.quantile(score, 0.99)))):
        part = share(int((lenses > cut).sum()), len(lenses))
        print(f"ps1-lenses: {part.value:.3f} [{part.low:.3f}, {part.high:.3f}] of {len(lenses)} above {label}")


def main() -> None:
    """Print every figure that can be had here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1001, 1002])
    options = parser.parse_args()
    ensemble = load_ensemble(options.ensemble)
    for seed in options.seeds:
        sky(seed, ensemble)
    if "LENSSCAN_DATA" in os.environ:
        real(Path(os.environ["LENSSCAN_DATA"]), options.ensemble, ensemble)
    else:
        print("skipped: LENSSCAN_DATA is not set")


if __name__ == "__main__":
    main()
