"""The command `diff`: two scans, what is new, gone and moved, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Group

    from pipeline.catalogue.scan_diff import ScanDifference
    from pipeline.catalogue.scan_diff_plot import ScorePlot
    from pipeline.io.places import Place

SHOWN = 10
"""The largest moves on the screen, and in the JSON object."""


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A scan's output folder, or Parquet exported from one.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one of the same survey.")],
    radius: Annotated[float, typer.Option("--radius", help="Arc seconds within which other ids are one object.")] = 0.5,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Change of a score that counts.")] = 1e-4,
    every: Annotated[bool, typer.Option("--all", help="Compare every detection, not candidates alone.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", help="Folder for table and plot, or one file for the table.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Compare two scans: what is new, what is gone, what moved in score by how much, and why."""
    with reporting(as_json):
        from pipeline.io.places import place
        from pipeline.io.storage_check import check
        from workflows.row_sinks import refuse_within

        scans = place(first), place(second)
        for scanned in scans:
            check(scanned)
        target = place(output) if output is not None else None
        if target is not None:
            for written in (target, *(target / name for name in FILES)):
                refuse_within(written, *scans)
        outcome = run_diff(scans, target, {"radius": radius, "tolerance": tolerance, "every": every})
        show(as_json, {"a": first, "b": second, **outcome.as_dict()}, lambda: diff_text(outcome, first, second))


FILES = ("diff.parquet", "fields.csv", "diff.svg")
"""What a folder of results holds."""


