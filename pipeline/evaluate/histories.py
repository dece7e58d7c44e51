"""What training runs wrote of themselves, for the report's curves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class History:
    """One run: for each number that it recorded, (step, value) in order."""

    run: str
    series: dict[str, tuple[tuple[float, float], ...]]


def read_histories(runs: tuple[str, ...]) -> tuple[History, ...]:
    """The histories of some runs' folders.

    Raises
    ------
    ConfigError
        If a folder has no `metrics.jsonl`, or a line of one is no JSON object with a `step`.
    """
    return tuple(_read(Path(run)) for run in runs)


def _read(folder: Path) -> History:
    path = folder / METRICS
    series: dict[str, list[tuple[float, float]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            step = float(values["step"])
            for name, value in values.items():
                if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                    series.setdefault(name, []).append((step, float(value)))
    except OSError as error:
        raise ConfigError(f"{path}: no training history ({error.strerror}); take it out of `runs`.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a training history, one JSON object with `step` a line ({error}).") from error
    return History(folder.name, {name: tuple(points) for name, points in series.items()})
