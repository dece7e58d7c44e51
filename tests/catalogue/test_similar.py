"""Query by example: the order of a dumber method, and what can't be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.similar import cosines, neighbours, similar
from pipeline.errors import ProductMismatch, QueryError
from pipeline.io import ownership, products
from pipeline.io.embeddings import EmbeddingKind, Embeddings, write_embeddings
from pipeline.io.tables import write_table

KIND = EmbeddingKind("cnn", "identity of cnn", "candidates")
NAN = float("nan")


def publish(
    output: Path,
    scores: pa.Table,
    vectors: np.ndarray | None,
    kind: EmbeddingKind = KIND,
    objid: Sequence[int] | None = None,
    floor: float = 0.1,
) -> None:
    """A field with candidates from a score on, and `vectors` of the candidates, or of all, in order of the objids."""
    field_id = scores["field_id"][0].as_py()
    if not (output / "scan.json").exists():
        ownership.claim(output, "test", "sky", "dr1")
    generation = products.new_generation(output, "candidates", field_id, "f1")
    folder = output / products.generation_place("candidates", field_id, generation)
    candidates = scores.filter(
        pa.array([value is not None and value >= floor for value in scores["score"].to_pylist()])
    )
    write_table(folder / "scores.parquet", scores)
    write_table(folder / "candidates.parquet", candidates)
    if vectors is not None:
        ids = (scores if kind.of == "all" else candidates)["objid"].to_numpy() if objid is None else np.array(objid)
        order = np.argsort(np.argsort(ids))
        write_embeddings(folder / "embeddings.parquet", Embeddings(kind, ids, vectors.astype(np.float16)[order]))
    products.publish(
        output,
        field_id=field_id,
        stage="candidates",
        fingerprint="f1",
        generation=generation,
        rows=len(scores),
        provenance={},
        counts={"detections": len(scores), "candidates": len(candidates)},
    )


def random_field(make_table: Callable[..., pa.Table], name: str, first: int, rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    ids = np.arange(first, first + rows)
    return make_table(name, ids, rng.uniform(0, 5, rows), rng.uniform(-5, 5, rows), rng.uniform(0.2, 1, rows))


@pytest.fixture
def vectors() -> dict[str, np.ndarray]:
    """Of twelve rows of field A and nine of field B, in order of their objids; positive, as after a rectifier."""
    rng = np.random.default_rng(3)
    return {"A": np.abs(rng.normal(size=(12, 8))), "B": np.abs(rng.normal(size=(9, 8)))}


@pytest.fixture
def output(tmp_path: Path, make_table: Callable[..., pa.Table], vectors: dict[str, np.ndarray]) -> Path:
    publish(tmp_path / "scan", random_field(make_table, "A", 100, 12, 1), vectors["A"])
    publish(tmp_path / "scan", random_field(make_table, "B", 200, 9, 2), vectors["B"])
    return tmp_path / "scan"


def by_hand(vectors: dict[str, np.ndarray], objid: int) -> list[tuple[int, float]]:
    """(objid, cosine) of every other row, one pair at a time, best first."""
    rows = {100 + i: v for i, v in enumerate(vectors["A"])} | {200 + i: v for i, v in enumerate(vectors["B"])}
    halves = {name: vector.astype(np.float16).astype(float) for name, vector in rows.items()}
    one = halves.pop(objid)
    found = [(name, float(v @ one / np.sqrt((v @ v) * (one @ one)))) for name, v in halves.items()]
    return sorted(found, key=lambda pair: -pair[1])


@pytest.mark.parametrize("objid", [100, 111, 204])
def test_neighbours_come_in_the_order_of_their_cosines(
    output: Path, vectors: dict[str, np.ndarray], objid: int
) -> None:
    table, expected = similar(output, objid), by_hand(vectors, objid)
    assert table["objid"].to_pylist() == [name for name, _ in expected]
    assert table["similarity"].to_pylist() == pytest.approx([value for _, value in expected], abs=1e-5)
    assert objid not in table["objid"].to_pylist()
    assert similar(output, objid, top=5).equals(table.slice(0, 5))


def test_rows_are_those_of_the_catalogue_with_one_column_more(output: Path) -> None:
    from pipeline.catalogue.query import query

    table = similar(output, 100)
    assert table.column_names == [*query(output).column_names, "similarity"]
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"
    rows = {row["objid"]: row for row in query(output).to_pylist()}
    for row in table.to_pylist():
        assert {name: value for name, value in row.items() if name != "similarity"} == rows[row["objid"]]


def test_what_was_compared_is_told(output: Path) -> None:
    found = neighbours(output, 205)
    assert (found.objid, found.field_id, found.member, found.compared) == (205, "B", "cnn", 21)
    assert found.left_out == {}


def test_of_an_answer_without_rows_the_columns_stay(output: Path) -> None:
    full, none = similar(output, 100), similar(output, 100, top=0)
    assert len(none) == 0
    assert none.schema.equals(full.schema)


def test_equal_stamps_come_in_order_of_field_and_objid(tmp_path: Path, make_table: Callable[..., pa.Table]) -> None:
    same = np.tile([1.0, 2.0], (4, 1))
    publish(tmp_path, random_field(make_table, "B", 20, 4, 1), same)
    publish(tmp_path, random_field(make_table, "A", 10, 4, 2), same)
    table = similar(tmp_path, 21, top=5)
    assert table["objid"].to_pylist() == [10, 11, 12, 13, 20]
    assert table["similarity"].to_pylist() == [1.0] * 5


def test_flags_copies_and_rows_of_another_field_are_left_out(
    tmp_path: Path, make_table: Callable[..., pa.Table]
) -> None:
    ra, dec = [1.0, 2.0, 3.0, 4.0], [0.0] * 4
    a = make_table("A", [1, 2, 3, 4], ra, dec, [0.9] * 4, [0, 64, 0, 0], primary=[True, True, True, False])
    # 1 stands in both fields under its objid; 7 is a copy of it a tenth of an arcsecond away.
    b = make_table("B", [1, 7, 8], [1.0, 1.0, 5.0], [0.0, 0.1 / 3600, 0.0], [0.9] * 3, primary=[False, True, True])
    publish(tmp_path, a, np.ones((4, 3)))
    publish(tmp_path, b, np.ones((3, 3)))
    assert neighbours(tmp_path, 1).field_id == "A"
    assert similar(tmp_path, 1)["objid"].to_pylist() == [2, 3, 8]
    assert similar(tmp_path, 1, primary=False)["objid"].to_pylist() == [2, 3, 4, 8]
    assert similar(tmp_path, 1, without=["seam"])["objid"].to_pylist() == [3, 8]
    assert similar(tmp_path, 1, field_id="B")["objid"].to_pylist() == [2, 3, 8]
    assert neighbours(tmp_path, 1, field_id="B").field_id == "B"


def test_an_objid_of_two_fields_without_a_primary_row_asks_for_the_field(
    tmp_path: Path, make_table: Callable[..., pa.Table]
) -> None:
    for name in ("A", "B"):
        publish(tmp_path, make_table(name, [1, 2], [1, 2], [0, 0], [0.9] * 2, primary=[False, True]), np.ones((2, 3)))
    with pytest.raises(QueryError, match="objid 1 stands in fields A, B; say which with --field"):
        similar(tmp_path, 1)
    assert neighbours(tmp_path, 1, field_id="B").field_id == "B"


def test_all_detections_are_compared_where_all_have_embeddings(
    tmp_path: Path, make_table: Callable[..., pa.Table]
) -> None:
    scores = make_table("A", [1, 2, 3, 4], [1, 2, 3, 4], [0] * 4, [0.9, 0.05, 0.8, NAN])
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [NAN, NAN]])
    publish(tmp_path, scores, vectors, EmbeddingKind("cnn", "i", "all"))
    assert similar(tmp_path, 1)["objid"].to_pylist() == [3]
    assert similar(tmp_path, 1, all=True)["objid"].to_pylist() == [2, 3]
    assert similar(tmp_path, 2)["objid"].to_pylist() == [1, 3]
    with pytest.raises(QueryError, match=r"objid 4 of field A has no embedding.*could not look at its stamp, or"):
        similar(tmp_path, 4)


def test_a_scan_without_embeddings_says_what_to_set_and_what_that_costs(scan: Path) -> None:
    with pytest.raises(QueryError) as error:
        similar(scan, 12)
    for part in ("embeddings = true", "[score]", "lensscan scan SCAN.toml", "6 cutouts", "5 candidates"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("objid", "options", "message"),
    [
        (5, {}, "has no objid 5; `lensscan query"),
        (100, {"field_id": "B"}, "field B of .* has no objid 100"),
        (100, {"field_id": "C"}, "no candidates of field 'C'"),
        (2**63, {}, "is no 64-bit number"),
        (100, {"top": -1}, "top: -1 is negative"),
        (100, {"without": ["PRETTY"]}, "no vet flag 'PRETTY'"),
        (100, {"all": True}, "2 of 2 fields can't be compared.*embeddings of candidates alone.*embeddings_of"),
    ],
)
def test_what_can_not_be_asked_is_named(output: Path, objid: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        similar(output, objid, **options)  # type: ignore[arg-type]


def test_a_detection_that_is_no_candidate_says_how_to_store_its_embedding(
    tmp_path: Path, make_table: Callable[..., pa.Table]
) -> None:
    publish(tmp_path, make_table("A", [1, 2], [1, 2], [0, 0], [0.9, 0.01]), np.ones((1, 2)))
    with pytest.raises(QueryError, match=r'objid 2 of field A is no candidate.*embeddings_of = "all"'):
        similar(tmp_path, 2)


@pytest.mark.parametrize(
    ("kind", "width", "why"),
    [
        (
            EmbeddingKind("cnn", "another identity", "candidates"),
            8,
            "B: embeddings by cnn, with other weights or input",
        ),
        (KIND, 5, "B: embeddings of 5 numbers, not 8"),
        (None, 0, "B: no embeddings"),
    ],
    ids=["other weights", "other width", "none"],
)
def test_fields_that_can_not_be_compared_are_refused_or_left_out_aloud(
    tmp_path: Path,
    make_table: Callable[..., pa.Table],
    vectors: dict[str, np.ndarray],
    kind: EmbeddingKind | None,
    width: int,
    why: str,
) -> None:
    publish(tmp_path, random_field(make_table, "A", 100, 12, 1), vectors["A"])
    strange = None if kind is None else np.ones((9, width))
    publish(tmp_path, random_field(make_table, "B", 200, 9, 2), strange, kind or KIND)
    with pytest.raises(QueryError, match=f"1 of 2 fields can't be compared with objid 100 .{why}.*--partial"):
        similar(tmp_path, 100)
    found = neighbours(tmp_path, 100, partial=True)
    assert sorted(found.table["objid"].to_pylist()) == list(range(101, 112))
    assert [f"{name}: {text}" for name, text in found.left_out.items()] == [why]


def test_an_example_in_a_field_without_embeddings_is_refused(output: Path, make_table: Callable[..., pa.Table]) -> None:
    publish(output, random_field(make_table, "C", 300, 3, 4), None)
    with pytest.raises(QueryError, match=r"field C has no embeddings.*lensscan field SCAN.toml C --from candidates"):
        similar(output, 301, partial=True)


def test_a_field_without_rows_is_compared_with_anything(output: Path, make_table: Callable[..., pa.Table]) -> None:
    table = random_field(make_table, "C", 300, 3, 4)
    publish(output, table, np.ones((0, 2)), EmbeddingKind("other", "other", "candidates"), floor=2.0)
    assert len(similar(output, 100)) == 20


def test_a_vector_of_length_nought_is_like_nothing(tmp_path: Path, make_table: Callable[..., pa.Table]) -> None:
    publish(tmp_path, random_field(make_table, "A", 1, 3, 1), np.array([[1.0, 1], [0, 0], [1, 2]]))
    assert similar(tmp_path, 1)["objid"].to_pylist() == [3]
    with pytest.raises(QueryError, match="objid 2 of field A has no embedding"):
        similar(tmp_path, 2)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20:200] = bytes(180)
    path.write_bytes(bytes(data))


def _other_table(path: Path) -> None:
    write_table(path, pa.table({"objid": pa.array([1, 2])}))


@pytest.mark.parametrize("damage", [_cut_short, _overwritten, _other_table, Path.unlink])
def test_a_damaged_file_is_named(output: Path, damage: Callable[[Path], None]) -> None:
    (path,) = (output / "candidates" / "B").glob("*/embeddings.parquet")
    damage(path)
    with pytest.raises(
        ProductMismatch, match=r"embeddings\.parquet: not a readable file of embeddings.*rerun its field"
    ):
        similar(output, 100)


def test_embeddings_of_other_rows_than_the_catalogue_s_are_refused(
    tmp_path: Path, make_table: Callable[..., pa.Table]
) -> None:
    publish(tmp_path, random_field(make_table, "A", 1, 3, 1), np.ones((3, 2)), objid=[1, 2, 5])
    with pytest.raises(ProductMismatch, match=r"not of the rows of candidates\.parquet"):
        similar(tmp_path, 1)


def test_parquet_that_was_exported_has_no_embeddings(output: Path, tmp_path: Path) -> None:
    from pipeline.catalogue.query import query

    write_table(tmp_path / "exported.parquet", query(output))
    with pytest.raises(QueryError, match="is not a scan's output"):
        similar(tmp_path / "exported.parquet", 100)
    with pytest.raises(QueryError, match=r"nowhere does not exist; name a scan's output folder"):
        similar(tmp_path / "nowhere", 100)


def test_cosines_of_half_precision_never_leave_their_range() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(1000, 64)).astype(np.float16)
    unit = vectors[0].astype(np.float32) / np.linalg.norm(vectors[0].astype(np.float32))
    values = cosines(np.concatenate([vectors, -vectors, np.full((1, 64), np.nan, np.float16)]), unit)
    assert np.abs(values[:-1]).max() <= 1
    assert values[0] == pytest.approx(1)
    assert values[1000] == pytest.approx(-1)
    assert np.isnan(values[-1])
