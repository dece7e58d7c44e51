"""The command `crossmatch`: candidates that are known lenses, known lenses recovered, and what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Group

    from pipeline.catalogue.crossmatch import Crossmatch
    from pipeline.catalogue.recovered import RecoveredRow
    from pipeline.io.places import Place

SHOWN = 10
"""New candidates on the screen, and in the JSON object."""

FILES = ("candidates.parquet", "known.csv", "recovered.csv", "recovered.svg", "new.csv")
"""What a folder of results holds."""

_ON_SCREEN = (0.01, 0.1, 0.5, 0.9)
"""Thresholds on the screen; the files have more."""


def crossmatch(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A scan's output folder, or Parquet exported from one.")],
    known: Annotated[
        str, typer.Option("--known", metavar="FILE", help="Known lenses: lenscat's CSV, or any table with positions.")
    ],
    radius: Annotated[float, typer.Option("--radius", help="Arc seconds from a published position.")] = 2.0,
    grade: Annotated[
        list[str] | None, typer.Option("--grade", help="Only known lenses of this grade; repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only of this type, as in galaxy; repeatable.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", metavar="TEXT", help="Only with this in the reference; repeatable."),
    ] = None,
    without_reference: Annotated[
        list[str] | None, typer.Option("--without-reference", metavar="TEXT", help="Not with this in it; repeatable.")
    ] = None,
    cluster_lists: Annotated[
        bool, typer.Option("--cluster-lists", help="Keep what lenscat has from lists of clusters alone.")
    ] = False,
    min_score: Annotated[float, typer.Option("--min-score", help="Lowest score of what counts as new.")] = 0.5,
    moc: Annotated[Path | None, typer.Option("--moc", help="The survey's footprint, for exported Parquet.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Mark every score, not the candidates alone.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", help="Folder for tables and plot, or one file for the marked rows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Match candidates with known lenses: which are known, how many were recovered, what is new."""
    with reporting(as_json):
        from pipeline.catalogue.crossmatch import choose, read_known
        from pipeline.catalogue.region import read_footprint
        from pipeline.io.places import place
        from pipeline.io.storage_check import check
        from workflows.row_sinks import refuse_within

        scanned = place(path)
        check(scanned)
        listed = read_known(known)
        chosen = choose(
            listed,
            grades=grade or (),
            kinds=kind or (),
            references=reference or (),
            without_references=without_reference or (),
            cluster_lists=cluster_lists,
        )
        options = {
            "radius": radius,
            "every": every,
            "min_score": min_score,
            "region": read_footprint(moc) if moc is not None else None,
        }
        target = place(output) if output is not None else None
        if target is not None:
            files = [] if _is_table(target) else [target / name for name in FILES]
            for written in (target, *files):
                refuse_within(written, scanned, place(known))
        outcome = run_crossmatch(scanned, chosen, target, options)
        counts = {"listed": len(listed) + listed.unplaced, "unplaced": listed.unplaced, "chosen": len(chosen)}
        show(
            as_json,
            {"known": {"file": known, **counts}, **outcome.as_dict()},
            lambda: crossmatch_text(outcome, known, counts, min_score),
        )


class Outcome:
    """A cross-match, the best of what is new, and where its files are."""

    def __init__(self, result: Crossmatch, new: pa.Table | None, files: Mapping[str, str]) -> None:
        from pipeline.catalogue.recovered import recovered, state_counts

        self.result = result
        self.new = new
        self.files = files
        self.states = state_counts(result.state, result.known.lenses.grade.tolist())
        self.recovered = recovered(result.state, result.score, result.known.lenses.grade.tolist())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        from pipeline.io.exports import json_rows

        result = self.result
        return {
            "systems": len(result.known),
            "radius_arcsec": result.radius,
            "fields": result.fields,
            "unfinished_fields": result.unfinished,
            "rows": result.rows,
            "marked": result.marked,
            "new": result.new,
            "expected_by_chance": result.by_chance,
            "states": {
                grade: {state.words: count for state, count in counts.items() if count}
                for grade, counts in self.states.items()
            },
            "recovered": [_plain(row) for row in self.recovered],
            "new_candidates": json_rows(self.new.slice(0, SHOWN)) if self.new is not None else [],
            "output": dict(self.files),
        }


def run_crossmatch(scanned: Place, known: Any, target: Place | None, options: Mapping[str, Any]) -> Outcome:
    """Cross-match, and write what was asked for: a folder of tables and a plot, or the marked rows alone."""
    from pipeline.catalogue.crossmatch import crossmatch as run
    from pipeline.catalogue.crossmatch_tables import known_table, recovered_plot, recovered_table
    from pipeline.io.exports import csv_bytes
    from pipeline.io.writing import atomic_write

    single = target is not None and _is_table(target)
    rows = target if single else None if target is None else target / "candidates.parquet"
    new = _New(None if target is not None and not single else SHOWN)
    with _marked_rows(scanned, rows, options["every"]) as keep:
        result = run(scanned, known, keep=keep, keep_new=new.keep, **options)
    best = new.table
    if target is None or single:
        return Outcome(result, best, {} if target is None else {"candidates": str(target)})
    outcome = Outcome(result, best, {})
    parts = {
        "known.csv": csv_bytes(known_table(result)),
        "recovered.csv": csv_bytes(recovered_table(outcome.recovered)),
        "recovered.svg": recovered_plot(result),
        **({"new.csv": csv_bytes(best)} if best is not None else {}),
    }
    for name, data in parts.items():
        atomic_write(target / name, data)
    if best is None:
        (target / "new.csv").unlink(missing_ok=True)  # of an earlier run
    files = {"candidates": str(rows), **{name.replace(".", "_"): str(target / name) for name in parts}}
    return Outcome(result, best, files)


