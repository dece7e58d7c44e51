"""A condition is one expression over columns; everything else is refused, in words."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.catalogue.conditions import _fulfils, locked_connection
from pipeline.catalogue.query import query
from pipeline.catalogue.where import check_condition, check_statement
from pipeline.errors import QueryError

COLUMNS = ["objid", "field_id", "ra", "dec", "score", "vet_flags", "is_primary", "mag_r", "_healpix_29", "Odd name"]

GOOD = [
    ("score > 0.5", {"score"}),
    ("SCORE > .5 and Mag_R<21", {"score", "mag_r"}),
    ("score > 0.5\n\tAND\n dec < 3", {"score", "dec"}),
    ("(score > 0.5) OR (dec < -3)", {"score", "dec"}),
    ("score BETWEEN 0.1 AND 0.2", {"score"}),
    ("score IS NOT NULL AND NOT is_primary", {"score", "is_primary"}),
    ("objid IN (9007199254740993, -5)", {"objid"}),
    ("objid NOT IN (1)", {"objid"}),
    ("field_id LIKE 'KV%' AND field_id NOT ILIKE '_b'", {"field_id"}),
    ("field_id LIKE 'a$_%' ESCAPE '$'", {"field_id"}),
    ("field_id = 'it''s; -- not a comment /* nor this'", {"field_id"}),
    ("vet_flags & 64 = 0", {"vet_flags"}),
    ("flag(vet_flags, 'SEAM')", {"vet_flags"}),
    ("abs(dec) < 10 AND sqrt(power(ra - 10, 2) + dec ** 2) <= 3", {"ra", "dec"}),
    ("CASE WHEN mag_r IS NULL THEN score > 0.9 ELSE score > 0.5 END", {"mag_r", "score"}),
    ("CAST(objid AS VARCHAR) LIKE '9%' AND dec::DOUBLE > 3", {"objid", "dec"}),
    ("coalesce(mag_r, 99) < 20 OR nullif(score, 0) > 0.1", {"mag_r", "score"}),
    ("regexp_matches(field_id, '^K') AND length(field_id) % 2 = 1", {"field_id"}),
    ('"Odd name" = 3', {"Odd name"}),
    ("true", set()),
    ("greatest(score, 0.5) > least(0.1, score)", {"score"}),
    (f"objid IN ({', '.join(map(str, range(1000)))})", {"objid"}),
]

BAD = [
    # more than one expression
    "score > 0.5; DROP VIEW catalogue",
    "score > 0.5;",
    ";",
    "score, dec",
    "score > 0.5,",
    "score > 0.5) OR (1 = 1",
    "1=1) UNION SELECT * FROM catalogue WHERE (1=1",
    "score > 0.5 UNION SELECT 1",
    "score > 0.5 ORDER BY ra",
    "score > 0.5 LIMIT 1",
    "score > 0.5 OFFSET 1",
    "score > 0.5 GROUP BY ALL",
    "score > 0.5 HAVING true",
    "score > 0.5 QUALIFY true",
    "score > 0.5 USING SAMPLE 3",
    "score > 0.5 WINDOW w AS ()",
    "score FROM catalogue",
    "score WHERE score > 1",
    "score AS x",
    "x: score",
    "score x",
    "DISTINCT score",
    "ALL score > 0.5",
    "",
    # comments that hide text
    "score > 0.5 -- and more",
    "score > 0.5 /* and more */",
    "score > 0.5 /* and more",
    "score > 0.5 */",
    "score > /**/ 0.5",
    "score > 0.5) --",
    # other relations and table functions
    "score > (SELECT max(score) FROM catalogue)",
    "(SELECT true)",
    "EXISTS (SELECT 1)",
    "score IN (SELECT 1)",
    "score = ANY (SELECT 1)",
    "score > ALL (SELECT 1)",
    "ARRAY(SELECT 1) IS NULL",
    "(FROM catalogue) IS NULL",
    "(TABLE catalogue) IS NULL",
    "(VALUES (1)) = 1",
    "(WITH q AS (SELECT 1) SELECT * FROM q) = 1",
    "(PIVOT catalogue ON field_id USING count(*)) IS NULL",
    "(DESCRIBE catalogue) IS NULL",
    "objid IN catalogue",
    "read_csv('/etc/passwd') IS NULL",
    "score > 0 FROM read_csv('/etc/passwd')",
    "read_text('/etc/passwd') IS NULL",
    "read_blob('/etc/passwd') IS NULL",
    "glob('/*') IS NULL",
    "query('SELECT 1') IS NULL",
    "query_table('catalogue') IS NULL",
    "unnest([1, 2]) = 1",
    "generate_series(1, 3) IS NULL",
    # what looks outside, has an effect, or is not a function of the row
    "getenv('HOME') = 'x'",
    "getvariable('x') = 1",
    "current_setting('threads') = '1'",
    "set_config('threads', '1') = '1'",
    "nextval('s') = 1",
    "random() < 0.5",
    "uuid() IS NULL",
    "now() IS NULL",
    "current_date IS NULL",
    "current_user = 'x'",
    "current_schema() = 'main'",
    "version() = 'x'",
    "pragma_version() IS NULL",
    "duckdb_settings() IS NULL",
    "in_search_path('memory', 'main')",
    "json_serialize_sql('SELECT 1') IS NULL",
    "json_execute_serialized_sql('{}') IS NULL",
    "write_log('x') IS NULL",
    "sleep_ms(10) IS NULL",
    "error('x')",
    "repeat('x', 1000000000) = 'y'",
    "main.abs(score) > 1",
    "system.main.abs(score) > 1",
    "sum(score) > 1",
    "count(*) > 1",
    "row_number() OVER () = 1",
    "sum(score) OVER (PARTITION BY field_id) > 1",
    "abs(DISTINCT score) > 1",
    "abs(score) FILTER (WHERE true) > 1",
    "list_filter([1], x -> x > 0) IS NULL",
    "list_filter([1], lambda x: x > 0) IS NULL",
    "[x FOR x IN [1, 2]] IS NULL",
    "{'a': score} IS NULL",
    "[score] IS NULL",
    "(score, dec) IS NULL",
    "COLUMNS(*) > 0",
    "*",
    "* > 0",
    "catalogue.*",
    "catalogue IS NULL",
    "catalogue.score > 1",
    "rowid = 1",
    "filename = 'x'",
    "? > 0",
    "$1 > 0",
    "$name > 0",
    "#1 > 0",
    "field_id COLLATE NOCASE = 'x'",
    "DEFAULT",
    "try(score / 0) IS NULL",
    "score::regclass IS NULL",
    "CAST(score AS main.mytype) IS NULL",
    "CAST(score AS ENUM('a')) IS NULL",
    "CAST(score AS INTEGER[]) IS NULL",
    "CAST(score AS DECIMAL(3, 1)) > 1",
    "TRY_CAST(field_id AS JSON) IS NULL",
    "INTERVAL 1 DAY > INTERVAL 2 DAY",
    "field_id AT TIME ZONE 'UTC' IS NULL",
    "score ->> 'x' IS NULL",
    # flags
    "flag(vet_flags)",
    "flag(vet_flags, 'NO_SUCH')",
    "flag(vet_flags, field_id)",
    "flag(vet_flags, 'SEAM', 3)",
    # statements
    "COPY catalogue TO '/x.csv'",
    "SELECT 1",
    "ATTACH '/x.db'",
    "INSTALL httpfs",
    "SET threads = 1",
    "CREATE TABLE x AS SELECT 1",
    "DELETE FROM catalogue",
    "PRAGMA version",
    # not even a condition
    "score >",
    "score > > 1",
    "colour > 1",
    "sco\x00re > 1",
    "'unclosed",
    '"unclosed',
    "((score > 1)",
    "score > 1)",
    "$$ $$ $$",
    "NOT " * 5000 + "true",
    "score > 0 AND objid IN (" + "1, " * 400_000 + "1)",
]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:")


@pytest.mark.parametrize(("text", "named"), GOOD, ids=[text[:60] for text, _ in GOOD])
def test_an_expression_over_columns_is_taken(connection: duckdb.DuckDBPyConnection, text: str, named: set[str]) -> None:
    assert check_condition(connection, text, COLUMNS) == named
    check_statement(connection, f"SELECT objid FROM catalogue WHERE (\n{text}\n) AND (score > 1)", text, COLUMNS)


@pytest.mark.parametrize("text", BAD, ids=lambda value: repr(value)[:60])
def test_anything_else_is_refused(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    with pytest.raises(QueryError, match=r"(?s)condition .*Columns: objid, field_id"):
        check_condition(connection, text, COLUMNS)


HARMLESS_ONCE_PARSED = {"score > 0.5 -- and more", "score > 0.5 /* and more */", "score > /**/ 0.5", BAD[-1]}


@pytest.mark.parametrize(
    "text", [text for text in BAD if text not in HARMLESS_ONCE_PARSED], ids=lambda value: repr(value)[:60]
)
def test_the_assembled_statement_refuses_it_too(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """The second check stands by itself: it does not rest on the first."""
    with pytest.raises((QueryError, duckdb.Error)):
        check_statement(connection, f"SELECT objid FROM catalogue WHERE (\n{text}\n) AND (score > 1)", text, COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "true" + ")" * 5000,
        "- " * 5000 + "1 > 0",
        "abs(" * 300 + "1" + ")" * 300 + " > 0",
        "CASE WHEN true THEN " * 300 + "true" + " END" * 300,
    ],
    ids=["brackets", "signs", "functions", "cases"],
)
def test_deep_nesting_is_taken_or_refused_as_the_parser_likes_but_breaks_nothing(
    connection: duckdb.DuckDBPyConnection, text: str
) -> None:
    with contextlib.suppress(QueryError):
        assert check_condition(connection, text, COLUMNS) == frozenset()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT objid FROM other",
        "SELECT objid FROM main.catalogue",
        "SELECT objid FROM catalogue AS c",
        "SELECT objid FROM catalogue, catalogue",
        "SELECT objid FROM catalogue JOIN catalogue USING (objid)",
        "SELECT objid FROM (SELECT * FROM catalogue)",
        "SELECT objid FROM 'file.parquet'",
        "SELECT objid FROM read_parquet('file.parquet')",
        "SELECT objid FROM catalogue TABLESAMPLE 10%",
        "SELECT DISTINCT objid FROM catalogue UNION SELECT 1",
        "SELECT objid FROM catalogue GROUP BY objid",
        "SELECT objid FROM catalogue; SELECT 1",
        "WITH catalogue AS (SELECT 1 AS objid) SELECT objid FROM catalogue",
        "SELECT objid FROM catalogue ORDER BY (SELECT 1)",
        "SELECT objid FROM catalogue LIMIT (SELECT 1)",
        "SELECT getenv('HOME') FROM catalogue",
        "COPY catalogue TO 'x.csv'",
        "CREATE TABLE x AS SELECT 1",
        "EXPLAIN SELECT objid FROM catalogue",
    ],
)
def test_a_statement_that_is_not_one_select_from_the_catalogue_is_refused(
    connection: duckdb.DuckDBPyConnection, statement: str
) -> None:
    with pytest.raises(QueryError):
        check_statement(connection, statement, None, COLUMNS)


def test_the_parsers_own_message_and_the_columns_are_shown(scan: Path) -> None:
    with pytest.raises(QueryError, match=r"(?s)'score > > 1'.*syntax error.*Columns: objid, survey"):
        query(scan, "score > > 1")
    with pytest.raises(QueryError, match="there is no column colour"):
        query(scan, "colour > 1")
    with pytest.raises(QueryError, match="the function getenv is not allowed"):
        query(scan, "getenv('HOME') = 'x'")


def test_an_error_of_types_is_told_like_one_of_grammar(scan: Path) -> None:
    with pytest.raises(QueryError, match=r"Could not convert string 'abc'.*Columns: objid"):
        query(scan, "score > 'abc'")


@pytest.mark.parametrize(
    "text",
    [
        "1 = 1) UNION SELECT * FROM catalogue WHERE (1 = 1",
        "true; COPY catalogue TO 'stolen.csv'",
        "true) ; COPY (SELECT 1) TO 'stolen.csv' --",
        "score > (SELECT count(*) FROM read_csv('secret.csv'))",
        "read_text('secret.csv') IS NOT NULL",
        "query('DROP VIEW catalogue') IS NULL",
    ],
)
def test_a_query_with_it_runs_nothing_and_leaves_every_byte(
    scan: Path, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(QueryError):
        query(scan, text)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "COPY catalogue TO '{folder}/stolen.csv'",
        "COPY catalogue TO '{file}'",
        "ATTACH '{folder}/stolen.db'",
        "EXPORT DATABASE '{folder}/stolen'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM mine",
        "SET enable_external_access = true",
        "SET threads = 1",
        "RESET lock_configuration",
    ],
)
def test_the_connection_itself_reaches_nothing(tmp_path: Path, statement: str) -> None:
    """What stands behind the parser: even a whole statement could read no file, write none and change no setting."""
    mine = pa.table({"a": [1]})
    file = tmp_path / "mine.csv"
    file.write_text("a\n1\n")
    connection = locked_connection()
    connection.register("catalogue", mine)
    with pytest.raises(duckdb.Error):
        connection.execute(statement.format(file=file, folder=tmp_path)).fetchall()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    assert file.read_text() == "a\n1\n"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list a process's threads")
def test_a_connection_brings_few_threads_and_each_thread_asks_its_own() -> None:
    """A server answers in some forty threads; the ten that DuckDB would start for each would be hundreds."""
    together, tasks, wrong = threading.Barrier(20), Path("/proc/self/task"), list[int]()
    before = len(list(tasks.iterdir()))

    def ask(number: int) -> int:
        together.wait()
        for _ in range(20):
            keep = _fulfils("objid >= 5", {"objid": pa.array(range(number), pa.int64())}, number)
            wrong.extend([number] if keep.sum() != max(0, number - 5) else [])
        together.wait()
        return len(list(tasks.iterdir()))

    with ThreadPoolExecutor(20) as pool:
        most = max(pool.map(ask, range(20)))
    assert not wrong
    assert most - before <= 45
