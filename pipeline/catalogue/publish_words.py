"""What a published catalogue says of itself: a data package (Frictionless), a README, and lines for other headers.

Columns are described from the schema that they are stored with, so that no list is kept by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.flags import VetFlag, describe
from pipeline.io.column_words import vo_unit, words
from pipeline.provenance import software

PROFILE = "https://datapackage.org/profiles/2.0/"


@dataclass(frozen=True)
class Credit:
    """What the publisher says of rights and names; empty where nothing was said.

    Attributes
    ----------
    title, creator : str
    licence : str
        An SPDX name, or the address of a text.
    citation : str
        What to cite.
    """

    title: str = ""
    creator: str = ""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Facts:
    """What was published.

    Attributes
    ----------
    name : str
    credit : Credit
    created : str
        UTC, ISO 8601.
    scans : sequence of mapping
        survey, release, scan_id and rows of each.
    provenance : sequence of mapping
        As in the manifests.
    counts : mapping
        Rows and fields.
    selection : str
        Which rows these are.
    margin_arcsec : float
    """

    name: str
    credit: Credit
    created: str
    scans: Sequence[Mapping[str, Any]]
    provenance: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    selection: str
    margin_arcsec: float

    @property
    def title(self) -> str:
        """The title given, or one made of the surveys' names."""
        made = ", ".join(dict.fromkeys(f"{scan['survey']} {scan['release']}" for scan in self.scans))
        return self.credit.title or f"Strong-lens candidates{f' in {made}' if made else ''}"

    @property
    def description(self) -> str:
        """One sentence."""
        return f"{self.counts['rows']:,} rows of {self.counts['fields']:,} fields: {self.selection}."


def table_schema(schema: pa.Schema) -> dict[str, Any]:
    """Columns as a Frictionless Table Schema; `unit` (VOUnit), `ucd`, `datatype` and `bits` are additions to it."""
    return {
        "$schema": f"{PROFILE}tableschema.json",
        "fields": [_field(field) for field in schema],
        "primaryKey": ["field_id", "objid"],
    }


