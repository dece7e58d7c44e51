"""Grades as tables: a row an object with its place in the catalogue, or a row a grade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue.sources import open_source
from pipeline.errors import GradeError
from pipeline.inspector.agreement import disagreement
from pipeline.inspector.consensus import Consensus, Rule, consensus
from pipeline.inspector.history import GRADES, Grade, Key
from pipeline.inspector.identity import CatalogueIdentity
from pipeline.inspector.planted import PLANTED_FIELD, Planted
from pipeline.inspector.ratings import NONE, Float64, Ratings, ratings
from pipeline.io.places import Place
from pipeline.io.tables import build_table
from pipeline.schema import GRADED, PLANTED, Column, grade_time_column, grader_columns
from pipeline.schema import GRADES as EACH_GRADE

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula, or looks behind for one."""

_FIRST = ("objid", "survey", "release", "field_id", "scan_id", "ra", "dec")
"""Columns of the catalogue that stand before the grades."""


def graded_table(
    rows: pa.Table,
    identity: CatalogueIdentity,
    grades: Sequence[Grade],
    planted: Planted,
    *,
    rule: Rule = "median",
    times: bool = False,
    with_planted: bool = False,
) -> pa.Table:
    """One row for each object that somebody graded: the catalogue's columns, the consensus, every grader's own.

    Sorted by consensus, then by the mean of the grades, then by key, so that the same grades give the same table. An
    object that is in the catalogue no longer keeps its grades; the catalogue's columns are null there.

    Parameters
    ----------
    rows : pyarrow.Table
        As `catalogue_rows` gives them. Columns that are named like those of the grades are left out.
    identity : CatalogueIdentity
    grades : sequence of Grade
        Those that hold.
    planted : Planted
        Left out, but used to weigh graders by the rule "dawid-skene".
    rule : str
        Of the consensus.
    times : bool
        With the time of each grade.
    with_planted : bool
        With what was planted too, and a column `planted`.

    Raises
    ------
    GradeError
        If nothing was graded.
    """
    keys = sorted({grade.key for grade in grades if with_planted or grade.key not in planted})
    if not keys:
        raise GradeError("nothing is graded yet; grade some candidates with `lensscan inspect`.")
    matrix = ratings(grades)
    found = consensus(matrix, rule, planted.truth)
    keys = _best_first(keys, matrix, found)
    said = _catalogue_columns(rows, keys, identity)
    own = _beside(_consensus_columns(keys, matrix, found), _grader_columns(keys, grades, times))
    if with_planted:
        kinds = [planted.by_key[key].kind if key in planted else None for key in keys]
        own = _beside(own, build_table([PLANTED], {"planted": kinds}))
    rest = [name for name in said.column_names if name not in own.column_names]
    first = [name for name in _FIRST if name in rest]
    whole = _beside(_beside(said.select(first), own), said.select([name for name in rest if name not in first]))
    return whole.replace_schema_metadata({"consensus": rule})


def grades_table(
    grades: Sequence[Grade], planted: Planted, *, times: bool = False, with_planted: bool = False
) -> pa.Table:
    """One row for each grade that holds, sorted by object and grader; parameters as of `graded_table`."""
    kept = sorted(
        (grade for grade in grades if with_planted or grade.key not in planted),
        key=lambda grade: (grade.key, grade.grader),
    )
    columns: list[Column] = [*EACH_GRADE]
    values = {
        "objid": np.array([grade.objid for grade in kept], np.int64),
        "field_id": [grade.field_id for grade in kept],
        "grader": [grade.grader for grade in kept],
        "grade": [grade.grade for grade in kept],
        "comment": [grade.comment or None for grade in kept],
    }
    if times:
        columns.append(grade_time_column())
        values["time"] = [grade.time for grade in kept]
    if with_planted:
        columns.append(PLANTED)
        values["planted"] = [planted.by_key[grade.key].kind if grade.key in planted else None for grade in kept]
    return build_table(columns, values)


def catalogue_rows(catalogue: Place, keys: Sequence[Key]) -> pa.Table:
    """The rows of a catalogue with some keys, all columns, dictionaries as text.

    Of a scan's output these are its scores, so that what fell below the candidates' floor since is found too.

    Raises
    ------
    GradeError
        If it has no column `field_id`.
    QueryError
        If it can't be read.
    """
    is_scan = (catalogue / "scan.json").is_file()
    there = sorted({key[0] for key in keys} - {PLANTED_FIELD})
    source = open_source(catalogue, every_score=is_scan)
    if "field_id" not in source.columns:
        raise GradeError(f"{catalogue}: no column field_id, which grades are kept by; export it with all columns.")
    ids = pa.array([key[1] for key in keys], pa.int64())
    table = source.dataset.to_table(
        filter=pc.field("objid").isin(ids) & pc.field("field_id").isin(pa.array(there, pa.string()))
    )
    described = [
        source.schema.field(field.name).with_type(field.type).with_nullable(field.name not in ("objid", "field_id"))
        for field in table.schema
    ]
    return table.cast(pa.schema(described))


