"""The command `similar`: what looks like one row of a scan; importing this needs neither torch nor Dask."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import ConfigError
from workflows.catalogue import format_for, query_text
from workflows.console import reporting, show

if TYPE_CHECKING:
    from pipeline.catalogue.similar import Neighbours

_COLUMNS = ("objid", "field_id", "ra", "dec", "score", "similarity", "vet_flags")
"""What fits a screen."""


def similar(
    path: Annotated[str, typer.Argument(metavar="CATALOGUE", help="A scan's output folder.")],
    objid: Annotated[str, typer.Argument(metavar="OBJID", help="The example's objid.")],
    field: Annotated[str | None, typer.Option("--field", help="Its field, where several have the objid.")] = None,
    top: Annotated[int, typer.Option("--top", help="At most so many rows, the most similar first.")] = 50,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="FLAG", help="Vet flag that must not be set; repeatable.")
    ] = None,
    copies: Annotated[bool, typer.Option("--copies", help="Rows that are not primary, too.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Among all scored detections, not the candidates alone.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out fields without embeddings, or with those of another network.")
    ] = False,
    form: Annotated[str | None, typer.Option("--format", help="table, csv, json, parquet, votable or fits.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="File to write, instead of standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Find the candidates that look most like one of them, by embeddings that the scan has kept."""
    from pipeline.catalogue.similar import neighbours
    from pipeline.io.exports import FORMATS
    from pipeline.io.places import place
    from pipeline.io.storage_check import check
    from pipeline.io.writing import atomic_write
    from workflows.row_sinks import refuse_within

    with reporting(as_json):
        wanted = format_for(form, output, as_json)
        scanned = place(path)
        if output is not None:
            refuse_within(place(output), scanned)
        check(scanned)
        found = neighbours(
            scanned,
            _number(objid),
            field_id=field,
            top=top,
            without=without or (),
            primary=not copies,
            all=every,
            partial=partial,
        )
        for name, why in found.left_out.items():
            typer.echo(f"lensscan: field {name} left out: {why}", err=True)
        if output is not None:
            atomic_write(place(output), FORMATS[wanted](found.table))
            about = {**_about(found), "output": output}
            show(as_json, about, lambda: f"{len(found.table):,} rows: {output}")
        elif as_json or wanted == "table":
            show(as_json, _as_dict(found), lambda: query_text(found.table, _COLUMNS))
        else:
            sys.stdout.buffer.write(FORMATS[wanted](found.table))
            sys.stdout.buffer.flush()


def _as_dict(found: Neighbours) -> dict[str, Any]:
    """What was found, fit for JSON: ids are strings."""
    from pipeline.io.exports import json_rows

    return {**_about(found), "columns": found.table.column_names, "candidates": json_rows(found.table)}


def _about(found: Neighbours) -> dict[str, Any]:
    return {
        "objid": str(found.objid),
        "field_id": found.field_id,
        "member": found.member,
        "compared": found.compared,
        "left_out": dict(found.left_out),
        "rows": len(found.table),
    }


def _number(objid: str) -> int:
    try:
        return int(objid)
    except ValueError:
        raise ConfigError(f"objid {objid!r} is not a whole number; `lensscan query PATH` lists them.") from None
