"""Queries of a scan's output and of exported Parquet, against values that can be read off the fixture."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.query import query, stream
from pipeline.catalogue.reading import read_group
from pipeline.catalogue.sources import Source, open_source
from pipeline.errors import QueryError
from pipeline.io import products
from pipeline.io.tables import write_table

BIG = 2**53 + 1
Make = Callable[..., pa.Table]
Publish = Callable[..., None]


def ids(table: pa.Table) -> list[int]:
    found: list[int] = table["objid"].to_pylist()
    return found


def test_candidates_come_best_first_from_every_field(scan: Path) -> None:
    table = query(scan)
    assert ids(table) == [-5, BIG, 14, 12, 12]
    assert table["field_id"].to_pylist() == ["B", "A/1", "A/1", "A/1", "B"]


def test_all_gives_every_score_with_null_ones_last(scan: Path) -> None:
    table = query(scan, all=True)
    assert ids(table) == [-5, BIG, 14, 12, 12, 13]
    assert table["score"].to_pylist()[-1] is None


def test_a_condition_chooses_rows_and_null_fulfils_none(scan: Path) -> None:
    assert ids(query(scan, "score < 0.6", all=True)) == [12, 12]
    assert ids(query(scan, "score IS NULL", all=True)) == [13]
    assert ids(query(scan, f"objid = {BIG}")) == [BIG]
    assert ids(query(scan, f"objid = {BIG - 1}")) == []
    assert ids(query(scan, "score > 0.8 OR field_id = 'B'", min_score=0.45)) == [-5, BIG]


def test_blank_conditions_are_no_conditions(scan: Path) -> None:
    assert len(query(scan, "  \n")) == 5


@pytest.mark.parametrize(("where", "share"), [("false", 0), ("1 = 2", 0), ("NULL", 0), ("true", 1)])
def test_a_condition_that_names_no_column_counts_all_the_same(scan: Path, where: str, share: int) -> None:
    for given in ({}, {"all": True}, {"columns": ["ra"]}):
        assert len(query(scan, where, **given)) == share * len(query(scan, **given)), given
        assert sum(map(len, stream(scan, where, **given))) == share * len(query(scan, **given)), given


def test_flags_are_asked_for_by_name(scan: Path) -> None:
    assert ids(query(scan, without=["SEAM"])) == [-5, BIG, 14]
    assert query(scan, with_flags=["seam", "CHIP_GAP_CROSSES"])["vet_flags"].to_pylist() == [66]
    assert query(scan, "flag(vet_flags, 'SEAM') AND NOT flag(vet_flags, 'CHIP_GAP_CROSSES')")[
        "vet_flags"
    ].to_pylist() == [64]
    with pytest.raises(QueryError, match="no vet flag 'SEEM'; flags: CENTRE_MASKED"):
        query(scan, without=["SEEM"])


def test_top_min_score_primary_and_columns(scan: Path) -> None:
    assert ids(query(scan, top=2)) == [-5, BIG]
    assert ids(query(scan, top=0)) == []
    assert ids(query(scan, min_score=0.7)) == [-5, BIG, 14]
    assert query(scan, "objid = 12", primary=True)["field_id"].to_pylist() == ["B"]
    assert query(scan, columns=["score", "objid"]).column_names == ["score", "objid"]
    with pytest.raises(QueryError, match="top: -1 is negative"):
        query(scan, top=-1)
    with pytest.raises(QueryError, match="no column colour; columns: objid"):
        query(scan, columns=["colour"])
    with pytest.raises(QueryError, match="columns: none is named"):
        query(scan, columns=[])
    with pytest.raises(QueryError, match="min_score: nan"):
        query(scan, min_score=float("nan"))


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**30])
def test_more_rows_than_can_be_counted_are_all_rows(scan: Path, number: int) -> None:
    assert ids(query(scan, top=number)) == ids(query(scan))
    assert sorted(ids(query(scan, top_per_field=number))) == sorted(ids(query(scan)))


def test_a_column_named_twice_is_refused(scan: Path) -> None:
    for ask in (query, stream):
        with pytest.raises(QueryError, match="columns: objid more than once"):
            ask(scan, columns=["objid", "ra", "objid"])


def test_one_field_is_read_from_its_own_file(scan: Path) -> None:
    assert ids(query(scan, field="A/1")) == [BIG, 14, 12]
    for file in scan.rglob("candidates.parquet"):
        if "A%2F1" in str(file):
            file.write_bytes(b"broken")
    assert ids(query(scan, field=["B"])) == [-5, 12]
    with pytest.raises(QueryError, match="not a readable Parquet file"):
        query(scan)
    with pytest.raises(QueryError, match="no candidates of field 'C'; fields: A/1, B"):
        query(scan, field="C")


def test_members_of_one_field_alone_are_null_in_the_others(scan: Path) -> None:
    table = query(scan, columns=["field_id", "score_cnn", "score_vit"])
    assert table["score_vit"].to_pylist() == [pytest.approx(0.95), None, None, None, pytest.approx(0.4)]
    names = query(scan).column_names
    assert names.index("score_vit") == names.index("score_cnn") + 1
    assert ids(query(scan, "score_vit > 0.5")) == [-5]


def test_no_rows_keep_types_and_metadata(scan: Path) -> None:
    full, none = query(scan), query(scan, "score > 2")
    assert len(none) == 0
    assert none.schema.equals(full.schema, check_metadata=True)
    assert none.schema.field("ra").metadata[b"unit"] == b"deg"
    assert pa.types.is_dictionary(none.schema.field("field_id").type)


def test_the_live_generation_is_read_and_a_dead_one_is_not(
    scan: Path, make_table: Make, publish_field: Publish
) -> None:
    again = make_table("B", [77], [1.0], [1.0], [0.5])
    publish_field(scan, "B", again, again, name="f2")
    assert ids(query(scan, field="B")) == [77]


def test_an_exported_file_or_folder_can_be_queried(scan: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "export" / "part one.parquet", query(scan, field="A/1"))
    write_table(tmp_path / "export" / "sub" / "two.parquet", query(scan, field="B"))
    (tmp_path / "export" / "_metadata.parquet").write_bytes(b"not for us")
    assert ids(query(tmp_path / "export")) == [-5, BIG, 14, 12, 12]
    assert ids(query(tmp_path / "export" / "part one.parquet", "dec < 1")) == [BIG, 12]
    assert ids(query(tmp_path / "export", field="B")) == [-5, 12]
    with pytest.raises(QueryError, match="only that has scores"):
        query(tmp_path / "export", all=True)


def test_what_is_no_catalogue_is_told_apart(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="does not exist"):
        query(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(QueryError, match="neither a scan's output"):
        query(tmp_path / "empty")
    with pytest.raises(QueryError, match=r"part of a scan's output.*query .*a scan"):
        query(scan / "candidates")
    write_table(tmp_path / "other.parquet", pa.table({"a": [1]}))
    with pytest.raises(QueryError, match="no column objid, ra, dec, score"):
        query(tmp_path / "other.parquet")
    shutil.rmtree(scan / "manifests")
    with pytest.raises(QueryError, match="holds no candidates: run or finish its scan"):
        query(scan)


def test_a_folder_that_holds_catalogues_is_none_itself(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=f"is no catalogue, but {scan} in it is one"):
        query(scan.parent)
    write_table(tmp_path / "exports" / "one.parquet", query(scan))
    write_table(tmp_path / "exports" / "sub" / "published" / "dataset" / "two.parquet", query(scan))
    (tmp_path / "exports" / "sub" / "published" / "hats.properties").write_text("obs_collection=main\n")
    with pytest.raises(QueryError, match=r"but .*published.* in it is one"):
        query(tmp_path / "exports")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("objid", pa.float64(), "objid is double, and must be a whole number"),
        ("objid", pa.string(), "objid is string"),
        ("score", pa.string(), "score is string, and must be a floating-point number"),
        ("vet_flags", pa.string(), "vet_flags is string"),
        ("is_primary", pa.int32(), "is_primary is int32, and must be true or false"),
    ],
)
def test_a_column_of_the_wrong_kind_is_named(
    scan: Path, tmp_path: Path, name: str, kind: pa.DataType, words: str
) -> None:
    table = query(scan)
    write_table(
        tmp_path / "t.parquet",
        table.set_column(table.column_names.index(name), name, table[name].cast(kind, safe=False)),
    )
    with pytest.raises(QueryError, match=f"t.parquet is no catalogue: column {words}"):
        query(tmp_path / "t.parquet")


def test_two_columns_of_one_name_are_refused(scan: Path, tmp_path: Path) -> None:
    table = query(scan)
    write_table(tmp_path / "t.parquet", table.append_column("score", table["score"]))
    with pytest.raises(QueryError, match=r"t\.parquet: more than one column score"):
        query(tmp_path / "t.parquet")


def test_a_file_with_broken_pages_is_named(scan: Path) -> None:
    file = next(scan.glob("candidates/B/*/candidates.parquet"))
    data = bytearray(file.read_bytes())
    data[4:400] = b"\xff" * 396
    file.write_bytes(data)
    with pytest.raises(QueryError, match=f"{file} is not a readable Parquet file"):
        query(scan)


def test_files_that_disagree_about_a_type_are_named(scan: Path, tmp_path: Path) -> None:
    table = query(scan)
    write_table(tmp_path / "e" / "a.parquet", table)
    place = table.column_names.index("row")
    write_table(tmp_path / "e" / "b.parquet", table.set_column(place, "row", table["row"].cast(pa.int64())))
    with pytest.raises(QueryError, match=r"b\.parquet: column row is int64, but int32"):
        query(tmp_path / "e")


def test_a_generation_removed_in_mid_query_is_looked_up_again(
    scan: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["pipeline.catalogue.query"]
    opened = open_source
    calls = []

    def slow(path: Path, fields: object = None, *, every_score: bool = False) -> object:
        source = opened(path, fields, every_score=every_score)  # type: ignore[arg-type]
        calls.append(source)
        if len(calls) == 1:
            again = make_table("B", [77], [1.0], [1.0], [0.99])
            publish_field(scan, "B", again, again, name="f2")
            products.sweep(scan, "B", ("candidates",))
        return source

    monkeypatch.setattr(module, "open_source", slow)
    assert ids(query(scan, top=1)) == [77]
    assert len(calls) == 2


def test_ten_thousand_random_rows_agree_with_numpy(tmp_path: Path, make_table: Make) -> None:
    rng = np.random.default_rng(5)
    n = 10_000
    score = rng.random(n).astype(np.float32)
    score[::7] = np.nan
    ra, flags = rng.uniform(0, 360, n), rng.integers(0, 2**11, n)
    table = make_table("F", rng.permutation(n), ra, rng.uniform(-90, 90, n), score, flags)
    write_table(tmp_path / "t.parquet", table)
    got = query(tmp_path / "t.parquet", "mag_r = 20 AND ra BETWEEN 10 AND 200", without=["SEAM"], top=50)
    columns = {name: table[name].to_numpy() for name in ("objid", "ra", "score", "vet_flags")}
    keep = (columns["ra"] >= 10) & (columns["ra"] <= 200) & (columns["vet_flags"] & 64 == 0)
    order = np.lexsort((columns["objid"], -np.nan_to_num(columns["score"], nan=-1)))
    assert ids(got) == [int(columns["objid"][index]) for index in order if keep[index]][:50]


def test_a_query_imports_neither_torch_nor_dask(scan: Path) -> None:
    code = (
        "import json, sys\n"
        "from pipeline.catalogue.query import query\n"
        f"table = query({str(scan)!r}, 'score > 0.5', cone=(10, 0, 1), top=3)\n"
        "print(json.dumps([len(table), [m for m in ('torch', 'dask', 'distributed') if m in sys.modules]]))"
    )
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [2, []]


def dumb(tables: list[pa.Table], keep: Callable[[dict[str, object]], bool]) -> list[tuple[str, int]]:
    """Keys of rows by a loop over Python values: the slow way to do what a query does."""
    rows = [row for table in tables for row in table.to_pylist() if keep(row)]
    rows.sort(key=lambda row: (row["score"] is None, -(row["score"] or 0.0), row["field_id"], row["objid"]))
    return [(row["field_id"], row["objid"]) for row in rows]


def keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["field_id"].to_pylist(), table["objid"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[pa.Table]]:
    """Nine fields of 700 rows in row groups of 100, with ties, nulls and flags."""
    from tests.catalogue.conftest import make_table, publish_field

    output = tmp_path_factory.mktemp("many") / "scan"
    random = np.random.default_rng(11)
    tables = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.io.tables.ROW_GROUP", 100)
        for number in range(9):
            n = 700
            score = np.round(random.random(n), 2)  # ties within and across fields
            score[random.random(n) < 0.2] = np.nan
            table = make_table(
                f"f{number}",
                random.permutation(n) - 300,
                (355 + 2 * number + 2 * random.random(n)) % 360,
                -1 + 2 * random.random(n),
                score,
                random.integers(0, 2**11, n),
                primary=list(random.random(n) < 0.9),
            )
            tables.append(table)
            publish_field(output, f"f{number}", table, table)
    return output, tables


@pytest.mark.parametrize("top", [1, 7, 150, 4000, 100_000])
def test_the_best_rows_are_those_of_a_sort_of_everything(many: tuple[Path, list[pa.Table]], top: int) -> None:
    scan, tables = many
    assert keys(query(scan, top=top)) == dumb(tables, lambda row: True)[:top]
    flagged = dumb(tables, lambda row: not row["vet_flags"] & 64 and row["dec"] > 0)  # type: ignore[operator]
    assert keys(query(scan, "dec > 0", without=["SEAM"], top=top)) == flagged[:top]
    assert keys(query(scan, "score IS NULL", top=top)) == dumb(tables, lambda row: row["score"] is None)[:top]


@pytest.mark.parametrize("top", [0, 1, 30, 1000])
def test_the_best_of_each_field_are_those_of_a_query_of_each(many: tuple[Path, list[pa.Table]], top: int) -> None:
    scan, _ = many
    expected = [key for number in range(9) for key in keys(query(scan, primary=True, field=f"f{number}"))[:top]]
    assert keys(query(scan, primary=True, top_per_field=top)) == expected
    with pytest.raises(QueryError, match="top and top_per_field: give one"):
        query(scan, top=1, top_per_field=1)


def test_the_best_of_each_field_of_an_export_do_not_depend_on_its_files(
    many: tuple[Path, list[pa.Table]], tmp_path: Path
) -> None:
    scan, _ = many
    table = query(scan)
    mixed = table.take(pa.array(np.random.default_rng(2).permutation(len(table))))
    for number in range(3):
        write_table(tmp_path / f"{number}.parquet", mixed.slice(number * 2100, 2100))
    assert keys(query(tmp_path, top_per_field=5)) == keys(query(scan, top_per_field=5))
    assert keys(query(tmp_path, top=50)) == keys(query(scan, top=50))
    assert keys(query(tmp_path, field=["f3", "f7"], top=50)) == keys(query(scan, field=["f7", "f3"], top=50))


def test_a_stream_has_the_rows_of_a_query_in_the_order_of_the_files(
    many: tuple[Path, list[pa.Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, tables = many
    monkeypatch.setattr("pipeline.catalogue.rows.WAVE", 250)
    reader = stream(scan, "score > 0.3", min_score=0.5, columns=["objid", "field_id", "score"])
    batches = list(reader)
    assert len(batches) > 9
    assert max(len(batch) for batch in batches) <= 250
    got = pa.Table.from_batches(batches, reader.schema)
    lying = [row for table in tables for row in table.to_pylist() if row["score"] is not None and row["score"] >= 0.5]
    assert keys(got) == [(row["field_id"], row["objid"]) for row in lying]
    assert sorted(keys(got)) == sorted(keys(query(scan, min_score=0.5)))
    whole = pa.Table.from_batches(list(stream(scan)))
    assert keys(whole) == [key for table in tables for key in keys(table)]


def test_a_field_of_an_export_is_looked_for_where_its_name_may_be(
    many: tuple[Path, list[pa.Table]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tables = many
    for number, table in enumerate(tables):
        write_table(tmp_path / f"{number}.parquet", pa.concat_tables([table, tables[min(number + 1, 8)]]))
    read: set[int] = set()
    real = read_group

    def counted(source: Source, group: int, columns: Sequence[str]) -> pa.Table:
        read.add(int(source.groups.file[group]))
        return real(source, group, columns)

    monkeypatch.setattr("pipeline.catalogue.rows.read_group", counted)
    found = query(tmp_path, field=["f3", "f0"])
    assert read == {0, 2, 3}
    assert len(found) == 700 + 2 * 700
    read.clear()
    assert len(query(tmp_path, field="f2b")) == 0  # between two names that there are
    assert read == {2}


def test_only_row_groups_that_can_hold_a_row_are_read(
    many: tuple[Path, list[pa.Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, tables = many
    read: list[int] = []
    real = read_group

    def counted(source: object, group: int, columns: object) -> pa.Table:
        read.append(group)
        return real(source, group, columns)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.catalogue.rows.read_group", counted)
    query(scan, cone=(360.0, 0.0, 0.1))
    assert (
        0 < len(set(read)) <= 20 < 63
    )  # a row group that goes from one base pixel to the next spans what lies between
    read.clear()
    query(scan, min_score=0.995)
    best = sum(
        max(s or 0 for s in t["score"].to_pylist()[g : g + 100]) >= 0.995 for t in tables for g in range(0, 700, 100)
    )
    assert len(set(read)) == best < 63
