"""Whose output a folder is: `scan.json` names the scan, the survey and its release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ProductMismatch
from pipeline.io.places import Place
from pipeline.io.products import read_json
from pipeline.io.writing import write_json

FORMAT = 1
"""Version of this layout; another one in an output is refused."""


def claim(output: Place, scan_id: str, survey: str, release: str) -> None:
    """Make an output folder a scan's own, or check that it is; raises as `require_own`."""
    if not require_own(output, scan_id, survey, release):
        write_json(output / "scan.json", _owned_by(scan_id, survey, release))


def require_own(output: Place, scan_id: str, survey: str, release: str) -> bool:
    """Check that an output folder is a scan's own, or may become it; whether it is already.

    Raises
    ------
    ProductMismatch
        If it is a file, belongs to another scan, survey or release, or holds files that no scan wrote.
    """
    mine = _owned_by(scan_id, survey, release)
    path = output / "scan.json"
    if path.exists():
        theirs = read_json(path)
        if {key: theirs.get(key) for key in mine} != mine:
            owner = ", ".join(f"{key} {theirs.get(key)!r}" for key in mine if theirs.get(key) != mine[key])
            raise ProductMismatch(f"{output} belongs to another scan ({owner}); choose another output with --out DIR.")
        return True
    if isinstance(output, Path):
        there = next(folder for folder in (output, *output.parents) if folder.exists())
        if not there.is_dir():
            raise ProductMismatch(
                f"{output} can't be a folder, since {there} is a file; choose another one with --out."
            )
    if output.exists() and any(not entry.name.lstrip(".").startswith("scan.lease") for entry in output.iterdir()):
        raise ProductMismatch(f"{output} is not empty and no scan's output; choose another folder with --out DIR.")
    return False


def _owned_by(scan_id: str, survey: str, release: str) -> dict[str, Any]:
    return {"format": FORMAT, "scan_id": scan_id, "survey": survey, "release": release}


def identity(output: Place) -> Mapping[str, Any]:
    """What `scan.json` says: format, scan_id, survey, release.

    Raises
    ------
    ProductMismatch
        If the folder is no scan's output.
    """
    path = output / "scan.json"
    if not path.is_file():
        raise ProductMismatch(f"{output} is not the output of a scan (no scan.json in it).")
    return read_json(path)
