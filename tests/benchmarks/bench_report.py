"""The report of a scan: what its drift alarms find, and what a page of many fields costs.

    python -m tests.benchmarks.bench_report [--surveys 200] [--fields 60000 --known 100000 --rows 1000] [--folder DIR]
        [--json FILE]

Drift: simulated surveys of 50 fields of 500 detections whose log scores are normal, with one per cent of high ones;
in twice as many nothing differs, in the others one field's scores are shifted, or it has more of the high ones. Cost: a
scan whose fields' tables are links to one, `--fields` of `--known` on the sky done; `lensscan report` in a process of
its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline.catalogue.drift import find_drift
from pipeline.geometry import Footprints
from pipeline.io import ownership
from pipeline.io.footprints import write_footprints
from pipeline.io.tables import write_table
from tests.catalogue.conftest import make_table
from tests.catalogue.test_drift import survey

SIZES = [500] * 50
SCATTER = 0.7
SHIFTS = (0.3, 0.4, 0.5)
TIMES = (2.0, 4.0, 6.0)
STAGES = ("masks", "detect", "cutouts", "score", "candidates")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surveys", type=int, default=200, help="0 leaves drift out")
    parser.add_argument("--fields", type=int, default=0, help="done, at most 64,000 by links; 0 leaves the page out")
    parser.add_argument("--known", type=int, default=None, help="fields on the sky; as many as are done if left out")
    parser.add_argument("--rows", type=int, default=1000, help="of each field")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.surveys:
        figures["drift"] = drift(options.surveys)
    if options.fields:
        folder = options.folder or Path(tempfile.mkdtemp())
        write_scan(folder / "scan", options.fields, options.known or options.fields, options.rows)
        figures["page"] = page(folder)
        if options.folder is None:
            shutil.rmtree(folder)
    print(json.dumps(figures, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def drift(surveys: int) -> dict[str, Any]:
    """Alarms where nothing differs, and the share of surveys whose one odd field is found."""
    random = np.random.default_rng(99)
    still = [find_drift(*survey(random, SIZES)) for _ in range(2 * surveys)]

    def found(shift: float = 0.0, times: float = 1.0) -> float:
        odd = [survey(random, SIZES, shift={7: SCATTER * shift}, extra={7: times}) for _ in range(surveys)]
        return float(np.mean([find_drift(*one).alarm[7] for one in odd]))

    return {
        "alarms without drift": int(sum(one.alarm.sum() for one in still)),
        "of fields": 2 * surveys * len(SIZES),
        "found by shift in units of the scatter": {shift: found(shift=shift) for shift in SHIFTS},
        "found by times the high scores": {times: found(times=times) for times in TIMES},
    }


def page(folder: Path) -> dict[str, float]:
    """Seconds, seconds of CPU, peak memory in MB and size in MB of `lensscan report`."""
    code = "import sys; from workflows.cli import main; sys.argv[0] = 'lensscan'; main()"
    began = time.perf_counter()
    command = [sys.executable, "-c", code, "report", str(folder / "scan"), "--output", str(folder / "report.html")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / 1e3,
        "size_mb": (folder / "report.html").stat().st_size / 1e6,
    }


def write_scan(output: Path, done: int, known: int, rows: int) -> None:
    """A scan over most of the sky, whose fields' tables are one file by many names."""
    random = np.random.default_rng(5)
    ownership.claim(output, "bench", "wide", "1")
    level = random.normal(-5.6, 0.5, rows) + (random.random(rows) < 0.02) * random.exponential(1.2, rows)
    flags = np.where(random.random(rows) < 0.3, 1 << random.integers(0, 7, rows), 0)
    ra, dec = random.uniform(0, 1, rows), random.uniform(0, 1, rows)
    table = make_table("f", range(rows), list(ra), list(dec), list(10 ** np.clip(level, -7.9, -0.002)), list(flags))
    tables = {"scores.parquet": table, "candidates.parquet": table.filter(pc.greater_equal(table["score"], 1e-4))}
    for name, one in tables.items():
        write_table(output / name, one)
    names = [f"{number:06d}" for number in range(known)]
    write_known(output, names, random)
    sizes = {name: (output / name).stat().st_size for name in tables}
    counts = {"detections": rows, "cutouts": rows, "scored": rows, "candidates": len(tables["candidates.parquet"])}
    for name in names[:done]:
        folder = output / "manifests" / name
        folder.mkdir(parents=True)
        for stage in STAGES:
            place = f"{stage}/{name}/{'0' * 16}"
            last = stage == "candidates"
            manifest = {
                **{"field_id": name, "stage": stage, "fingerprint": "0" * 64, "sequence": 1, "place": place},
                **{"rows": rows, "empty": False, "counts": counts if last else {}, "files": sizes if last else {}},
                **{"provenance": {"config": {"scan_id": "bench", "candidates": {"floor": 1e-4}}}, "notes": []},
            }
            (folder / f"{stage}.{'0' * 64}.json").write_text(json.dumps(manifest))
        (output / place).mkdir(parents=True)
        for table_name in tables:
            os.link(output / table_name, output / place / table_name)


def write_known(output: Path, names: list[str], random: np.random.Generator) -> None:
    """Where the fields lie, as a plan remembers it."""
    ra, z = random.uniform(0, 2 * np.pi, len(names)), random.uniform(-0.95, 0.55, len(names))
    footprints = Footprints(names)
    footprints.known[:], footprints.shape[:], footprints.pixel_scale[:], footprints.radius[:] = True, 3600, 0.262, 0.004
    across = np.sqrt(1 - z**2)
    footprints.centre[:] = np.stack([across * np.cos(ra), across * np.sin(ra), z], axis=1)
    tokens = np.array([f"{number:032x}".encode() for number in range(len(names))], "S32")
    footprints.token[:] = tokens
    write_footprints(output, tokens, footprints)


if __name__ == "__main__":
    main()
