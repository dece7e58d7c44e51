"""Everything that is measured of artefacts, in one run: finders, masks in the networks, maps, the top of the list.

    python tests/benchmarks/bench_artefacts.py --pools "runs/pools/test-injections/pool-*.npz" ... [--ensemble ground]
        [--sky FOLDER ...] [--surveys decam-dq hsc-mask]

Each part is a program of its own beside this one, and says at its head what its figures mean:

`artefacts/real.py`     finders against mask planes of real surveys, hidden from them (`LENSSCAN_DATA`), of `--surveys`
`artefacts/sky.py`      finders against synthetic skies, of `--sky` (as `lensscan simulate demo-sky` writes them) or, if
                        none is given, of some that it writes
`artefacts/masked.py`   lenses beside gaps and without a band, of `--pools`
`artefacts/maps.py`     lens light, joint criterion and cost, of `--pools`
`artefacts/top.py`      artefacts among the best of a real survey without mask planes (`LENSSCAN_DATA`)

A part that lacks its data says so and is left out; exit code 1 where a part says that it misses a goal, or fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

PARTS = Path(__file__).parent / "artefacts"


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """Arguments of each part, by its name, in the order in which they run."""
    parts = {
        "real": list(args.surveys),
        "sky": ["--sky", *map(str, args.sky)] if args.sky else [],
        "masked": ["--ensembles", args.ensemble, "--pools", *args.pools],
        "maps": ["--ensemble", args.ensemble, "--pools", *args.pools],
        "top": ["--ensemble", args.ensemble],
    }
    lacking = [] if args.pools else ["masked", "maps"]
    lacking += [] if "LENSSCAN_DATA" in os.environ else ["real", "top"]
    for name in lacking:
        del parts[name]
        print(f"{name}: left out, {'no --pools' if name in ('masked', 'maps') else 'LENSSCAN_DATA is not set'}")
    return parts


def main() -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensemble", default="ground")
    parser.add_argument("--pools", nargs="+", default=[])
    parser.add_argument("--sky", type=Path, nargs="+", default=[])
    parser.add_argument("--surveys", nargs="+", default=["decam-dq", "hsc-mask"])
    worst = 0
    for name, options in commands(parser.parse_args()).items():
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, str(PARTS / f"{name}.py"), *options], check=False)
        worst = max(worst, abs(done.returncode))
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    return min(worst, 1)


if __name__ == "__main__":
    sys.exit(main())
