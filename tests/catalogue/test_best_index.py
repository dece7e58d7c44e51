"""The best rows kept together give what a query without them gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue import best_index
from pipeline.catalogue.best_index import write_best_index
from pipeline.catalogue.query import query
from pipeline.catalogue.sources import Source
from pipeline.io import products
from pipeline.io.tables import plain

Make = Callable[..., pa.Table]
Publish = Callable[..., None]
INDEX = Path("index") / "best.parquet"


@pytest.fixture
def indexed(tmp_path: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty fields of 300 rows with ties and nulls, and an index of the best 600."""
    monkeypatch.setattr(best_index, "SMALLEST", 1000)
    monkeypatch.setattr(best_index, "LEAST", 600)
    monkeypatch.setattr(best_index, "_ROW_GROUP", 50)
    monkeypatch.setattr("pipeline.io.live_listing.SETTLES", 0)
    output, random = tmp_path / "scan", np.random.default_rng(4)
    for number in range(20):
        table = random_table(make_table, random, f"f{number:02d}")
        publish_field(output, f"f{number:02d}", table, table)
    assert 500 < write_best_index(output) < 600  # the last score's ties are left out
    return output


def random_table(make_table: Make, random: np.random.Generator, field_id: str) -> pa.Table:
    n = 300
    score = np.round(random.random(n), 2)
    score[random.random(n) < 0.1] = np.nan
    ra, dec = random.uniform(0, 360, n), random.uniform(-90, 90, n)
    return make_table(field_id, random.permutation(n), ra, dec, score, random.integers(0, 2**11, n))


def both(
    output: Path, monkeypatch: pytest.MonkeyPatch, *given: object, **asked: object
) -> tuple[pa.Table, pa.Table, int]:
    """The answer with the index and without, and how many files of fields were read with it."""
    files: set[str] = set()
    with monkeypatch.context() as patch:
        real = best_index.best_rows.__globals__["read_group"]

        def counted(source: object, group: int, columns: object) -> pa.Table:
            name = str(source.files[int(source.groups.file[group])])  # type: ignore[attr-defined]
            files.update({name} if "candidates.parquet" in name else set())
            return real(source, group, columns)

        patch.setattr("pipeline.catalogue.rows.read_group", counted)
        quick = query(output, *given, **asked)  # type: ignore[arg-type]
    (output / INDEX).rename(output / "aside")
    slow = query(output, *given, **asked)  # type: ignore[arg-type]
    (output / "aside").rename(output / INDEX)
    return quick, slow, len(files)


@pytest.mark.parametrize(
    ("where", "asked", "opened"),
    [
        (None, {"top": 100}, 0),
        (None, {"top": 100, "without": ["SEAM"], "primary": True}, 0),
        ("ra < 100 AND flag(vet_flags, 'SEAM')", {"top": 20}, 0),
        (None, {"min_score": 0.95}, 0),
        (None, {"min_score": 0.95, "columns": ["ra"]}, 0),
        (None, {"top": 0}, 0),
        (None, {"top": 700}, 20),
        ("objid = 7", {"top": 18}, 20),
        (None, {"min_score": 0.5}, 20),
        (None, {"top": 10, "cone": (10.0, 10.0, 20.0)}, 20),
    ],
)
def test_with_the_index_and_without_a_query_gives_the_same(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, where: str | None, asked: dict[str, object], opened: int
) -> None:
    quick, slow, files = both(indexed, monkeypatch, where, **asked)
    assert plain(quick).equals(plain(slow), check_metadata=True)
    assert len(quick) or asked.get("top") == 0
    assert files == opened


@pytest.mark.parametrize("asked", [{"top": 100}, {"min_score": 0.95}], ids=str)
def test_a_field_published_since_is_read_from_its_own_file(
    indexed: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object]
) -> None:
    again = random_table(make_table, np.random.default_rng(9), "f07")
    publish_field(indexed, "f07", again, again, name="f2")
    products.sweep(indexed, "f07", ("candidates",))
    quick, slow, files = both(indexed, monkeypatch, **asked)
    assert plain(quick).equals(plain(slow), check_metadata=True)
    assert files == 1
    new = make_table("new", [1, 2], [0.0, 1.0], [0.0, 1.0], [1.0, 0.1])
    publish_field(indexed, "new", new, new)
    quick, slow, files = both(indexed, monkeypatch, **asked)
    assert plain(quick).equals(plain(slow), check_metadata=True)
    assert quick["field_id"][0].as_py() in ("new", *[f"f{number:02d}" for number in range(20)])
    assert files == 2
    write_best_index(indexed)
    quick, slow, files = both(indexed, monkeypatch, **asked)
    assert plain(quick).equals(plain(slow), check_metadata=True)
    assert files == 0


def test_an_index_of_which_much_is_stale_or_that_has_other_columns_is_passed_over(
    indexed: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        again = random_table(make_table, np.random.default_rng(number), f"f{number:02d}")
        publish_field(indexed, f"f{number:02d}", again, again, name="f2")
    quick, slow, files = both(indexed, monkeypatch, top=50)
    assert plain(quick).equals(plain(slow), check_metadata=True)
    assert files > 3
    write_best_index(indexed)
    more = make_table("f00", [1], [1.0], [1.0], [1.0], members=("cnn", "vit"))
    publish_field(indexed, "f00", more, more, name="f3")
    quick, slow, files = both(indexed, monkeypatch, top=50)
    assert plain(quick).equals(plain(slow), check_metadata=True)
    assert "score_vit" in quick.column_names


def test_a_small_catalogue_has_no_index(scan: Path) -> None:
    assert write_best_index(scan) == 0
    assert not (scan / "index" / "best.parquet").exists()


def test_the_same_catalogue_gives_the_same_bytes(indexed: Path) -> None:
    before, inode = (indexed / INDEX).read_bytes(), (indexed / INDEX).stat().st_ino
    rows = write_best_index(indexed)
    assert (indexed / INDEX).stat().st_ino == inode  # nothing was published since: it is left alone
    (indexed / INDEX).unlink()
    assert write_best_index(indexed) == rows
    assert (indexed / INDEX).read_bytes() == before


@pytest.mark.parametrize("asked", [{"top": 100}, {"min_score": 0.95}], ids=str)
def test_an_index_written_anew_while_it_is_read_is_passed_over(
    indexed: Path, make_table: Make, publish_field: Publish, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object]
) -> None:
    """The rows of the new index are of files that the query does not know of."""
    expected = query(indexed, **asked)  # type: ignore[arg-type]
    real = best_index.best_rows.__globals__["read_group"]
    calls: list[int] = []

    def late(source: Source, group: int, columns: Sequence[str]) -> pa.Table:
        calls.append(group)
        if len(calls) == 1:
            again = random_table(make_table, np.random.default_rng(9), "f07")
            publish_field(indexed, "f07", again, again, name="f2")
            write_best_index(indexed)
        return real(source, group, columns)

    monkeypatch.setattr("pipeline.catalogue.rows.read_group", late)
    found = query(indexed, **asked)  # type: ignore[arg-type]
    assert plain(found).equals(plain(expected))
