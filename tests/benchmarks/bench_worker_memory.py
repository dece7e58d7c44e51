"""Memory of a worker against the number of fields that it has scanned.

    PYTHONPATH=. python tests/benchmarks/bench_worker_memory.py [--columns 10] [--rows 8] [--size 400] [--ensemble NAME]
        [--folder DIR] [--json FILE]

A sky like the demo's, of many smaller fields, is written first. One worker of a local cluster cuts them all, and scores
them where an ensemble is named, in the environment that a scan gives its workers: that one keeps freed memory, so that
resident memory climbs to what the largest field has needed and stays there. It is sampled every tenth of a second, in
the worker and in the process that sends the tasks. What is printed is the median in the field after so many, and the
growth by a line fitted through all fields but the first fifth: a plane of a field that is never let go would show as
its size, which is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from workflows.cluster import ClusterConfig
from workflows.run import run_scan
from workflows.setup import open_scan

SCAN = """
scan_id = "bench"
survey = "sky/survey.toml"
output = "{output}"
bands = ["g", "r", "i"]
{ensemble}
"""
AFTER = (5, 20, 40, 80)


@dataclass
class Samples:
    """Fields done, and MB of the worker and of this process, at each moment."""

    done: list[int] = field(default_factory=list)
    worker: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)


def write_sky(folder: Path, columns: int, rows: int, size: int) -> None:
    """The demo's sky with as many fields, of `size` pixels a side; lenses by its area."""
    config = load_sims("demo-sky")
    assert isinstance(config, SkyConfig)
    share = columns * rows * size**2 / (4 * config.layout.size**2)
    layout = config.layout.model_copy(update={"columns": columns, "rows": rows, "size": size})
    changed = config.model_copy(update={"layout": layout, "lenses": round(config.lenses * share)})
    write_survey(changed, folder, 11, progress=lambda line: None)


def sample(output: Path, samples: Samples, stop: threading.Event) -> None:
    """Look at memory until told to stop."""
    here = psutil.Process()
    while not stop.wait(0.1):
        sizes = []
        for child in here.children(recursive=True):
            try:
                sizes.append(child.memory_info().rss / 1e6)
            except psutil.NoSuchProcess:
                continue
        samples.done.append(len(list(output.glob("manifests/*/cutouts.*.json"))))
        samples.worker.append(max(sizes, default=0.0))
        samples.client.append(here.memory_info().rss / 1e6)


def figures(samples: Samples) -> dict[str, Any]:
    """Medians by the fields done, and MB a field."""
    done = np.array(samples.done)
    result: dict[str, Any] = {"fields": int(done.max())}
    for name, values in (("worker", samples.worker), ("client", samples.client)):
        megabytes = np.array(values)
        steady = (done >= done.max() / 5) & (done < done.max())
        last = [at for at in AFTER if at < done.max()] + [int(done.max()) - 1]
        result[name] = {
            "median_mb_after": {at: float(np.median(megabytes[done == at])) for at in last if (done == at).any()},
            "largest_mb": float(megabytes.max()),
            "growth_mb_a_field": float(np.polyfit(done[steady], megabytes[steady], 1)[0]),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--ensemble", default=None)
    parser.add_argument("--folder", type=Path, default=None, help="keeps the sky here for another run")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp())).absolute()
    if not (folder / "sky" / "survey.toml").exists():
        write_sky(folder / "sky", options.columns, options.rows, options.size)
    shutil.rmtree(folder / "out", ignore_errors=True)
    ensemble = f'ensemble = "{options.ensemble}"' if options.ensemble else ""
    (folder / "scan.toml").write_text(SCAN.format(output=folder / "out", ensemble=ensemble))
    samples, stop = Samples(), threading.Event()
    watcher = threading.Thread(target=sample, args=(folder / "out", samples, stop))
    watcher.start()
    try:
        run_scan(open_scan(str(folder / "scan.toml")), ClusterConfig(kind="local", workers=1), quiet=True)
    finally:
        stop.set()
        watcher.join()
    told = {**figures(samples), "plane_mb": 4 * options.size**2 / 1e6}
    print(json.dumps(told, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
