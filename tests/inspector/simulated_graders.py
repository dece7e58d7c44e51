"""Graders of known habits, and the grades that they would give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.inspector.consensus import Consensus
from pipeline.inspector.history import GRADES, Grade
from pipeline.inspector.ratings import Ratings, ratings


def simulated(
    rng: np.random.Generator, confusions: npt.NDArray[np.float64], n: int
) -> tuple[Ratings, npt.NDArray[np.int64]]:
    truth = rng.choice(4, n, p=[0.1, 0.2, 0.2, 0.5])
    given = [
        Grade("F", row, f"grader {who}", GRADES[rng.choice(4, p=confusions[who, level])], "", "", 1)
        for who in range(len(confusions))
        for row, level in enumerate(truth.tolist())
        if rng.random() < 0.9
    ]
    return ratings(given), truth


GOOD = np.array([[0.85, 0.15, 0, 0], [0.1, 0.8, 0.1, 0], [0, 0.1, 0.8, 0.1], [0, 0, 0.05, 0.95]])
CARELESS = np.array([[0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.2, 0.2], [0.2, 0.3, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]])
GENEROUS = np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0.1, 0.8, 0.1, 0], [0, 0.05, 0.75, 0.2]])


def share_right(found: Consensus, truth: npt.NDArray[np.int64]) -> float:
    return float(np.mean(found.level == truth[[key[1] for key in found.objects]]))
