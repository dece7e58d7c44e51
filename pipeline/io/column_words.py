"""What a column of a table says of itself to those who read it elsewhere: unit, UCD and description."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pipeline.schema import magnitude_column

_MAGNITUDE = "mag_"


@dataclass(frozen=True)
class Words:
    """Unit (as astropy reads it), UCD and description of a column; empty where it has none."""

    unit: str
    ucd: str
    description: str


def words(field: pa.Field) -> Words:
    """The words that a column came with.

    The UCD of a magnitude is the schema's for its band, whatever the file says: earlier scans wrote words that UCD1+
    does not have.
    """
    said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    ucd = said.get("ucd", "")
    if field.name.startswith(_MAGNITUDE) and ucd.startswith("phot.mag"):
        ucd = magnitude_column(field.name.removeprefix(_MAGNITUDE)).ucd
    return Words(said.get("unit", ""), ucd, said.get("description", ""))


def vo_unit(unit: str) -> str:
    """A unit as VOUnit writes it, such as `arcsec**2`; a text that is no unit to astropy stays as it is."""
    from astropy.units import Unit

    if not unit:
        return ""
    try:
        return str(Unit(unit).to_string("vounit"))
    except ValueError:
        return unit
