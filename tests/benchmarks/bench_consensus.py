"""How often a consensus is the truth: simulated graders of known habits, by each rule.

    python -m tests.benchmarks.bench_consensus [--objects 1500] [--seeds 5] [--json FILE]

Nine tenths of the objects are graded by each; half of them are no lens. A careful grader is right five times of six, a
careless one two times of five, a generous one gives a better grade than is due to most.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from pipeline.inspector.consensus import RULES, consensus
from tests.inspector.simulated_graders import CARELESS, GENEROUS, GOOD, share_right, simulated

TEAMS = {
    "careful, careful, careless, generous": (GOOD, GOOD, CARELESS, GENEROUS),
    "careful, careless, careless, generous": (GOOD, CARELESS, CARELESS, GENEROUS),
    "careful, careful, careful": (GOOD, GOOD, GOOD),
    "careful, careful": (GOOD, GOOD),
    "careful, generous": (GOOD, GENEROUS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures = {}
    for name, team in TEAMS.items():
        right: dict[str, list[float]] = {rule: [] for rule in RULES}
        for seed in range(options.seeds):
            graded, truth = simulated(np.random.default_rng(seed), np.array(team), options.objects)
            for rule in RULES:
                right[rule].append(share_right(consensus(graded, rule), truth))
        figures[name] = {rule: float(np.median(shares)) for rule, shares in right.items()}
        print(f"{name:40}" + "".join(f"{rule:>14} {share:.2f}" for rule, share in figures[name].items()))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
