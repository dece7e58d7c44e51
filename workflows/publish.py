"""The command `publish`: a catalogue as a folder that LSDB, TOPCAT and astropy open; needs neither torch nor Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    from rich.console import Group

    from pipeline.catalogue.publish import Published


def publish(
    catalogue: Annotated[
        str, typer.Argument(metavar="CATALOGUE", help="A scan's output folder, or Parquet exported from one.")
    ],
    output: Annotated[str, typer.Option("--output", metavar="DIR", help="Folder to make; new or empty.")],
    primary: Annotated[bool, typer.Option("--primary", help="Each object of overlapping fields once.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every score, not the candidates alone.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Of the catalogue; the scan's id if left out.")] = None,
    margin: Annotated[float, typer.Option("--margin", metavar="ARCSEC", help="Width of the margin cache.")] = 10.0,
    tables: Annotated[
        int,
        typer.Option("--tables", min=0, metavar="ROWS", help="Up to so many rows are written as VOTable and FITS too."),
    ] = 500_000,
    title: Annotated[str, typer.Option("--title", help="A line for whoever opens it.")] = "",
    creator: Annotated[str, typer.Option("--creator", help="Who publishes it.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="A name such as CC-BY-4.0, or an address.")] = "",
    citation: Annotated[str, typer.Option("--citation", help="What to cite.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Publish a catalogue: HATS with margin cache and MOC, VOTable, FITS, a data package and a README."""
    from pipeline.catalogue.publish import publish as run
    from pipeline.catalogue.publish_words import Credit
    from pipeline.io.places import place
    from pipeline.io.storage_check import check

    with reporting(as_json):
        scanned = place(catalogue)
        check(scanned)
        published = run(
            scanned,
            place(output),
            primary=primary,
            all=every,
            name=name,
            margin_arcsec=margin,
            rows_in_tables=tables,
            credit=Credit(title, creator, licence, citation),
        )
        show(as_json, published.as_dict(), lambda: publish_text(published, licence, citation))


def publish_text(published: Published, licence: str, citation: str) -> Group:
    """What was written, how to open it, and what is missing."""
    from rich.console import Group

    lines = [
        f"{published.rows:,} rows of {published.fields:,} fields, read back and compared: {published.folder}",
        f"HATS catalogue {published.name}: {published.partitions:,} partitions, {published.margin_rows:,} rows in "
        f"the margin cache; lsdb.open_catalog({published.folder!r})",
        f"beside it: {', '.join(published.tables)}",
    ]
    if published.failed:
        lines.append(f"{len(published.failed)} fields in quarantine: {', '.join(published.failed[:8])}; see status")
    if published.ways > 1:
        lines.append(f"its fields were made in {published.ways} different ways (datapackage.json names them)")
    absent = [option for option, said in (("--licence", licence), ("--citation", citation)) if not said]
    if absent:
        lines.append(f"nothing was said of {' and '.join(absent)}; whoever receives it will ask")
    return Group(*lines)
