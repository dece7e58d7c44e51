"""Evaluations of another kind than an ensemble's: `kind` in an evaluation TOML says which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from pipeline.config import read_toml
from pipeline.errors import ConfigError

KINDS: Mapping[str, str] = {
    "parameters": "workflows.evaluate_parameters:run",
    "anomalies": "workflows.evaluate_anomalies:run",
    "few_shot": "workflows.evaluate_few_shot:evaluate_few_shot",
}
"""Every kind by name, "module:function": called with the TOML's path, the folder of the results (None: a usual one) and
what tells a person how far it is, it writes `evaluation.json` and `report.html` there and gives a `Told`."""


@dataclass(frozen=True)
class Told:
    """What an evaluation says: `values` for a machine, with `output` its folder, and `text` for a person."""

    values: Mapping[str, Any]
    text: RenderableType


def kind_of(path: Path) -> str | None:
    """The kind of an evaluation TOML; None for that of an ensemble. Raises ConfigError for an unreadable file."""
    kind = read_toml(path).get("kind")
    return None if kind is None else str(kind)


def run_kind(kind: str, path: Path, out: Path | None, report: Callable[[str], None]) -> Told:
    """Run an evaluation of a kind; raises ConfigError for one that there is not, and what the kind itself raises."""
    if kind not in KINDS:
        raise ConfigError(f"{path}: no kind of evaluation {kind!r}; there are: {', '.join(sorted(KINDS)) or 'none'}.")
    module, _, attribute = KINDS[kind].partition(":")
    told: Told = getattr(import_module(module), attribute)(path, out, report)
    return told
