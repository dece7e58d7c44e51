"""kids-viking from FITS to catalogue: real pixels without any mask plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.flags import VetFlag
from pipeline.geometry import depth, separation
from pipeline.io import products
from workflows.cluster import ClusterConfig
from workflows.run import ScanOutcome, run_scan
from workflows.setup import ScanSetup, open_scan

STRIP = (783, 874)
"""Columns of the detector-edge strip, as the data's own description gives them."""
SEAM_ARCSEC = 0.5

Scanned = tuple[ScanSetup, ScanOutcome, dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def scanned(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    del real_data
    out = tmp_path_factory.mktemp("kids") / "scan"
    setup = open_scan("kids-viking", str(out))
    outcome = run_scan(setup, ClusterConfig(kind="serial"), quiet=True)
    scores = products.live_files(out, "candidates", "scores.parquet")
    places = products.live_files(out, "detect", "detections.parquet")
    tables = {}
    for field, path in scores.items():
        x = pq.read_table(places[field]).select(["objid", "x", "y"]).to_pandas().set_index("objid")
        tables[field] = pq.read_table(path).to_pandas().set_index("objid").join(x)
    return setup, outcome, tables


@pytest.mark.slow
def test_both_fields_are_scanned_and_every_detection_is_scored(scanned: Scanned) -> None:
    _, outcome, tables = scanned
    summary = outcome.summary
    assert (summary.fields, summary.done, summary.failed) == (2, 2, 0)
    assert summary.detections == summary.cutouts == summary.scored == sum(map(len, tables.values()))
    assert summary.detections > 800


@pytest.mark.slow
def test_objects_that_both_fields_found_are_primary_once(scanned: Scanned) -> None:
    setup, _, tables = scanned
    geometries = {field.field_id: setup.survey.geometry(field) for field in setup.survey.fields()}
    left, right = tables["KV0"], tables["KV1"]
    pairs = doubled = near_seam = 0
    for _, row in left.iterrows():
        distance = separation(row.ra, row.dec, right.ra, right.dec) * 3600
        nearest = int(np.argmin(distance))
        if distance[nearest] > 0.5:
            continue
        inside = [float(depth(geometries[name], row.ra, row.dec)) for name in ("KV0", "KV1")]
        if abs(inside[0] - inside[1]) < 2 * SEAM_ARCSEC:
            near_seam += 1
            continue
        pairs += 1
        doubled += bool(row.is_primary) + bool(right.is_primary.iloc[nearest]) != 1
    print(f"{pairs} pairs in the overlap, {near_seam} near the seam left out")
    assert pairs > 30
    assert doubled == 0


@pytest.mark.slow
def test_stamps_on_the_detector_edge_strip_are_flagged_without_a_mask_plane(scanned: Scanned) -> None:
    _, _, tables = scanned
    edges = VetFlag.CHIP_GAP_CROSSES | VetFlag.SEAM
    for field, rows in tables.items():
        crossing = rows[(rows.x > STRIP[0]) & (rows.x < STRIP[1])]
        flagged = (crossing.vet_flags.to_numpy() & int(edges)) != 0
        assert len(crossing) > 10
        assert flagged.all(), f"{field}: {np.count_nonzero(~flagged)} of {len(crossing)} stamps on the strip unflagged"
