"""Random kills over many small scans: is every finished catalogue the undisturbed one, byte for byte?

    PYTHONPATH=. python tests/benchmarks/bench_kills.py [--kills 500] [--minutes 60] [--seed 1] [--json FILE]

Scans of a tiny survey run on a cluster of a scheduler and two workers in processes of their own. At random moments a
worker, a node (the worker with the nanny that would start it anew; another node comes in its place), the scheduler or
the process that submitted the scan gets SIGKILL. What was killed is started again, the same scan is called until it
ends, and its products are compared with those of a scan that nobody touched. Several kills fall on each scan.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.scale.chaos import Chaos, digest, write_project
from workflows.cluster import ClusterConfig
from workflows.run import run_scan
from workflows.setup import open_scan

KILLS_A_SCAN = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder)
        run_scan(open_scan(str(folder / "scan.toml")), ClusterConfig(kind="serial"), quiet=True)
        expected = digest(folder / "undisturbed")
        chaos = Chaos(folder, options.seed)
        until = time.monotonic() + 60 * options.minutes
        scans = equal = 0
        try:
            while chaos.killed.total() < options.kills and time.monotonic() < until:
                output = folder / f"scan-{scans}"
                chaos.scan(output, chaos.targets(min(KILLS_A_SCAN, options.kills - chaos.killed.total())))
                scans += 1
                equal += digest(output) == expected
                print(f"{scans} scans, {equal} equal; killed {dict(chaos.killed)}; {dict(chaos.ended)}", flush=True)
        finally:
            chaos.stop()
    figures = {"scans": scans, "equal": equal, "kills": chaos.killed.total(), **chaos.killed, **chaos.ended}
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    raise SystemExit(equal != scans)


if __name__ == "__main__":
    main()
