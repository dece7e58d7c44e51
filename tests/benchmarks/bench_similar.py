"""Query by example over many embeddings: time and memory of one question.

    PYTHONPATH=. python tests/benchmarks/bench_similar.py [--rows 1000000] [--fields 100] [--folder DIR] [--json FILE]

Vectors of 64 numbers, as a rectifier leaves them, are drawn at random; each field has as many rows. They are written as
a scan writes them. A question is asked once to warm up, then five times; the median counts, the fastest and the slowest
are told. Most memory is that of the process while it answers, less what it had before. Answers are held against numpy
on all vectors in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.similar import similar
from pipeline.io import ownership, products
from pipeline.io.embeddings import EmbeddingKind, Embeddings, write_embeddings
from pipeline.io.tables import build_table, write_table
from pipeline.schema import scores_columns

WIDTH, TOP, ASKED = 64, 50, 5
KIND = EmbeddingKind("one", "identity", "candidates")
UNKNOWN = ("score_std", "gate_score", "ood", "joint_score", "artefact_overlap", "lens_ra", "lens_dec", "arc_area")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--fields", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="keeps the catalogue here for another run")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    output = folder / f"scan-{options.rows}-{options.fields}"
    if not output.exists():
        write_catalogue(output, options.rows, options.fields)
    figures = {"rows": options.rows, "fields": options.fields, **measure(output)}
    print(json.dumps(figures, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.folder is None:
        shutil.rmtree(folder)


def vectors(field: int, rows: int) -> npt.NDArray[np.float16]:
    """The vectors of one field: a common direction and noise, none of it negative."""
    rng = np.random.default_rng([1, field])
    common = np.random.default_rng(0).uniform(0, 2, WIDTH).astype(np.float32)
    drawn: npt.NDArray[np.float16] = np.maximum(common + rng.standard_normal((rows, WIDTH), np.float32), 0).astype(
        np.float16
    )
    return drawn


def write_catalogue(output: Path, rows: int, fields: int) -> None:
    """A scan's candidates, as many in each field, with embeddings."""
    ownership.claim(output, "bench", "sky", "dr1")
    each = rows // fields
    rng = np.random.default_rng(2)
    for field in range(fields):
        name = f"f{field:05d}"
        generation = products.new_generation(output, "candidates", name, "f1")
        folder = output / products.generation_place("candidates", name, generation)
        objid = np.arange(field * each, (field + 1) * each, dtype=np.int64)
        values: dict[str, Any] = {
            "objid": objid,
            **{
                key: [text] * each
                for key, text in zip(("survey", "release", "scan_id"), ("sky", "dr1", "b"), strict=True)
            },
            "field_id": [name] * each,
            "ra": rng.uniform(0, 360, each),
            "dec": rng.uniform(-60, 60, each),
            "score": rng.uniform(0, 1, each).astype(np.float32),
            "vet_flags": np.zeros(each, np.uint32),
            "artefact_fraction": np.zeros(each),
            "valid_fraction": np.ones(each),
            **{key: np.full(each, np.nan) for key in UNKNOWN},
            "is_primary": np.full(each, True),
            "shard": [f"{name}/0"] * each,
            "row": np.arange(each, dtype=np.int32),
            "_healpix_29": objid,
        }
        table = build_table(scores_columns([], []), values)
        write_table(folder / "candidates.parquet", table)
        write_table(folder / "scores.parquet", table)
        write_embeddings(folder / "embeddings.parquet", Embeddings(KIND, objid, vectors(field, each)))
        products.publish(
            output,
            field_id=name,
            stage="candidates",
            fingerprint="f1",
            generation=generation,
            rows=each,
            provenance={},
            counts={"candidates": each, "detections": each},
        )


def measure(output: Path) -> dict[str, Any]:
    """Seconds, of the clock and of processors, and memory of one question, and the bytes that it reads."""
    files = list(products.live_files(output, "candidates", "embeddings.parquet").values())
    rows = int(json.loads(next((output / "manifests" / "f00000").glob("*.json")).read_text())["rows"])
    objid = rows // 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = similar(output, objid, top=TOP)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, busy = [], []
    for _ in range(ASKED):
        began, worked = time.perf_counter(), time.process_time()
        similar(output, objid, top=TOP)
        seconds.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    expected = by_numpy(len(files), rows, objid)
    assert answer["objid"].to_pylist() == expected, "another answer than numpy's"
    return {
        "megabytes": round(sum(Path(str(path)).stat().st_size for path in files) / 1e6, 1),
        "seconds": round(statistics.median(seconds), 3),
        "fastest": round(min(seconds), 3),
        "slowest": round(max(seconds), 3),
        "cpu_seconds": round(statistics.median(busy), 3),
        "memory_mb": round((most - before) / 1024, 1),
    }


def by_numpy(fields: int, rows: int, objid: int) -> list[int]:
    """Ids of the most similar rows, from all cosines in float64."""
    example = vectors(objid // rows, rows)[objid % rows].astype(np.float64)
    cosines = []
    for field in range(fields):
        part = vectors(field, rows).astype(np.float64)
        cosines.append(part @ example / np.linalg.norm(part, axis=1) / np.linalg.norm(example))
    order = np.argsort(-np.concatenate(cosines), kind="stable")
    return [int(number) for number in order[: TOP + 1] if number != objid][:TOP]


if __name__ == "__main__":
    main()
