"""Run records: what happened in one call. Times, attempts, hosts and tracebacks; no product rests on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.io.places import Place
from pipeline.io.products import read_all_json
from pipeline.io.writing import write_json


def write_run_record(output: Place, name: str, values: Mapping[str, Any]) -> Place:
    """Keep a record in an output; names sort by time."""
    path = output / "runs" / f"{name}.json"
    write_json(path, values)
    return path


def run_records(output: Place) -> list[dict[str, Any]]:
    """Every run record, oldest first by name."""
    return read_all_json(output / "runs")
