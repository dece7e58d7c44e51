"""A whole scan: the forecast against it, and its time over that of the ensemble's forward passes alone.

    PYTHONPATH=. python tests/benchmarks/bench_scan.py [--columns 4] [--rows 3] [--workers 1 2] [--cluster NAME]
        [--cascade] [--folder DIR] [--json FILE]

A sky like the demo's, of twelve fields, is written first. For each number of workers of a local cluster `lensscan plan`
measures its probe, the scan runs from nothing, and then every worker at once makes the forward passes of all members
and views on cutouts of that scan. Times are wall times of one run; ratios compare within it. With `--cluster` the
cluster is another one, such as a GPU's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.survey import write_survey
from tests.scale.pure_forward import pure_forward
from workflows.cluster import ClusterConfig, cluster_config, executor_for
from workflows.run import plan_report, run_scan
from workflows.setup import open_scan

SCAN = """
scan_id = "bench"
survey = "sky/survey.toml"
ensemble = "ground"
output = "{output}"
bands = ["g", "r", "i"]
[score]
cascade = {cascade}
[candidates]
prior = 0.02
floor = 0.02
"""
BATCHES = 2
AMOUNTS = ("objects", "bytes_in", "bytes_out", "memory_mb", "device_seconds", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cluster", default=None)
    parser.add_argument("--cascade", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="keeps the sky here for another run")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp())).absolute()
    if not (folder / "sky" / "survey.toml").exists():
        write_sky(folder / "sky", options.columns, options.rows)
    clusters = (
        [cluster_config(options.cluster)]
        if options.cluster is not None
        else [ClusterConfig(kind="local", workers=number) for number in options.workers]
    )
    figures = [measure(folder, cluster, cascade=options.cascade) for cluster in clusters]
    for one in figures:
        one["speed_up"] = one["objects_per_s"] / figures[0]["objects_per_s"]
        print(json.dumps(one, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.folder is None:
        shutil.rmtree(folder)


def write_sky(folder: Path, columns: int, rows: int) -> None:
    """The demo's sky with as many fields."""
    config = load_sims("demo-sky")
    assert isinstance(config, SkyConfig)
    layout = config.layout.model_copy(update={"columns": columns, "rows": rows})
    lenses = config.lenses * columns * rows // 4
    write_survey(config.model_copy(update={"layout": layout, "lenses": lenses}), folder, 11, progress=lambda line: None)


def measure(folder: Path, cluster: ClusterConfig, *, cascade: bool) -> dict[str, Any]:
    """Plan, scan, pure forward passes."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    (folder / "scan.toml").write_text(SCAN.format(output=output, cascade=str(cascade).lower()))
    setup = open_scan(str(folder / "scan.toml"))
    expected = plan_report(setup, cluster, quiet=True).forecast.as_dict()
    outcome = run_scan(open_scan(str(folder / "scan.toml")), cluster, quiet=True)
    took = outcome.actual.as_dict()
    with executor_for(cluster) as (executor, client):
        assert client is not None
        client.wait_for_workers(cluster.processes)
        name = setup.survey.fields()[0].field_id
        each = client.run(pure_forward, setup.job(), name, BATCHES)
        workers = executor.workers()
    pure = sum(each.values()) / len(each) * took["objects"] / workers
    return {
        "workers": workers,
        "fields": took["fields"],
        "objects": took["objects"],
        "seconds": took["seconds"],
        "objects_per_s": took["objects"] / took["seconds"],
        "whole_scan_over_pure_forward": took["seconds"] / pure,
        "scoring_over_pure_forward": took["device_seconds"] / (pure * workers),
        "forecast_over_actual": {amount: expected[amount] / took[amount] for amount in AMOUNTS},
        "basis": expected["basis"],
    }


if __name__ == "__main__":
    main()
