"""Functions that are imported where they run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """Stands for a function, "module:name", so that whoever sends it to a worker need not load what it needs.

    The process that submits a scan has neither torch nor the libraries that read pixels.
    """

    name: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Import the function, which takes no time after the first call, and call it."""
        module, _, attribute = self.name.partition(":")
        return getattr(import_module(module), attribute)(*arguments, **named)
