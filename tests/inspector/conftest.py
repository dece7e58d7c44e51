"""A scan of two overlapping fields with cutouts, scores and candidates, small enough to check by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inspector.identity import CatalogueIdentity
from pipeline.io import cutout_store, ownership, products
from tests.catalogue.conftest import make_table, publish_field
from tests.inspector.clients import client_of, scan_output  # noqa: F401
from tests.inspector.made_scan import made_scan
from tests.inspector.serving import Inspect, inspecting

BANDS = ("g", "r", "i")
SIDE, SCALE = 16, 0.3
FIRST = 2**60 + 1
"""A float64 holds no odd number of this size: an id that has been through one is another's."""
SCAN = CatalogueIdentity("sky", "dr1", "test")
NUMBER = 40
"""Objects of a field; the first two stand in both."""


def objid(field: int, row: int) -> int:
    return FIRST + 2 * row + (0 if row < 2 else 10_000 * field)


def image(field: int, row: int) -> np.ndarray:
    rng = np.random.default_rng([field, row])
    return rng.normal(5, 1, (len(BANDS), SIDE, SIDE)).astype(np.float32)


def position(field: int, row: int) -> tuple[float, float]:
    """Degrees; objects of both fields are at the same place in both."""
    rng = np.random.default_rng([7, 0 if row < 2 else field, row])
    return 150 + 0.2 * rng.random(), 0.2 * rng.random()


def write_scan(output: Path, *, kept: Sequence[int] | None = None, fields: int = 2) -> Path:
    """Scores of 40 objects a field, every second one a candidate; `kept` are the rows whose cutouts stay."""
    ownership.claim(output, "test", "sky", "dr1")
    for field in range(fields):
        name = f"F{field}"
        ids = [objid(field, row) for row in range(NUMBER)]
        ra, dec = zip(*(position(field, row) for row in range(NUMBER)), strict=True)
        _write_cutouts(output, name, field, ids, kept)
        _publish(output, "detect", name, "detections", pa.table({"objid": ids, "ra": ra, "dec": dec}), "b")
        score = [0.99 - row / 100 for row in range(NUMBER)]
        primary = [field == 0 or row >= 2 for row in range(NUMBER)]
        scores = make_table(name, ids, ra, dec, score, primary=primary)
        place = {number: row for row, number in enumerate(ids)}
        rows = [place[number] for number in scores["objid"].to_pylist()]
        # A row of the table tells where its cutout is.
        where = [row if kept is None or row in kept else None for row in rows]
        scores = scores.set_column(
            scores.column_names.index("row"),
            scores.schema.field("row").with_nullable(True),
            [pa.array(where, pa.int32())],
        )
        publish_field(output, name, scores, scores.filter(pa.array([row % 2 == 0 for row in rows])), "c" * 64)
    return output


def candidates(output: Path) -> list[tuple[str, int]]:
    """Keys of the candidates."""
    return [(f"F{field}", objid(field, row)) for field in (0, 1) for row in range(0, NUMBER, 2)]


def write_pool(
    path: Path, n: int = 12, *, side: int = SIDE, scale: float = SCALE, bands: Sequence[str] = BANDS
) -> Path:
    """Stamps of which every second one is a lens."""
    rng = np.random.default_rng(n)
    label = np.arange(n) % 2 == 0
    np.savez(
        path,
        image=rng.normal(7, 1, (n, len(bands), side, side)).astype(np.float32),
        ivar=np.ones((n, len(bands), side, side), np.float32),
        mask=np.zeros((n, len(bands), side, side), np.uint32),
        label=label,
        bands=np.array(bands),
        pixel_scale=np.float64(scale),
        theta_E=np.where(label, 0.8 + 0.2 * np.arange(n), np.nan).astype(np.float32),
        lens_mag=np.where(label, 19 + 0.25 * np.arange(n), np.nan).astype(np.float32),
        arc_snr=np.where(label, 30, np.nan).astype(np.float32),
    )
    return path


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scan's output, to be read and not to be changed."""
    return write_scan(tmp_path_factory.mktemp("graded") / "scan")


def _write_cutouts(output: Path, name: str, field: int, ids: list[int], kept: Sequence[int] | None) -> None:
    images = np.stack([image(field, row) for row in range(len(ids))])
    mask = np.zeros(images.shape, np.uint32)
    cut = products.generation_place("cutouts", name, products.new_generation(output, "cutouts", name, "a" * 64))
    store = cutout_store.create(
        output / cut,
        bands=BANDS,
        pixel_scale=SCALE,
        rows=len(ids),
        size=SIDE,
        chunk=4,
        shard=16,
        codec="lz4",
        seeing={},
        kept=kept,
    )
    shards = [slice(first, first + 16) for first in range(0, len(ids), 16)]
    arrays = [cutout_store.Stamps(images[part], np.ones_like(images[part]), mask[part]) for part in shards]
    if kept is None:
        cutout_store.write(store, arrays)
    else:
        numbers = sorted({row // 16 for row in kept})
        cutout_store.write_kept(store, [(number, cutout_store.pack(arrays[number], False)) for number in numbers])
    table = pa.table({"objid": ids, "bands_missing": np.zeros(len(ids), np.uint32)})
    pq.write_table(table, output / cut / "stamps.parquet")
    _published(output, "cutouts", name, cut, len(ids), "a")


def _publish(output: Path, stage: str, name: str, file: str, table: pa.Table, letter: str) -> None:
    place = products.generation_place(stage, name, products.new_generation(output, stage, name, letter * 64))
    (output / place).mkdir(parents=True, exist_ok=True)
    pq.write_table(table, output / place / f"{file}.parquet")
    _published(output, stage, name, place, len(table), letter)


def _published(output: Path, stage: str, name: str, place: str, rows: int, letter: str) -> None:
    products.publish(
        output,
        field_id=name,
        stage=stage,
        fingerprint=letter * 64,
        generation=place.rsplit("/", 1)[1],
        rows=rows,
        provenance={},
    )


@pytest.fixture(scope="module")
def served(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspect]:
    """A page of a made scan, for the tests of one file."""
    output = made_scan(tmp_path_factory.mktemp("page") / "products")
    with inspecting(output, "--port", 0) as server:
        yield server
