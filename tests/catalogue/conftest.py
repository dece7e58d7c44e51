"""A small catalogue with values that are easy to check by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cdshealpix.nested
import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude

from pipeline.io import ownership, products
from pipeline.io.tables import build_table, write_table
from pipeline.schema import scores_columns

MAPS = ("joint_score", "artefact_overlap", "lens_ra", "lens_dec", "arc_area")
"""Columns that are null without maps."""


def make_table(
    field_id: str,
    objid: Sequence[int],
    ra: Sequence[float],
    dec: Sequence[float],
    score: Sequence[float],
    flags: Sequence[int] | None = None,
    members: Sequence[str] = ("cnn",),
    primary: Sequence[bool] | None = None,
) -> pa.Table:
    """A field's scores in order of its HEALPix cells, as a scan writes them; NaN scores become null."""
    n = len(objid)
    cell = cdshealpix.nested.lonlat_to_healpix(
        Longitude(np.array(ra, float) * units.deg), Latitude(np.array(dec, float) * units.deg), 29
    ).astype(np.int64)
    values: dict[str, Any] = {
        "objid": np.array(objid, np.int64),
        "survey": ["sky"] * n,
        "release": ["dr1"] * n,
        "field_id": [field_id] * n,
        "scan_id": ["test"] * n,
        "ra": np.array(ra, np.float64),
        "dec": np.array(dec, np.float64),
        "score": np.array(score, np.float32),
        "score_std": np.zeros(n),
        "gate_score": np.full(n, np.nan),
        "ood": np.full(n, np.nan),
        "vet_flags": np.array(flags if flags is not None else [0] * n, np.uint32),
        "artefact_fraction": np.zeros(n),
        "valid_fraction": np.ones(n),
        **{name: np.full(n, np.nan) for name in MAPS},
        "is_primary": np.array(primary if primary is not None else [True] * n, bool),
        "shard": [f"{field_id}/0"] * n,
        "row": np.arange(n, dtype=np.int32),
        "_healpix_29": cell,
        "mag_r": np.full(n, 20.0),
        "seeing_r": np.full(n, np.nan),
    }
    values |= {f"score_{name}": np.array(score, np.float32) for name in members}
    table = build_table(scores_columns(members, ["r"]), values)
    return table.take(pa.array(np.lexsort((values["objid"], cell))))


def publish_field(output: Path, field_id: str, scores: pa.Table, candidates: pa.Table, name: str = "f1") -> None:
    """Write a field's tables into a scan's output and make them live."""
    if not (output / "scan.json").exists():
        ownership.claim(output, "test", "sky", "dr1")
    generation = products.new_generation(output, "candidates", field_id, name)
    folder = output / products.generation_place("candidates", field_id, generation)
    write_table(folder / "scores.parquet", scores)
    write_table(folder / "candidates.parquet", candidates)
    products.publish(
        output,
        field_id=field_id,
        stage="candidates",
        fingerprint=name,
        generation=generation,
        rows=len(scores),
        provenance={"config": {"scan_id": "test", "bands": ["r"]}, "software": {"lensscan": "0"}},
        counts={
            "detections": len(scores),
            "cutouts": len(scores),
            "scored": len(scores),
            "unscorable": scores["score"].null_count,
            "candidates": len(candidates),
        },
    )


@pytest.fixture(name="make_table")
def _make_table() -> Callable[..., pa.Table]:
    return make_table


@pytest.fixture(name="publish_field")
def _publish_field() -> Callable[..., None]:
    return publish_field


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Two fields: `A/1` with a flagged row, a copy of field B's and a null score; `B` with a member more."""
    output = tmp_path / "a scan"
    nan = float("nan")
    first = make_table(
        "A/1",
        [2**53 + 1, 12, 13, 14],
        [10.0, 10.1, 10.2, 359.9999],
        [0.0, 0.0, 0.5, 89.9],
        [0.9, 0.5, nan, 0.7],
        [0, 64, 2, 0],
        primary=[True, False, True, True],
    )
    second = make_table("B", [-5, 12], [10.05, 10.1], [0.0, 0.0], [0.95, 0.4], [0, 66], members=("cnn", "vit"))
    publish_field(output, "A/1", first, first.filter(pa.array([x is not None for x in first["score"].to_pylist()])))
    publish_field(output, "B", second, second)
    return output
