"""What the page tells of one object, and what of it a blind grader is not told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from astropy import units
from astropy.coordinates import SkyCoord

from pipeline.catalogue.colour import fatal_outline
from pipeline.catalogue.crossmatch import KnownLenses, nearest
from pipeline.catalogue.explain import count_flags
from pipeline.catalogue.stamps import Stamp
from pipeline.flags import PixelFlag, VetFlag, decode, describe
from pipeline.io.exports import json_rows
from pipeline.schema_lenses import TRUSTED, catalogue_parameters

TELLING_FLAGS = ("ARTEFACT_LIKELY", "OUT_OF_DISTRIBUTION", "MEMBERS_DISAGREE", "KNOWN_LENS", "STOPPED_BY_GATE")
"""Vet flags that rest on networks or on the literature; the others say what touches the stamp."""

NEAR = 60.0
"""Arcsec within which a known lens is named."""

_MEANING = {meaning.name: meaning.description for kind in (VetFlag, PixelFlag) for meaning in describe(kind)}


@dataclass(frozen=True)
class Known:
    """The nearest known lens."""

    name: str
    separation: float
    grade: str
    reference: str


def picture_facts(stamp: Stamp | None) -> dict[str, Any]:
    """What a stamp's own pixels say: its size, bands, flags, and the outline of what is fatally flagged.

    Parameters
    ----------
    stamp : Stamp or None
        None where the cutout was not kept, or was cut again since.
    """
    if stamp is None:
        return {"picture": None}
    flags = [
        {"name": flag.name, "meaning": _MEANING[flag.name], "fatal": flag.fatal, "bands": list(flag.bands),
         "survey": flag.survey, "found": flag.found}
        for flag in count_flags(stamp.mask, stamp.bands)
    ]  # fmt: skip
    return {
        "picture": {
            "bands": list(stamp.bands),
            "size": int(stamp.image.shape[-1]),
            "scale": stamp.pixel_scale,
            "outline": fatal_outline(stamp.mask),
            "flags": flags,
        }
    }


def place_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where a row is, and pages elsewhere that show the place: none of it a model's opinion."""
    ra, dec = float(row["ra"]), float(row["dec"])
    said = SkyCoord(ra * units.deg, dec * units.deg).to_string("hmsdms", sep=":", precision=2)
    bands = {name.removeprefix("mag_"): value for name, value in row.items() if name.startswith("mag_")}
    seeing = {name.removeprefix("seeing_"): value for name, value in row.items() if name.startswith("seeing_")}
    flags = decode(row.get("vet_flags") or 0, VetFlag)
    return {
        "ra": ra,
        "dec": dec,
        "position": said,
        "links": links(ra, dec),
        "magnitudes": bands,
        "seeing": seeing,
        "vet": [{"name": name, "meaning": _meaning(name)} for name in flags if not _tells(name)],
    }


def opinion_facts(row: Mapping[str, Any], known: KnownLenses | None) -> dict[str, Any]:
    """What networks and the literature say of a row, and its names."""
    members = {name.removeprefix("score_"): value for name, value in row.items() if name.startswith("score_")}
    members.pop("std", None)
    flags = decode(row.get("vet_flags") or 0, VetFlag)
    numbers = ("score", "score_std", "joint_score", "gate_score", "ood", "arc_area", "artefact_overlap")
    near = None if known is None else nearest_known(known, float(row["ra"]), float(row["dec"]))
    return {
        "objid": row["objid"],
        "field": row["field_id"],
        "primary": row.get("is_primary"),
        "members": members,
        "numbers": {name: row[name] for name in numbers if row.get(name) is not None},
        "parameters": _parameters(row),
        "trusted": row.get(TRUSTED.name),
        "opinions": [{"name": name, "meaning": _meaning(name)} for name in flags if _tells(name)],
        "known": asdict(near) if near is not None else None,
    }


def _parameters(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lens parameters with their standard deviations and units, where the row has any."""
    return [
        {"name": column.name, "value": row[column.name], "std": row.get(f"{column.name}_std"), "unit": column.unit}
        for column in catalogue_parameters()
        if not column.name.endswith("_std") and column is not TRUSTED and row.get(column.name) is not None
    ]


def _tells(flag: str) -> bool:
    """Whether a vet flag is an opinion; one that this version does not know may be."""
    return flag in TELLING_FLAGS or flag not in VetFlag.__members__


def _meaning(flag: str) -> str:
    return _MEANING.get(flag, "not known to this version of lensscan")


def table_row(table: pa.Table, row: int) -> dict[str, Any]:
    """One row as JSON values."""
    return json_rows(table.slice(row, 1))[0]


def nearest_known(known: KnownLenses, ra: float, dec: float) -> Known | None:
    """The nearest known lens within `NEAR`."""
    index, separation = nearest(known, np.array([ra]), np.array([dec]))
    place = int(index[0])
    if place < 0 or separation[0] > NEAR:
        return None
    texts = (known.name[place], float(separation[0]), known.grade[place], known.reference[place])
    return Known(*texts)


def links(ra: float, dec: float) -> list[dict[str, str]]:
    """Pages of others that show a position; the page links to them and loads nothing of them."""
    spaced = quote(f"{ra:.6f} {dec:+.6f}")
    return [
        {
            "name": "Legacy Surveys",
            "url": f"https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16",
        },
        {
            "name": "Aladin Lite",
            "url": f"https://aladin.cds.unistra.fr/AladinLite/?target={spaced}&fov=0.02",
        },
        {
            "name": "SIMBAD",
            "url": f"https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={spaced}&Radius=10&Radius.unit=arcsec",
        },
        {
            "name": "NED",
            "url": "https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search"
            f"&in_csys=Equatorial&in_equinox=J2000&ra={ra:.6f}d&dec={dec:.6f}d&radius=0.2",
        },
    ]
