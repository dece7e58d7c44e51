"""What is added up over a scan's score tables, held against a loop over the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.query import query
from pipeline.catalogue.report import gather
from pipeline.catalogue.report_facts import Share
from pipeline.catalogue.report_fields import read_fields
from pipeline.catalogue.report_page import page
from pipeline.catalogue.report_scores import ARTEFACTS, Best, tally_scores
from pipeline.flags import VetFlag


@pytest.fixture
def many(tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]) -> Path:
    """Twelve fields of random scores with flags, nulls and copies."""
    rng = np.random.default_rng(3)
    for field in range(12):
        n = 60
        score = 10 ** rng.uniform(-6, -0.01, n)
        score[rng.random(n) < 0.1] = np.nan
        flags = np.where(rng.random(n) < 0.3, 1 << rng.integers(0, 12, n), 0)
        table = make_table(
            f"f{field:02d}",
            list(range(100 * field, 100 * field + n)),
            list(rng.uniform(0, 1, n) + field),
            list(rng.uniform(0, 1, n)),
            list(score),
            list(flags),
            primary=list(rng.random(n) < 0.8),
        )
        value = np.nan_to_num(table["score"].to_numpy())
        publish_field(tmp_path / "out", f"f{field:02d}", table, table.filter(pa.array(value >= 0.05)))
    return tmp_path / "out"


def rows_of(output: Path) -> list[dict[str, object]]:
    files = sorted(output.glob("candidates/*/*/scores.parquet"))
    return [row for file in files for row in pa.parquet.read_table(file).to_pylist()]


def test_sums_are_those_of_a_loop(many: Path) -> None:
    read = read_fields(many)
    tally = tally_scores(many, read.table, read.score_files)
    rows = rows_of(many)
    scored = [row for row in rows if row["score"] is not None]
    clean = [row for row in scored if row["is_primary"] and not row["vet_flags"]]
    primary = [row for row in rows if row["is_primary"]]
    assert tally.histogram.scored.sum() == len(scored)
    assert tally.histogram.unflagged.sum() == sum(not row["vet_flags"] for row in scored)
    assert tally.histogram.candidates.sum() == sum(row["score"] >= np.float32(0.05) for row in scored)
    assert tally.clean.sum() == len(clean)
    assert tally.clean_candidates.sum() == sum(row["score"] >= np.float32(0.05) for row in clean)
    assert tally.primaries == len(primary)
    assert tally.artefacts == sum(bool(row["vet_flags"] & int(ARTEFACTS)) for row in primary)
    assert tally.purity.scored == sum(row["score"] is not None for row in primary)
    assert tally.purity.lenses == pytest.approx(sum(row["score"] or 0 for row in primary), rel=1e-6)
    for flag in VetFlag:
        assert tally.histogram.flags[flag.name] == sum(bool(row["vet_flags"] & flag) for row in rows)
    edges = 10.0**tally.histogram.edges
    loop = np.histogram([row["score"] for row in scored], edges)[0]
    assert np.abs(loop - tally.histogram.scored).sum() <= 2  # a float32 on an edge


def test_what_a_field_is_like_is_measured_on_its_rows(many: Path) -> None:
    facts = gather(many)
    assert facts.conditions is not None
    row = [row for row in rows_of(many) if row["field_id"] == "f03"]
    primary = [entry for entry in row if entry["is_primary"]]
    assert facts.conditions.unscored[3] == pytest.approx(sum(x["score"] is None for x in primary) / len(primary))
    assert facts.conditions.depth[3] == pytest.approx(20.0)
    assert np.isnan(facts.conditions.seeing[3])
    # No footprint is remembered: the field is where its detections are.
    assert facts.fields.ra[3] == pytest.approx(3.5, abs=0.1)
    assert facts.fields.width[3] == pytest.approx(1.0, abs=0.1)


def test_what_was_not_read_in_time_is_told_and_what_was_is_a_sample_by_chance(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.catalogue.report_scores._AT_ONCE", 4)
    told = []
    facts = gather(many, seconds=0.0, told=lambda read, fields: told.append((read, fields)))
    assert (facts.reading.read, facts.reading.fields) == (4, 12)
    assert told == [(4, 12)]
    assert facts.fields.totals["detections"] == 12 * 60
    chosen = np.flatnonzero(np.isfinite(facts.conditions.unscored))
    assert len(chosen) == 4
    assert chosen.tolist() != [0, 1, 2, 3]
    assert gather(many, seconds=1e9).reading.read == 12


def test_a_table_that_is_broken_or_gone_is_told_and_the_others_are_read(many: Path) -> None:
    first, second, *_ = sorted(many.glob("candidates/*/*/scores.parquet"))
    first.write_bytes(b"PAR1 not a table")
    second.unlink()
    facts = gather(many)
    assert facts.reading.read == 10
    assert facts.reading.broken_number == 2
    assert [field for field, _ in facts.reading.broken] == ["f00", "f01"]
    assert facts.scores is not None
    assert facts.scores.scored.sum() > 400


def test_a_page_that_is_to_show_no_candidate_does_not_say_that_there_is_none(many: Path) -> None:
    text = page(gather(many, top=0))
    assert f"None of {len(query(many))} is shown." in text
    assert "No detection has a score" not in text


def test_fields_whose_candidates_can_not_be_read_are_named_and_the_others_shown(many: Path) -> None:
    whole = [(row.field_id, row.objid) for row in gather(many, top=500).candidates]
    first, second, *_ = sorted(many.glob("candidates/*/*/candidates.parquet"))
    first.write_bytes(b"PAR1 not a table")
    second.unlink()
    facts = gather(many, top=500)
    assert [field for field, _ in facts.unread_candidates] == ["f00", "f01"]
    assert [(row.field_id, row.objid) for row in facts.candidates] == [
        key for key in whole if key[0] not in ("f00", "f01")
    ]
    text = page(facts)
    assert "The candidates of 2 fields could not be read" in text
    for file in many.glob("candidates/*/*/candidates.parquet"):
        file.unlink()
    text = page(gather(many))
    assert "The candidates of 12 fields could not be read" in text
    assert "No detection has a score" not in text


def test_the_share_of_artefacts_has_wilsons_interval(many: Path) -> None:
    facts = gather(many)
    every, ten, *_ = facts.artefacts
    assert every.group == "all"
    assert ten.group == "10 best candidates"
    assert every.share.value == every.flagged / every.number
    # By hand: 3 of 10 at 1.96 sigma.
    from pipeline.catalogue.proportion import share

    assert share(3, 10) == pytest.approx((0.3, 0.1078, 0.6032), abs=1e-4)
    assert share(0, 10) == pytest.approx((0.0, 0.0, 0.2775), abs=1e-4)
    assert share(0, 0) == Share(None, 0.0, 1.0)


def test_the_best_candidates_are_those_of_a_query_of_everything(many: Path) -> None:
    for top in (1, 7, 48, 500):
        shown = [(row.field_id, row.objid) for row in gather(many, top=top).candidates]
        table = query(many, primary=True, top=top)
        assert shown == list(zip(table["field_id"].to_pylist(), table["objid"].to_pylist(), strict=True))


def test_the_best_of_many_fields_are_those_of_one_sort() -> None:
    rng = np.random.default_rng(6)
    best, every = Best(50), []
    for field in range(40):
        score = np.sort(rng.integers(0, 400, rng.integers(0, 60)).astype(np.float32))[::-1]
        flags = rng.integers(0, 9, len(score)).astype(np.uint32)
        best.add(field, score, flags)
        every += [(-value, field, place) for place, value in enumerate(score)]
    expected = sorted(every)[:50]
    assert best.score.tolist() == [-value for value, _, _ in expected]
    assert best.field.tolist() == [field for _, field, _ in expected]