class Outcome:
    """A difference, its largest moves, and where its files are."""

    def __init__(self, result: ScanDifference, largest: pa.Table, files: Mapping[str, str]) -> None:
        self.result = result
        self.largest = largest
        self.files = files

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; ids are strings."""
        from pipeline.io.exports import json_rows

        result = self.result
        rows = json_rows(self.largest)
        for row in rows:
            row |= {name: None if row[name] is None else str(row[name]) for name in ("objid_a", "objid_b")}
        return {
            "fields": {
                "compared": result.in_state("compared"),
                "same": result.in_state("same"),
                "only_a": [one.field_id for one in result.fields if one.state == "only a"],
                "only_b": [one.field_id for one in result.fields if one.state == "only b"],
                "in_neither": [one.field_id for one in result.fields if one.state == "in neither"],
            },
            "compared": "detections" if result.every else "candidates",
            "counts": dict(result.counts),
            "reasons": [
                {"kind": kind, "reason": reason, "rows": count}
                for (kind, reason), count in sorted(result.reasons.items(), key=lambda item: -item[1])
            ],
            "changes": [{"change": text, "fields": count} for text, count in result.changes.most_common()],
            "largest_moves": rows,
            "output": dict(self.files),
        }


class _Largest:
    """The rows that moved most, of all that pass by."""

    def __init__(self, empty: pa.Table) -> None:
        self.table = empty

    def keep(self, table: pa.Table) -> None:
        import numpy as np
        import pyarrow as pa

        moved = table.filter(table["score_change"].is_valid())
        both = pa.concat_tables([self.table, moved])
        order = np.argsort(-np.abs(both["score_change"].to_numpy()), kind="stable")
        self.table = both.take(pa.array(order[:SHOWN]))


def run_diff(scans: tuple[Place, Place], target: Place | None, options: Mapping[str, Any]) -> Outcome:
    """Compare, and write what was asked for: a folder with table, fields and plot, or the table alone."""
    from pipeline.catalogue.scan_diff import SCHEMA, scan_diff
    from pipeline.catalogue.scan_diff_plot import ScorePlot
    from pipeline.io.exports import SUFFIXES
    from workflows.row_sinks import schema_sink

    single = target is not None and PurePosixPath(str(target)).suffix.lower() in SUFFIXES
    rows = target if single else None if target is None else target / "diff.parquet"
    largest, plot = _Largest(SCHEMA.empty_table()), ScorePlot()
    sinks = nullcontext(_nowhere) if rows is None else schema_sink(rows, SCHEMA)
    with sinks as sink:

        def keep(table: pa.Table) -> None:
            largest.keep(table)
            plot.keep(table)
            sink(table)

        result = scan_diff(*scans, keep=keep, look=plot.look, **options)
    files = {} if rows is None else {"rows": str(rows)}
    if target is not None and not single:
        files |= _write_folder(target, result, plot, scans)
    return Outcome(result, largest.table, files)


def _nowhere(table: pa.Table) -> None:
    """Take rows that nobody asked for."""


def _write_folder(target: Place, result: ScanDifference, plot: ScorePlot, scans: Sequence[Place]) -> dict[str, str]:
    """What a folder holds beside the rows."""
    import pyarrow as pa

    from pipeline.catalogue.scan_diff import KINDS
    from pipeline.io.exports import csv_bytes
    from pipeline.io.writing import atomic_write

    columns: dict[str, Any] = {
        "field_id": [one.field_id for one in result.fields],
        "state": [one.state for one in result.fields],
        **{kind: [one.counts.get(kind, 0) for one in result.fields] for kind in (*KINDS, "same", "rows")},
        "changes": ["; ".join(one.changes) for one in result.fields],
    }
    parts = {
        "fields.csv": csv_bytes(pa.table(columns)) if result.fields else b"",
        "diff.svg": plot.svg(*(str(one) for one in scans)),
    }
    for name, data in parts.items():
        atomic_write(target / name, data)
    return {name.replace(".", "_"): str(target / name) for name in parts}


def diff_text(outcome: Outcome, first: str, second: str) -> Group:
    """Fields, counts by kind and reason, what the scans were told differently, the largest moves, and the files."""
    from rich.console import Group

    result = outcome.result
    lines = [f"A: {first}", f"B: {second}"]
    lines.append(f"{result.in_state('compared'):,} fields compared, {result.in_state('same'):,} of one fingerprint")
    for state in ("only a", "only b", "in neither"):
        names = [one.field_id for one in result.fields if one.state == state]
        if names:
            shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
            what = (
                "without a catalogue in either"
                if state == "in neither"
                else f"with a catalogue in {state[-1].upper()} alone"
            )
            lines.append(f"{len(names):,} fields {what}: {shown}")
    parts: list[Any] = [*lines, "", _counts(result)]
    if result.changes:
        parts += ["", *(f"{text} ({count:,} fields)" for text, count in result.changes.most_common(12))]
    if len(outcome.largest):
        parts += ["", "largest moves:", _moves(outcome.largest)]
    parts += [f"{name}: {where}" for name, where in outcome.files.items()]
    return Group(*parts)


def _counts(result: ScanDifference) -> Any:
    """Rows by kind and by reason."""
    from rich.table import Table

    from pipeline.catalogue.scan_diff import KINDS

    grid = Table("detections" if result.every else "candidates", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column("rows", justify="right")
    grid.add_column("why")
    for kind in (*KINDS, "same"):
        reasons = sorted(((n, why) for (one, why), n in result.reasons.items() if one == kind), reverse=True)
        grid.add_row(kind, f"{result.counts[kind]:,}", ", ".join(f"{why} {n:,}" for n, why in reasons))
    return grid


def _moves(table: pa.Table) -> Any:
    """Rows that moved most."""
    from rich.table import Table

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    rows = []
    for row in table.to_pylist():
        objid = row["objid_b"] if row["objid_b"] is not None else row["objid_a"]
        place = (f"{row['ra']:.6f}", f"{row['dec']:.6f}", f"{row['score_a']:.3g}", f"{row['score_b']:.3g}")
        rows.append((str(objid), row["field_id"], *place, row["kind"], row["reason"]))
    for index, name in enumerate(("objid", "field", "ra", "dec", "A", "B", "kind", "why")):
        if name in ("field", "why"):
            grid.add_column(name, overflow="fold")
        else:
            # Half an id is none: numbers are never cut, names and reasons give way to them.
            width = max([len(name), *(len(row[index]) for row in rows)])
            grid.add_column(name, justify="left" if name == "kind" else "right", no_wrap=True, min_width=width)
    for row in rows:
        grid.add_row(*row)
    return grid
