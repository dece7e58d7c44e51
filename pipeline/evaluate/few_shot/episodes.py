"""k-way n-shot accuracy: stamps are told by the nearest mean of a few examples of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.few_shot.config import EpisodesConfig
from pipeline.evaluate.few_shot.heads import SPACES, Space


@dataclass(frozen=True)
class Accuracy:
    """Mean accuracy of many episodes with its standard error; `among` says of which kinds they were."""

    ways: int
    shots: int
    among: str
    space: str
    value: float
    error: float


def episode_accuracies(
    choice: tuple[npt.NDArray[Any], npt.NDArray[np.str_]],
    test: tuple[npt.NDArray[Any], npt.NDArray[np.str_]],
    unlabelled: npt.NDArray[Any],
    config: EpisodesConfig,
    seed: int,
    new: str = "lens",
) -> list[Accuracy]:
    """Accuracies on the test, for each number of shots: of episodes of any kinds, and of those with a new kind.

    Distances are Euclidean, in the embedding as it is or in a space of `heads.SPACES`, whichever is more accurate on
    `choice`.

    Parameters
    ----------
    choice, test : (embedding (n, d), kind (n,))
    unlabelled : (m, d)
    config : EpisodesConfig
    seed : int
    new : str
        The kind that the embedding was not trained to tell.

    Raises
    ------
    ConfigError
        If fewer kinds than `ways` have enough stamps.
    """
    width = unlabelled.shape[1]
    spaces = {"as it is": Space(np.zeros(width), np.eye(width))}
    spaces |= {name: make(unlabelled) for name, make in SPACES.items()}
    answer = []
    for shots in config.shots:
        for among, always in (("any kinds", None), (f"{new} and others", new)):
            name = max(spaces, key=lambda key: _accuracies(choice, spaces[key], config, shots, seed, always).mean())
            found = _accuracies(test, spaces[name], config, shots, seed + 1, always)
            error = float(found.std(ddof=1) / np.sqrt(len(found)))
            answer.append(Accuracy(config.ways, shots, among, name, float(found.mean()), error))
    return answer


def _accuracies(
    stamps: tuple[npt.NDArray[Any], npt.NDArray[np.str_]],
    space: Space,
    config: EpisodesConfig,
    shots: int,
    seed: int,
    always: str | None,
) -> npt.NDArray[np.float64]:
    values, kinds = space.of(stamps[0]), stamps[1]
    needed = shots + config.queries
    rows = {str(kind): np.flatnonzero(kinds == kind) for kind in np.unique(kinds)}
    able = [kind for kind, members in rows.items() if len(members) >= needed and kind != always]
    ways = config.ways - (always is not None)
    if len(able) < ways or (always is not None and len(rows.get(always, ())) < needed):
        raise ConfigError(f"episodes of {config.ways} kinds need {needed} stamps of each; give larger pools.")
    rng = np.random.default_rng([seed, shots])
    accuracies = []
    for _ in range(config.number):
        names = [*rng.choice(able, ways, replace=False), *([always] if always is not None else [])]
        drawn = np.stack([rng.choice(rows[name], needed, replace=False) for name in names])
        means = values[drawn[:, :shots]].mean(axis=1)
        asked = values[drawn[:, shots:]]
        nearest = np.square(asked[:, :, None] - means).sum(axis=3).argmin(axis=2)
        accuracies.append((nearest == np.arange(len(names))[:, None]).mean())
    return np.array(accuracies)
