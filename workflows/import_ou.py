"""The command `import-ou`: published weights of Wilde et al. 2022 in, a model package out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflows.console import reporting, show


def import_ou(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="One of the published .pt files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that gets the package, as <name>/.")],
    name: Annotated[str | None, typer.Option("--name", help="Of the member, instead of the file's.")] = None,
    bands: Annotated[str | None, typer.Option("--bands", help="In the order of the channels, such as J,Y,H.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Write published weights of the Open University's networks as a model package."""
    with reporting(as_json):
        from pipeline.models.card import read_card
        from pipeline.models.ou_import import import_ou as write_package

        wanted = None if bands is None else tuple(band.strip() for band in bands.split(",") if band.strip())
        folder = write_package(path, out, name=name, bands=wanted)
        card = read_card(folder)
        answer = {"package": str(folder), "bands": card.bands, "size_pix": card.size_pix}
        show(as_json, answer, lambda: f"{folder}: {', '.join(card.bands)}, {card.size_pix} px, uncalibrated")
