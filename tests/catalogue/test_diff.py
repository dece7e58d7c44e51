"""What a rerun changed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.catalogue.diff import SCHEMA, difference
from pipeline.errors import ProductMismatch

NAN = float("nan")


def table(*rows: tuple[int, float, int]) -> pa.Table:
    return pa.table(
        {
            "objid": pa.array([row[0] for row in rows], pa.int64()),
            "ra": pa.array([float(index) for index in range(len(rows))], pa.float64()),
            "dec": pa.array([0.0] * len(rows), pa.float64()),
            "score": pa.array([None if row[1] != row[1] else row[1] for row in rows], pa.float32()),
            "vet_flags": pa.array([row[2] for row in rows], pa.uint32()),
        }
    )


def test_new_gone_and_changed_rows_are_told_apart() -> None:
    before = table((1, 0.5, 0), (2, 0.5, 0), (3, 0.5, 0), (4, 0.5, 0))
    after = table((9, 0.2, 4), (4, 0.5, 0), (3, 0.5, 2), (2, 0.6, 0))
    change = difference(before, after)
    assert (change.new, change.gone, change.changed, change.same) == (1, 1, 2, 1)
    assert change.rows.select(["objid", "change"]).to_pylist() == [
        {"objid": 1, "change": "gone"},
        {"objid": 2, "change": "changed"},
        {"objid": 3, "change": "changed"},
        {"objid": 9, "change": "new"},
    ]
    gone, moved, _, new = change.rows.to_pylist()
    assert (gone["score_before"], gone["score_after"], gone["vet_flags_after"]) == (0.5, None, None)
    assert (moved["score_before"], moved["score_after"]) == (0.5, pytest.approx(0.6))
    assert (moved["ra"], gone["ra"]) == (3.0, 0.0)
    assert (new["score_before"], new["vet_flags_before"], new["vet_flags_after"]) == (None, None, 4)


def test_a_score_within_the_tolerance_is_the_same() -> None:
    assert difference(table((1, 0.5, 0)), table((1, 0.50005, 0))).changed == 0
    assert difference(table((1, 0.5, 0)), table((1, 0.5002, 0))).changed == 1
    assert difference(table((1, 0.5, 0)), table((1, 0.6, 0)), tolerance=0.2).changed == 0


def test_a_score_that_came_or_went_has_changed_and_a_null_one_is_the_same_as_itself() -> None:
    change = difference(table((1, NAN, 0), (2, 0.5, 0), (3, NAN, 0)), table((1, 0.5, 0), (2, NAN, 0), (3, NAN, 0)))
    assert (change.changed, change.same) == (2, 1)


def test_ids_that_a_float_would_join_stay_apart() -> None:
    change = difference(table((2**53, 0.5, 0)), table((2**53 + 1, 0.5, 0)))
    assert (change.new, change.gone) == (1, 1)


def test_nothing_before_makes_every_row_new() -> None:
    assert difference(None, table((1, 0.5, 0))).new == 1
    empty = difference(None, table())
    assert (empty.new, empty.gone, empty.changed, empty.same) == (0, 0, 0, 0)
    assert empty.rows.schema.equals(SCHEMA)
    assert difference(table((1, 0.5, 0)), table()).gone == 1


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(ProductMismatch, match="objid 7 stands twice"):
        difference(None, table((7, 0.5, 0), (7, 0.5, 0)))


def test_it_agrees_with_a_loop_over_random_tables() -> None:
    import random

    rng = random.Random(1)
    for _ in range(200):
        before, after = (
            {rng.randrange(12): (rng.choice([0.1, 0.9, None]), rng.randrange(2)) for _ in range(8)} for _ in "ab"
        )
        tables = [table(*((k, NAN if s is None else s, f) for k, (s, f) in rows.items())) for rows in (before, after)]
        change = difference(*tables)
        assert change.new == len(set(after) - set(before))
        assert change.gone == len(set(before) - set(after))
        assert change.changed == sum(before[key] != after[key] for key in set(before) & set(after))
        assert len(change.rows) == change.new + change.gone + change.changed
