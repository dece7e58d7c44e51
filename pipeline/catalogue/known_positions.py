"""Positions as people write them, in degrees: numbers with a unit, or sexagesimal text."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.known_files import TableColumn
from pipeline.errors import QueryError

Floats = npt.NDArray[np.float64]

_MISSING = {"", "-", "--", "nan", "null", "none", "n/a", "na", "masked", "nat"}

_PER_UNIT = {
    "": 1.0,
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
    "d": 1.0,
    "rad": 180 / np.pi,
    "radian": 180 / np.pi,
    "h": 15.0,
    "hr": 15.0,
    "hour": 15.0,
    "hours": 15.0,
    "hourangle": 15.0,
    "arcmin": 1 / 60,
    "arcsec": 1 / 3600,
    "mas": 1 / 3.6e6,
}
"""Degrees in one of a unit."""

_SEXAGESIMAL = re.compile(
    r"""^(?P<sign>[+−-]?)\s*(?P<whole>\d{1,3})(?:\s*[:hd°]\s*|\s+)(?P<minutes>\d{1,2})
        (?:(?:\s*[:m'′]\s*|\s+)(?P<seconds>\d{1,2}(?:\.\d*)?)?)?\s*[s"″]?$""",
    re.VERBOSE | re.IGNORECASE,
)
_IN_NAME = re.compile(r"[\[(]\s*([A-Za-z]+)\s*[\])]\s*$")


def degrees(column: TableColumn, path: str, *, hours: bool) -> Floats:
    """A column of angles as degrees (n,), NaN where a value is missing.

    Parameters
    ----------
    column : TableColumn
        Numbers in the column's unit (or in that of its name, as in ``RA [deg]``; degrees where neither says), or
        text: such numbers, or sexagesimal.
    path : str
        The table, for errors.
    hours : bool
        Sexagesimal text is hours, minutes, seconds, unless it has a ``d`` or the unit is degrees.

    Raises
    ------
    QueryError
        For a unit that is none of an angle, or text that is no angle.
    """
    unit = _unit(column, path)
    scale = _PER_UNIT[unit]
    if isinstance(column.values, np.ndarray):
        return np.asarray(column.values, np.float64) * scale
    answer = np.full(len(column.values), np.nan)
    for row, written in enumerate(column.values):
        text = written.strip()
        if text.lower() in _MISSING:
            continue
        try:
            answer[row] = float(text) * scale
        except ValueError:
            answer[row] = _sexagesimal(
                text, hours and not unit.startswith("d"), f"{path}: column {column.name}, row {row + 1}"
            )
    return answer


def right_ascensions(values: Floats, name: str, path: str) -> Floats:
    """The same brought into 0 to 360 degrees; one outside -180 to 360 is refused, NaN stays."""
    _within(values, -180, 360, name, path)
    return np.asarray(np.mod(values, 360.0))


def declinations(values: Floats, name: str, path: str) -> Floats:
    """The same; one outside -90 to 90 degrees is refused, NaN stays."""
    _within(values, -90, 90, name, path)
    return values


def _unit(column: TableColumn, path: str) -> str:
    """The unit in small letters, from the column or from brackets in its name; empty where neither says one."""
    in_name = _IN_NAME.search(column.name)
    unit = (column.unit or (in_name.group(1) if in_name else "")).strip().lower()
    # An equinox stands in such brackets too, and VizieR calls sexagesimal text "h:m:s" and "d:m:s", with the quotes.
    if unit in {"j2000", "icrs", "fk5"} or unit.strip("\"'").startswith(("h:", "d:")):
        return ""
    if unit not in _PER_UNIT:
        known = ", ".join(word for word in _PER_UNIT if word)
        raise QueryError(f"{path}: column {column.name} is in {unit!r}, which is no unit of an angle; give {known}.")
    return unit


def _sexagesimal(text: str, hours: bool, where: str) -> float:
    match = _SEXAGESIMAL.match(text)
    parts = [float(match[key] or 0) for key in ("whole", "minutes", "seconds")] if match else []
    if match is None or parts[1] >= 60 or parts[2] > 60:
        raise QueryError(f"{where}: {text!r} is no angle; write degrees, or hours or degrees as 12:34:56.7.")
    size = parts[0] + parts[1] / 60 + parts[2] / 3600
    if "h" in text.lower():
        hours = True
    elif "d" in text.lower() or "°" in text:
        hours = False
    return (-size if match["sign"] in ("-", "−") and match["sign"] else size) * (15.0 if hours else 1.0)


def _within(values: Floats, lowest: float, highest: float, name: str, path: str) -> None:
    wrong = np.flatnonzero((values < lowest) | (values > highest))
    if len(wrong):
        where = f"{path}: column {name}, row {wrong[0] + 1}"
        raise QueryError(
            f"{where}: {values[wrong[0]]:g} lies outside {lowest} to {highest} degrees; mend it, or the column's unit."
        )
