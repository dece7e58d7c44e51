"""The command `grades`: what graders say of a scan's candidates, as a table and in short."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import ConfigError, GradeError
from workflows.console import reporting, show

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.inspector.consensus import Rule
    from pipeline.inspector.history import History
    from pipeline.inspector.planted import Planted
    from pipeline.io.places import Place

FORMATS = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".pq": "parquet"}
"""Suffix of the output -> its format."""


def grades(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A catalogue (grades are then in PATH-grades), or a folder of grades.")
    ],
    folder: Annotated[Path | None, typer.Option("--grades", help="The folder of grades of a catalogue.")] = None,
    catalogue: Annotated[
        str | None, typer.Option("--catalogue", help="The catalogue of a folder of grades, where PATH is that.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="File to write: a row an object, as .parquet, .csv or .json.")
    ] = None,
    consensus: Annotated[
        str, typer.Option("--consensus", help="One grade from several: median, majority or dawid-skene.")
    ] = "median",
    agreement: Annotated[bool, typer.Option("--agreement", help="Show how far the graders agree.")] = False,
    each: Annotated[bool, typer.Option("--each", help="Write a row a grade instead of a row an object.")] = False,
    times: Annotated[bool, typer.Option("--times", help="Write when each grade was given.")] = False,
    with_planted: Annotated[
        bool, typer.Option("--with-planted", help="Write what was planted among the candidates too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Sum up the grades of a scan's candidates and write them as a table."""
    from pipeline.inspector.grades import read_grades
    from pipeline.inspector.planted import load_planted
    from pipeline.inspector.summary import summarise, summary_lines
    from pipeline.io.exports import FORMATS as WRITERS
    from pipeline.io.places import place
    from pipeline.io.writing import atomic_write
    from workflows.row_sinks import refuse_within

    with reporting(as_json):
        rule, form = _rule(consensus), _format(output)
        where, of = _found(path, folder, catalogue)
        if output is not None:
            refuse_within(place(output), where, *([of] if of is not None else []))
        history, planted = read_grades(where), load_planted(where)
        summary = summarise(history, planted, rule, agree=agreement)
        told = {"grades": str(where), **summary.as_dict()}
        lines = summary_lines(summary)
        if output is not None:
            table = _table(where, of, history, planted, rule, each=each, times=times, with_planted=with_planted)
            if form == "csv":
                from pipeline.inspector.export import spreadsheet_safe

                table = spreadsheet_safe(table)
            atomic_write(place(output), WRITERS[str(form)](table))
            told |= {"output": output, "rows": len(table)}
            lines.append(f"{len(table):,} rows: {output}")
        show(as_json, told, lambda: "\n".join(lines))


def _found(path: str, folder: Path | None, catalogue: str | None) -> tuple[Path, Place | None]:
    """The folder of grades, and the catalogue that they are of where it is known."""
    from pipeline.inspector.grades import is_grades_folder
    from pipeline.inspector.identity import grades_folder
    from pipeline.io.places import place

    given = place(path)
    if isinstance(given, Path) and is_grades_folder(given):
        if folder is not None:
            raise ConfigError(f"{path} is a folder of grades itself; leave out --grades {folder}.")
        whole = given.resolve()
        beside = whole.with_name(whole.name.removesuffix("-grades"))
        found = place(catalogue) if catalogue is not None else (beside if beside != whole and beside.exists() else None)
        return given, found
    if catalogue is not None:
        raise ConfigError(f"{path} is no folder of grades; --catalogue goes with one.")
    return folder or grades_folder(given), given


def _table(
    folder: Path,
    catalogue: Place | None,
    history: History,
    planted: Planted,
    rule: Rule,
    *,
    each: bool,
    times: bool,
    with_planted: bool,
) -> pa.Table:
    from pipeline.inspector.export import catalogue_rows, graded_table, grades_table
    from pipeline.inspector.grades import folder_identity
    from pipeline.inspector.identity import catalogue_identity
    from pipeline.io.storage_check import check

    current = history.all_current()
    if each:
        return grades_table(current, planted, times=times, with_planted=with_planted)
    if catalogue is None:
        raise ConfigError(f"{folder}: the catalogue is not beside it; name it with --catalogue PATH.")
    check(catalogue)
    identity, theirs = folder_identity(folder), catalogue_identity(catalogue)
    if identity != theirs:
        raise GradeError(f"{folder} holds grades of {identity}, {catalogue} is {theirs}; give those of one scan.")
    rows = catalogue_rows(catalogue, [grade.key for grade in current])
    return graded_table(rows, identity, current, planted, rule=rule, times=times, with_planted=with_planted)


def _rule(name: str) -> Rule:
    from pipeline.inspector.consensus import RULES

    found = next((rule for rule in RULES if rule == name), None)
    if found is None:
        raise ConfigError(f"--consensus {name}: choose from {', '.join(RULES)}.")
    return found


def _format(output: str | None) -> str | None:
    if output is None:
        return None
    form = FORMATS.get(PurePosixPath(output).suffix.lower())
    if form is None:
        raise ConfigError(f"--output {output}: give it a suffix of {', '.join(FORMATS)}.")
    return form
