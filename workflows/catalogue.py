"""The commands `query` and `report`; importing this needs neither torch nor Dask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import ConfigError
from workflows.console import reporting, show

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Group

    from pipeline.io.places import Place

SHOWN = 40
"""Rows that a table on the screen has at most; every other format has all."""

TELL_S = 10.0
"""Seconds between words on how far a report is."""

_FIRST = ("objid", "field_id", "ra", "dec", "score", "vet_flags")
"""What fits a screen, where no columns were asked for."""


def query(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A scan's output folder, a published catalogue, or Parquet of one.")
    ],
    where: Annotated[
        str | None, typer.Argument(metavar="WHERE", help='One SQL expression, as in "score > 0.9 AND mag_i < 21".')
    ] = None,
    cone: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--cone", metavar="RA DEC RADIUS_DEG", help="Within a radius of a position, all in degrees."),
    ] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option("--box", metavar="RA_MIN RA_MAX DEC_MIN DEC_MAX", help="East from one meridian to another."),
    ] = None,
    polygon: Annotated[
        str | None,
        typer.Option("--polygon", metavar='"RA DEC, RA DEC, ..."', help="Inside great circles between the corners."),
    ] = None,
    moc: Annotated[Path | None, typer.Option("--moc", help="Inside the MOC of this file.")] = None,
    field: Annotated[list[str] | None, typer.Option("--field", help="Only this field; may be given again.")] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Lowest score.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="FLAG", help="Vet flag that must not be set; repeatable.")
    ] = None,
    with_flags: Annotated[
        list[str] | None, typer.Option("--with", metavar="FLAG", help="Vet flag that must be set; repeatable.")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", help="At most so many rows, the best first.")] = None,
    top_per_field: Annotated[
        int | None, typer.Option("--top-per-field", help="At most so many rows of each field, field by field.")
    ] = None,
    unsorted: Annotated[
        bool,
        typer.Option("--unsorted", help="Rows as they lie in the files, written as they are read: csv, json, parquet."),
    ] = False,
    primary: Annotated[bool, typer.Option("--primary", help="Each object of overlapping fields once.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every score, not the candidates alone.")] = False,
    columns: Annotated[str | None, typer.Option("--columns", help="Columns wanted, separated by commas.")] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, csv, json, parquet, votable or fits."),
    ] = None,
    output: Annotated[str | None, typer.Option("--output", help="File to write, instead of standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Query the candidates of a scan, best score first; needs neither torch nor Dask."""
    from pipeline.io.places import place
    from pipeline.io.storage_check import check
    from workflows.row_sinks import refuse_within

    with reporting(as_json):
        wanted = format_for(form, output, as_json)
        scanned = place(path)
        if output is not None:
            refuse_within(place(output), scanned, *([moc] if moc is not None else []))
        check(scanned)
        asked: dict[str, Any] = {
            "cone": cone,
            "box": box,
            "polygon": _corners(polygon),
            "moc": moc,
            "field": field or None,
            "min_score": min_score,
            "without": without or (),
            "with_flags": with_flags or (),
            "primary": primary,
            "all": every,
            "columns": [name.strip() for name in columns.split(",") if name.strip()] if columns is not None else None,
        }
        if unsorted:
            if top is not None or top_per_field is not None:
                raise ConfigError("--unsorted gives every row; --top and --top-per-field need an order: leave one out.")
            _streamed(scanned, where, asked, wanted, output, as_json)
        else:
            _answered(scanned, where, asked | {"top": top, "top_per_field": top_per_field}, wanted, output, as_json)