def spreadsheet_safe(table: pa.Table) -> pa.Table:
    """The table with an apostrophe before every text of a grader that a spreadsheet would take for a formula.

    For CSV, which people open in spreadsheets; other formats keep texts as they are. Ids and field names, which
    others join by, are never changed.
    """
    for place, name in enumerate(table.column_names):
        if name in ("grader", "comment") or name.startswith("comment_"):
            texts = [_harmless(text) for text in table[name].to_pylist()]
            table = table.set_column(place, table.schema.field(name), [pa.array(texts, pa.string())])
    return table


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(FORMULA) else text


def _best_first(keys: Sequence[Key], matrix: Ratings, found: Consensus) -> list[Key]:
    """Keys by consensus, then by the mean of the grades; those without a grade last."""
    given = matrix.level != NONE
    mean = np.where(given, matrix.level, 0).sum(axis=1) / np.maximum(given.sum(axis=1), 1)
    rank = {key: (int(found.level[row]), float(mean[row])) for row, key in enumerate(matrix.objects)}
    return sorted(keys, key=lambda key: (rank.get(key, (len(GRADES), 0.0)), key))


def _consensus_columns(keys: Sequence[Key], matrix: Ratings, found: Consensus) -> pa.Table:
    """The columns of `GRADED`; null for an object with comments alone."""
    place = {key: row for row, key in enumerate(matrix.objects)}
    rows = np.array([place.get(key, -1) for key in keys], np.int64)
    graded = rows >= 0

    def of(values: Float64 | None) -> Float64:
        """Values of the objects, in the order of the keys; NaN, which becomes null, where there are none."""
        answer = np.full(len(keys), np.nan)
        if values is not None:
            answer[graded] = values[rows[graded]]
        return answer

    number = of((matrix.level != NONE).sum(axis=1).astype(np.float64))
    chances = found.probability
    return build_table(
        GRADED,
        {
            "grade": [found.grades[row] if row >= 0 else None for row in rows.tolist()],
            "n_grades": np.where(graded, number, 0).astype(np.int32),
            "disagreement": of(disagreement(matrix.level)),
            **{f"p_{letter}": of(None if chances is None else chances[:, i]) for i, letter in enumerate(GRADES)},
            "p_lens": of(found.lens_probability),
        },
    )


def _grader_columns(keys: Sequence[Key], grades: Sequence[Grade], times: bool) -> pa.Table:
    """Grade, comment and perhaps time by each grader, by name."""
    by_grader: dict[str, dict[Key, Grade]] = {}
    for grade in grades:
        by_grader.setdefault(grade.grader, {})[grade.key] = grade
    columns: list[Column] = []
    values: dict[str, list[str | None]] = {}
    for grader in sorted(by_grader):
        given = [by_grader[grader].get(key) for key in keys]
        columns += grader_columns(grader, times=times)
        values[f"grade_{grader}"] = [grade.grade if grade else None for grade in given]
        values[f"comment_{grader}"] = [(grade.comment or None) if grade else None for grade in given]
        if times:
            values[f"time_{grader}"] = [grade.time if grade else None for grade in given]
    return build_table(columns, values)


def _catalogue_columns(rows: pa.Table, keys: Sequence[Key], identity: CatalogueIdentity) -> pa.Table:
    """The catalogue's row of each key, null where it has none but for what the key and the scan say."""
    pairs = zip(rows["field_id"].to_pylist(), rows["objid"].to_pylist(), strict=True)
    place: dict[Key, int] = {}
    for row, key in enumerate(pairs):
        place.setdefault(key, row)
    taken = rows.take(pa.array([place.get(key) for key in keys], pa.int64()))
    known: dict[str, pa.Array] = {
        "objid": pa.array([key[1] for key in keys], pa.int64()),
        "field_id": pa.array([key[0] for key in keys], pa.string()),
        **{name: pa.array([text] * len(keys), pa.string()) for name, text in identity.as_dict().items()},
    }
    for name, column in known.items():
        index = taken.schema.get_field_index(name)
        if index >= 0:
            taken = taken.set_column(index, taken.schema.field(name), [column])
        else:
            taken = taken.append_column(name, [column])
    return taken


def _beside(left: pa.Table, right: pa.Table) -> pa.Table:
    return pa.Table.from_arrays([*left.columns, *right.columns], schema=pa.schema([*left.schema, *right.schema]))
