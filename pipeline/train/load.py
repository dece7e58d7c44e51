"""Reading a training config.

A training's TOML holds every key, or names a second file with `file` and says what differs from it, as for a network
that is trained further::

    file = "ground-resnet.toml"
    seed = 413

    [network]
    start = "runs/first/ground_resnet/package"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config import expand, find, merged, read_toml, validate
from pipeline.errors import ConfigError
from pipeline.train.config import TrainConfig

_ONE_OF = {"optimiser": frozenset({"epochs", "steps"}), "network": frozenset({"encoder", "start"})}
"""Keys by table of which a training has one: its length, and its beginning."""


def load_training(path: Path) -> TrainConfig:
    """The training config of a TOML.

    Raises
    ------
    ConfigError
        If a file is missing or a key or value is wrong.
    """
    return validate(TrainConfig, read_training(path), str(path))


def read_training(path: Path) -> dict[str, Any]:
    """The values of a training's TOML, on those of the file that it names, unchecked.

    Raises
    ------
    ConfigError
        If a file cannot be read, or the one that is named names another in turn.
    """
    values: dict[str, Any] = expand(read_toml(path), str(path))
    reference = values.pop("file", None)
    if reference is None:
        return values
    if not isinstance(reference, str):
        raise ConfigError(f'{path}: file is {reference!r}; it names a training config, as in file = "cnn.toml".')
    where = find(reference, "training", relative_to=path.parent)
    base = expand(read_toml(where), str(where))
    if "file" in base:
        raise ConfigError(f"{path}: {where} differs from a file itself; name that one.")
    return differing(base, values)


def differing(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The values of a training with what differs, table by table; a length or a beginning takes the place of any."""
    for table, keys in _ONE_OF.items():
        before, after = base.get(table), changes.get(table)
        if isinstance(before, dict) and isinstance(after, dict) and keys & after.keys():
            base = {**base, table: {key: value for key, value in before.items() if key not in keys}}
    return merged(base, changes)