def _answered(
    path: Place, where: str | None, asked: Mapping[str, Any], wanted: str, output: str | None, as_json: bool
) -> None:
    """Rows in order, all in memory."""
    from pipeline.catalogue.query import query as run
    from pipeline.io.exports import FORMATS, json_rows
    from pipeline.io.places import place
    from pipeline.io.writing import atomic_write

    table = run(path, where, **asked)
    if output is not None:
        atomic_write(place(output), FORMATS[wanted](table))
        show(as_json, {"rows": len(table), "output": str(output)}, lambda: f"{len(table):,} rows: {output}")
    elif as_json:
        show(True, {"rows": len(table), "columns": table.column_names, "candidates": json_rows(table)}, str)
    elif wanted == "table":
        show(False, {}, lambda: query_text(table, asked["columns"]))
    else:
        sys.stdout.buffer.write(FORMATS[wanted](table))
        sys.stdout.buffer.flush()


def _streamed(
    path: Place, where: str | None, asked: Mapping[str, Any], wanted: str, output: str | None, as_json: bool
) -> None:
    """Rows as they are read; few of them are in memory."""
    from pipeline.catalogue.query import stream
    from pipeline.io.export_stream import STREAMS, write_stream
    from pipeline.io.places import place

    if wanted not in STREAMS or (as_json and output is None):
        raise ConfigError(
            f"--unsorted writes {', '.join(STREAMS)}: give one by --format, or by --output FILE's suffix."
        )
    reader = stream(path, where, **asked)
    if output is not None:
        rows = write_stream(place(output), reader, wanted)
        show(as_json, {"rows": rows, "output": str(output)}, lambda: f"{rows:,} rows: {output}")
    else:
        STREAMS[wanted](reader, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _corners(text: str | None) -> list[tuple[float, ...]] | None:
    """Corners of a polygon from `RA DEC, RA DEC, ...`."""
    if text is None:
        return None
    try:
        return [tuple(float(number) for number in corner.split()) for corner in text.split(",")]
    except ValueError:
        raise ConfigError(f'--polygon {text!r}: write corners in degrees as "RA DEC, RA DEC, RA DEC".') from None


def report(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A scan's output folder.")],
    output: Annotated[str, typer.Option("--output", help="HTML file to write.")] = "report.html",
    top: Annotated[int, typer.Option("--top", min=0, max=500, help="Candidates shown with their stamps.")] = 48,
    ensemble: Annotated[
        str | None, typer.Option("--ensemble", help="The scan's ensemble, where its products don't name a shipped one.")
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="Outline lens light and artefacts on the stamps; needs torch.")
    ] = True,
    grades: Annotated[
        str | None, typer.Option("--grades", metavar="FOLDER", help="Grades; those beside the scan, if left out.")
    ] = None,
    known: Annotated[
        str | None, typer.Option("--known", metavar="FILE", help="Known lenses, as for crossmatch: how many are found.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Time to read scores for; the page says what was read.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Write one HTML page of a scan: sky, candidates, scores, calibration, drift, failures, provenance."""
    with reporting(as_json):
        import time

        from pipeline.io.places import place
        from workflows.row_sinks import refuse_within

        began = time.monotonic()
        refuse_within(place(output), place(path), *([place(known)] if known is not None else []))
        written = scan_report(
            place(path),
            place(output),
            ensemble=ensemble,
            maps=maps,
            grades=grades,
            known=known,
            top=top,
            seconds=seconds,
            told=_told(),
        )
        took = round(time.monotonic() - began, 1)
        show(as_json, {"report": str(written), "seconds": took}, lambda: f"report: {written} ({took:.1f} s)")


def scan_report(
    output: Place,
    target: Place,
    *,
    ensemble: str | Path | None = None,
    maps: bool = True,
    grades: str | Path | None = None,
    known: str | None = None,
    **options: Any,
) -> Place:
    """Write the report of a scan with stamps from its own cutouts, and what its ensemble's files say.

    Parameters
    ----------
    output : Path or ObjectPath
        The scan's output folder.
    target : Path or ObjectPath
        The HTML file.
    ensemble : str or Path, optional
        The ensemble, where the products don't name a shipped one.
    maps : bool
        Whether to draw the ensemble's maps, for which torch is loaded.
    grades : str or Path, optional
        A folder of grades; the one beside the output, where it is there.
    known : str, optional
        A table of known lenses.
    **options
        Those of `pipeline.catalogue.report.gather`.

    Raises
    ------
    ConfigError, ModelMismatch
        If the ensemble that is asked for can't be read.
    GradeError, QueryError
        If the grades or the known lenses can't be read.
    ProductMismatch
        If `output` is no scan's output.
    """
    from pipeline.catalogue.report import write_report
    from pipeline.catalogue.stamps import scan_stamps
    from pipeline.io import ownership
    from pipeline.io.storage_check import check
    from workflows.report_ensemble import report_ensemble
    from workflows.report_truth import judged_of, known_of

    check(output)
    ownership.identity(output)
    found = report_ensemble(output, ensemble, maps=maps)
    return write_report(
        output,
        target,
        stamp=scan_stamps(output),
        maps=found.maps,
        maps_told=found.told,
        calibration=found.calibration,
        judged=judged_of(output, grades),
        known=known_of(output, known) if known is not None else None,
        **options,
    )


def _told() -> Callable[[int, int], None]:
    """Says on standard error how far the reading of scores is, where it takes long."""
    import time

    last = [time.monotonic()]

    def told(read: int, fields: int) -> None:
        if time.monotonic() - last[0] >= TELL_S:
            last[0] = time.monotonic()
            typer.echo(f"scores of {read:,} of {fields:,} fields read", err=True)

    return told


def query_text(table: pa.Table, columns: Sequence[str] | None = None) -> Group:
    """The first rows, flags by name, and how many more there are; the columns given, or those that fit a screen."""
    from rich.console import Group
    from rich.table import Table

    names = list(columns) if columns is not None else [name for name in _FIRST if name in table.column_names]
    rows = [
        [_cell(name, value) for name, value in row.items()] for row in table.select(names).slice(0, SHOWN).to_pylist()
    ]
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for index, name in enumerate(names):
        if name in ("field_id", "vet_flags"):
            grid.add_column(name, overflow="fold")
        else:
            # Half an id is none: numbers are never cut, names and flags give way to them.
            width = max([len(name), *(len(row[index]) for row in rows)])
            grid.add_column(name, justify="right", no_wrap=True, min_width=width)
    for row in rows:
        grid.add_row(*row)
    hidden = len(table) - SHOWN
    more = f", the first {SHOWN} shown; --format csv or --output FILE gives all" if hidden > 0 else ""
    return Group(grid, f"{len(table):,} rows{more}")


def _cell(name: str, value: Any) -> str:
    """One value as a person reads it."""
    from pipeline.flags import VetFlag, decode

    if value is None:
        return ""
    if name == "vet_flags":
        return " ".join(decode(value, VetFlag)).lower()
    if isinstance(value, float):
        return f"{value:.6f}" if name in ("ra", "dec", "lens_ra", "lens_dec") else f"{value:.4g}"
    return str(value)


def format_for(form: str | None, output: str | None, as_json: bool) -> str:
    """Name of the format asked for, by name or by the file's suffix."""
    from pipeline.io.exports import FORMATS, SUFFIXES

    names = ("table", *FORMATS)
    if form is not None and form not in names:
        raise ConfigError(f"--format {form}: choose from {', '.join(names)}.")
    if output is not None:
        chosen = form or SUFFIXES.get(PurePosixPath(output).suffix.lower())
        if chosen is None or chosen == "table":
            raise ConfigError(f"--output {output}: give --format or a suffix of {', '.join(SUFFIXES)}.")
        return chosen
    if as_json and form not in (None, "json"):
        raise ConfigError(f"--json prints JSON; for {form} leave it out or give --output FILE.")
    if form in ("fits", "parquet") and sys.stdout.isatty():
        raise ConfigError(f"--format {form} is binary: give --output FILE, or redirect standard output.")
    return form or "table"