def _is_table(target: Place) -> bool:
    """Whether an output is one file, by its suffix."""
    from pipeline.io.exports import SUFFIXES

    return PurePosixPath(str(target)).suffix.lower() in SUFFIXES


def _marked_rows(
    scanned: Place, target: Place | None, every: bool
) -> AbstractContextManager[Callable[[pa.Table], None]]:
    """What takes the marked rows of one field after another."""
    if target is None:
        return nullcontext(lambda table: None)
    from pipeline.catalogue.marks import MARKS
    from workflows.row_sinks import row_sink

    return row_sink(scanned, target, MARKS, every)


class _New:
    """New candidates: all of them, or the best `most`."""

    def __init__(self, most: int | None) -> None:
        self._tables: list[pa.Table] = []
        self._most = most

    def keep(self, table: pa.Table) -> None:
        from pipeline.io.tables import plain

        self._tables.append(plain(table))
        if self._most is not None:
            self._tables = [self._ordered().slice(0, self._most)]

    @property
    def table(self) -> pa.Table | None:
        """The highest score first; None without any."""
        return self._ordered() if self._tables else None

    def _ordered(self) -> pa.Table:
        import pyarrow as pa

        joined = pa.concat_tables(self._tables, promote_options="default")
        return joined.sort_by([("score", "descending"), ("field_id", "ascending"), ("objid", "ascending")])


def _plain(row: RecoveredRow) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)


def crossmatch_text(outcome: Outcome, known: str, counts: Mapping[str, int], min_score: float) -> Group:
    """What became of known lenses by grade, how many were recovered, the best of what is new, and the files."""
    from rich.console import Group

    result = outcome.result
    lines = [
        f"{counts['chosen']:,} of {counts['listed']:,} entries of {known}, {len(result.known):,} lenses within "
        f"{result.radius:g} arcsec of each other counted once",
    ]
    if counts["unplaced"]:
        lines.append(f"{counts['unplaced']:,} entries have no position")
    if result.unfinished:
        lines.append(f"{result.unfinished:,} of {result.fields:,} fields have no catalogue")
    parts: list[Any] = [*lines, "", _states(outcome), "", _recovered(outcome)]
    parts.append(
        f"\n{result.marked:,} of {result.rows:,} rows are known lenses; {result.by_chance:.2g} lenses would match by "
        f"chance\n{result.new:,} primary rows with a score of {min_score:g} or more are in no list"
    )
    if outcome.new is not None:
        from workflows.catalogue import query_text

        names = ["objid", "field_id", "ra", "dec", "score", "vet_flags"]
        shown = outcome.new.slice(0, SHOWN)
        parts.append(query_text(shown, [name for name in names if name in shown.column_names]))
    parts += [f"{name}: {where}" for name, where in outcome.files.items()]
    return Group(*parts)


def _states(outcome: Outcome) -> Any:
    """Numbers of known lenses in each state, a line a grade."""
    from rich.table import Table

    from pipeline.catalogue.recovered import State

    every = outcome.states["all"]
    used = [state for state in State if every[state]]
    grid = Table("grade", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for state in used:
        grid.add_column(state.words, justify="right")
    for grade, counts in outcome.states.items():
        if grade == "all" and len(outcome.states) == 2:
            continue
        grid.add_row(grade or "(none)", *(f"{counts[state]:,}" for state in used))
    return grid


def _recovered(outcome: Outcome) -> Any:
    """Share recovered of the lenses covered, and of those scored, at a few thresholds, with 68 % intervals."""
    from rich.table import Table

    from pipeline.catalogue.recovered import State

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column("grade", no_wrap=True)
    for name in ("from", "found", "of covered", "share", "of scored", "share"):
        grid.add_column(name, justify="right", no_wrap=name not in ("of covered", "of scored"))
    if outcome.states["all"][State.UNKNOWN]:
        return "what was missed is not known: name a scan's output, or give its footprint by --moc"
    one_grade = len(outcome.states) == 2
    for row in outcome.recovered:
        if row.threshold in _ON_SCREEN and row.covered and not (one_grade and row.grade == "all"):
            counts = (f"{row.threshold:g}", f"{row.recovered:,}", f"{row.covered:,}", _share(row.of_covered))
            grid.add_row(row.grade or "(none)", *counts, f"{row.scored:,}", _share(row.of_scored))
    return grid if grid.row_count else "no known lens lies where this catalogue could have found it"


def _share(share: tuple[float, float, float] | None) -> str:
    return "-" if share is None else f"{share[0]:.2f} ({share[1]:.2f}–{share[2]:.2f})"