def data_package(facts: Facts, resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A Frictionless Data Package of the files given, with provenance, licence and citation where they are known."""
    credit = facts.credit
    package: dict[str, Any] = {
        "$schema": f"{PROFILE}datapackage.json",
        "name": re.sub(r"[^a-z0-9._-]", "-", facts.name.lower()),
        "title": facts.title,
        "description": facts.description,
        "created": facts.created,
        "keywords": ["gravitational lensing", "strong lensing", "catalogue"],
        "resources": list(resources),
        "counts": dict(facts.counts),
        "provenance": {
            "software": {"name": "lensscan", **software()},
            "scans": [dict(scan) for scan in facts.scans],
            "made": [dict(each) for each in facts.provenance],
        },
    }
    if facts.scans:
        package["sources"] = [
            {"title": title} for title in dict.fromkeys(f"{scan['survey']} {scan['release']}" for scan in facts.scans)
        ]
    if credit.creator:
        package["contributors"] = [{"title": credit.creator, "roles": ["creator"]}]
    if credit.licence:
        package["licenses"] = [{"path" if "://" in credit.licence else "name": credit.licence}]
    if credit.citation:
        package["citation"] = credit.citation
    return package


def hats_properties(facts: Facts) -> dict[str, str]:
    """The same in the words of HATS's properties."""
    made = "; ".join(f"{scan['survey']} {scan['release']} {scan['scan_id']}" for scan in facts.scans)
    said = {
        "obs_title": facts.title,
        "obs_description": facts.description,
        "prov_progenitor": made,
        "hats_creator": facts.credit.creator,
        "hats_copyright": facts.credit.licence,
        "bib_reference": facts.credit.citation,
    }
    # A backslash at the end of a line would take the next property along.
    return {key: _line(value).replace("\\", "/") for key, value in said.items() if value}


def header_lines(facts: Facts) -> dict[str, str]:
    """Name -> value, for the INFO elements of a VOTable: origin, rights and the meaning of flags."""
    version = software()
    lines = {"software": f"lensscan {version['version']} ({version['revision']})", "created": facts.created}
    for number, scan in enumerate(facts.scans, start=1):
        lines[f"scan{number}"] = f"{scan['survey']} {scan['release']}, {scan['scan_id']}: {scan['rows']} rows"
    for key in ("creator", "licence", "citation"):
        if said := getattr(facts.credit, key):
            lines[key] = said
    for flag in describe(VetFlag):
        lines[f"vet_flags_{1 << flag.bit}"] = f"{flag.name}: {flag.description}"
    return lines


def fits_cards(facts: Facts) -> dict[str, str]:
    """Keyword -> value, for a FITS header."""
    version = software()
    cards = {"CREATOR": f"lensscan {version['version']}", "DATE": facts.created, "TITLE": facts.title}
    for key, said in (("SURVEY", "survey"), ("RELEASE", "release"), ("SCANID", "scan_id")):
        cards[key] = ", ".join(dict.fromkeys(str(scan[said]) for scan in facts.scans))
    cards |= {"AUTHOR": facts.credit.creator, "LICENCE": facts.credit.licence, "CITATION": facts.credit.citation}
    return {key: value for key, value in cards.items() if value}


def readme(facts: Facts, schema: pa.Schema, files: Mapping[str, str]) -> str:
    """A README in Markdown: what lies where, how to open it, what columns and flags mean.

    Parameters
    ----------
    facts : Facts
    schema : pyarrow.Schema
    files : mapping
        Name -> what it is.
    """
    credit = facts.credit
    parts = [f"# {_text(facts.title)}", "", _text(facts.description), ""]
    parts += [
        f"* {_text(scan['survey'])} {_text(scan['release'])}, scan `{_text(scan['scan_id'])}`: {scan['rows']:,} rows"
        for scan in facts.scans
    ]
    parts += [f"* Written {facts.created} by lensscan {software()['version']}, revision {software()['revision']}."]
    for label, said in (("By", credit.creator), ("Licence", credit.licence), ("Please cite", credit.citation)):
        if said:
            parts.append(f"* {label}: {_text(said)}")
    parts += ["", "| file | what |", "| --- | --- |"]
    parts += [f"| `{name}` | {what} |" for name, what in files.items()]
    parts += [
        "",
        f"The folder itself is a HATS collection with a margin cache of {facts.margin_arcsec:g} arcsec:",
        "",
        "```python",
        "import lsdb",
        'catalogue = lsdb.open_catalog("PATH OF THIS FOLDER")',
        "```",
        "",
        f"DuckDB and anything else that reads Parquet takes `{facts.name}/dataset/Norder=*/Dir=*/Npix=*.parquet`"
        + (", TOPCAT and STILTS the VOTable or the FITS table." if "candidates.vot" in files else "."),
        "",
        "An object in the overlap of two fields has a row in each; `is_primary` marks one. The key is (`field_id`,",
        "`objid`). A missing number is null in Parquet and VOTable, NaN or TNULL in FITS.",
        "",
        "| column | type | unit | UCD | what |",
        "| --- | --- | --- | --- | --- |",
    ]
    for field in schema:
        told = words(field)
        cells = (f"`{field.name}`", str(field.type), vo_unit(told.unit), told.ucd, _text(told.description))
        parts.append("| " + " | ".join(cells) + " |")
    parts += ["", "| bit of `vet_flags` | value | name | what |", "| --- | --- | --- | --- |"]
    parts += [f"| {flag.bit} | {1 << flag.bit} | {flag.name} | {flag.description} |" for flag in describe(VetFlag)]
    return "\n".join(parts) + "\n"


def _field(field: pa.Field) -> dict[str, Any]:
    said = words(field)
    described: dict[str, Any] = {
        "name": field.name,
        "type": _frictionless(field.type),
        "datatype": str(field.type),
        "description": said.description,
        "unit": vo_unit(said.unit),
        "ucd": said.ucd,
    }
    if not field.nullable:
        described["constraints"] = {"required": True}
    if field.name == "vet_flags":
        described["bits"] = [
            {"value": 1 << flag.bit, "name": flag.name, "description": flag.description} for flag in describe(VetFlag)
        ]
    return {key: value for key, value in described.items() if value}


def _frictionless(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"


def _text(text: Any) -> str:
    """Text as Markdown shows it, markup and table rules included."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", _line(str(text)))


def _line(text: str) -> str:
    return " ".join(text.split())
