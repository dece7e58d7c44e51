"""What a person may write as a condition: one expression over columns, and nothing that could be more than that.

The text is parsed by DuckDB's own parser and its tree is held against lists of what is allowed: kinds of node,
functions, types of a cast, columns. What is not on a list is refused, so that a function or a piece of grammar that a
later DuckDB brings is refused, too. The statement that the text is put into is parsed again before it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from pipeline.errors import QueryError
from pipeline.flags import VetFlag

RELATION = "catalogue"
"""Name of the only relation that a query sees."""

LONGEST = 200_000
"""Characters of a condition: room for a list of ten thousand ids."""

_NODES = frozenset(
    {
        *("CONSTANT", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST", "TYPE"),
        "FUNCTION",
    }
)
_OPERATORS = frozenset(
    {
        "OPERATOR_NOT",
        "OPERATOR_IS_NULL",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_COALESCE",
        "OPERATOR_NULLIF",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
    }
)
FUNCTIONS = frozenset(
    [
        *("+", "-", "*", "/", "//", "%", "**", "^", "&", "|", "~", "<<", ">>", "||", "@"),
        *("~~", "!~~", "~~*", "!~~*", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape"),
        *("abs", "sign", "round", "floor", "ceil", "ceiling", "trunc", "sqrt", "cbrt", "exp", "ln", "log", "log2"),
        *("log10", "pow", "power", "mod", "fmod", "greatest", "least", "isnan", "isfinite", "isinf", "pi", "nullif"),
        *("sin", "cos", "tan", "cot", "asin", "acos", "atan", "atan2", "radians", "degrees"),
        *("xor", "bit_count", "lower", "upper", "length", "strlen", "trim", "ltrim", "rtrim", "substring", "substr"),
        *("left", "right", "concat", "contains", "starts_with", "ends_with", "prefix", "suffix", "strpos"),
        *("regexp_matches", "regexp_full_match", "flag"),
    ]
)
"""Functions and operators of a condition; `flag(vet_flags, 'NAME')` is our own."""
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_TYPES = frozenset(
    [
        *("TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"),
        *("UBIGINT", "FLOAT", "REAL", "DOUBLE", "VARCHAR", "TEXT", "STRING", "BOOLEAN", "BOOL"),
    ]
)


def check_condition(connection: duckdb.DuckDBPyConnection, text: str, columns: Sequence[str]) -> frozenset[str]:
    """Make sure that a text is one expression over columns.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Whose parser to ask; nothing is run.
    text : str
    columns : sequence of str
        What the expression may name; upper and lower case are the same.

    Returns
    -------
    frozenset of str
        Columns that it names, as spelt in `columns`.

    Raises
    ------
    QueryError
        If it is anything else; the message says what is wrong and which columns there are.
    """
    _check_text(text, columns)
    tree = _only_expression(_parse(connection, f"SELECT\n{text}\n", text, columns), text, columns)
    named = _checked(tree, text, columns)
    bracketed = _only_expression(_parse(connection, f"SELECT (\n{text}\n)", text, columns), text, columns)
    if bracketed != tree:
        raise _refusal(text, "it is not one expression", columns)
    return named


def check_statement(
    connection: duckdb.DuckDBPyConnection, statement: str, condition: str | None, columns: Sequence[str]
) -> None:
    """Make sure that an assembled statement is one SELECT from the catalogue alone.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    statement : str
    condition : str, optional
        The person's part of it: its tree must stand first in the statement's WHERE, just as it is alone.
    columns : sequence of str

    Raises
    ------
    QueryError
        If it is several statements, something other than a SELECT, or reads or does anything else.
    """
    shown = condition if condition is not None else statement
    kinds = [str(part.type).rpartition(".")[2] for part in connection.extract_statements(statement)]
    if kinds not in (["SELECT"], ["SELECT_STATEMENT"]):
        raise _refusal(shown, "the query is not one SELECT statement", columns)
    node = _parse(connection, statement, shown, columns)
    table = node.get("from_table") or {}
    place = [table.get(key) for key in ("type", "table_name", "schema_name", "catalog_name", "alias")]
    if place != ["BASE_TABLE", RELATION, "", "", ""]:
        raise _refusal(shown, "the query reads something other than the catalogue", columns)
    if any(table.get(key) for key in ("sample", "at_clause", "column_name_alias")):
        raise _refusal(shown, "the query reads something other than the catalogue", columns)
    _only_parts(node, {"select_list", "from_table", "where_clause", "modifiers"}, shown, columns)
    where = node.get("where_clause")
    if condition is not None:
        tree = _parse(connection, f"SELECT\n{condition}\n", shown, columns)
        alone = _flat(_only_expression(tree, shown, columns))
        if where is None or _flat(where)[: len(alone)] != alone:
            raise _refusal(shown, "the condition is not one expression", columns)
    for part in [*node["select_list"], *([where] if where is not None else []), *node["modifiers"]]:
        _checked(part, shown, columns)


def _check_text(text: str, columns: Sequence[str]) -> None:
    if len(text) > LONGEST:
        raise _refusal(text[:60] + " ...", f"it is longer than {LONGEST:,} characters", columns)
    if any(ord(letter) < 32 and letter not in "\t\n\r" for letter in text):
        raise _refusal(text, "it holds a control character", columns)
    # Only to say plainly what is wrong: that nothing hides in a comment is for the comparison of trees to see.
    outside = _QUOTED.sub("''", text)
    if any(mark in outside for mark in ("--", "/*", "*/")):
        raise _refusal(text, "comments are not part of an expression (write - -1 for a sign twice)", columns)
    if ";" in outside:
        raise _refusal(text, "write one expression, without a semicolon", columns)


def _parse(
    connection: duckdb.DuckDBPyConnection, statement: str, shown: str, columns: Sequence[str]
) -> Mapping[str, Any]:
    """The bare tree of the one SELECT that a statement is."""
    try:
        ((answer,),) = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()
        tree = _bare(json.loads(answer))
    except (duckdb.Error, RecursionError) as error:
        raise _refusal(shown, _said(error), columns) from None
    if tree.get("error", True):
        raise _refusal(shown, tree.get("error_message", "it can't be parsed"), columns)
    nodes = [statement["node"] for statement in tree["statements"]]
    if len(nodes) != 1 or nodes[0]["type"] != "SELECT_NODE":
        raise _refusal(shown, "the query is not one SELECT statement", columns)
    node: Mapping[str, Any] = nodes[0]
    return node


def _only_expression(node: Mapping[str, Any], text: str, columns: Sequence[str]) -> Mapping[str, Any]:
    """The one expression of `SELECT <expression>`."""
    _only_parts(node, {"select_list"}, text, columns)
    if len(node["select_list"]) != 1:
        raise _refusal(text, "write one expression, without a comma between several", columns)
    expression: Mapping[str, Any] = node["select_list"][0]
    return expression


def _only_parts(node: Mapping[str, Any], allowed: set[str], text: str, columns: Sequence[str]) -> None:
    """Refuse a SELECT with a clause that is not allowed."""
    for name, value in node.items():
        if name in allowed or name == "type":
            continue
        if name == "from_table" and value.get("type") == "EMPTY":
            continue
        if name == "cte_map" and not value.get("map"):
            continue
        if name == "aggregate_handling" and value == "STANDARD_HANDLING":
            continue
        if value not in (None, [], {}, ""):
            raise _refusal(text, f"write one expression, not a query ({name.replace('_', ' ')})", columns)


def _checked(tree: Mapping[str, Any], text: str, columns: Sequence[str]) -> frozenset[str]:
    """Hold every node of an expression against the lists; returns the columns that it names."""
    spelt = {name.lower(): name for name in columns}
    named = set()
    for node in _walk(tree):
        kind = node["class"]
        if kind not in _NODES or node.get("alias"):
            raise _refusal(text, f"{_plain(node)} is not allowed", columns)
        if kind == "OPERATOR" and node["type"] not in _OPERATORS:
            raise _refusal(text, f"{_plain(node)} is not allowed", columns)
        if kind == "COLUMN_REF":
            path = node["column_names"]
            if len(path) != 1 or path[0].lower() not in spelt:
                raise _refusal(text, f"there is no column {'.'.join(path)}", columns)
            named.add(spelt[path[0].lower()])
        elif kind == "FUNCTION":
            _check_function(node, text, columns)
        elif kind == "CAST" and "cast_type" in node:
            _check_type(node["cast_type"].get("id"), node["cast_type"].get("type_info"), text, columns)
        elif kind == "TYPE":
            _check_type(node["type_name"], node["children"] or node["schema"] or node["catalog"], text, columns)
    return frozenset(named)


def _check_function(node: Mapping[str, Any], text: str, columns: Sequence[str]) -> None:
    name = str(node["function_name"])
    # DuckDB 1 puts the functions behind LIKE ... ESCAPE into "main" by itself.
    named = node.get("catalog") or (node.get("schema") and not name.endswith("like_escape"))
    if name.lower() not in FUNCTIONS or named:
        raise _refusal(text, f"the function {name} is not allowed", columns)
    if node.get("filter") or node.get("distinct") or node.get("export_state") or node["order_bys"]["orders"]:
        raise _refusal(text, f"{name} takes nothing but its arguments", columns)
    if name.lower() == "flag":
        given = [argument.get("expression", argument) for argument in node.get("arguments", node.get("children", []))]
        known = [member.name for member in VetFlag]
        if len(given) != 2 or _literal(given[1]) not in known:
            raise _refusal(text, f"flag takes a column and one of {', '.join(map(repr, known))}", columns)


def _check_type(name: Any, more: Any, text: str, columns: Sequence[str]) -> None:
    if str(name).upper() not in _TYPES or more:
        raise _refusal(text, f"a cast to {name} is not allowed", columns)


def _literal(node: Mapping[str, Any]) -> Any:
    """Value of a constant, as DuckDB 2 ("literal") or 1 ("value") writes it."""
    return (node.get("literal") or {}).get("text", (node.get("value") or {}).get("value"))


def _walk(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every expression node of a tree; a query inside it counts as one, of a class that is not allowed."""
    todo = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            if "class" in item:
                yield item
            elif str(item.get("type", "")).endswith("_NODE"):
                yield {"class": "SUBQUERY", "type": "SUBQUERY"}
            todo += [value for value in item.values() if isinstance(value, dict | list)]


def _flat(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Terms of a conjunction, those of conjunctions inside it included."""
    if tree.get("type") != "CONJUNCTION_AND":
        return [tree]
    return [term for child in tree["children"] for term in _flat(child)]


def _bare(tree: Any) -> Any:
    """A tree without the places in the text that its nodes came from."""
    if isinstance(tree, list):
        return [_bare(item) for item in tree]
    if isinstance(tree, dict):
        return {key: _bare(value) for key, value in tree.items() if not key.startswith("query_location")}
    return tree


def _plain(node: Mapping[str, Any]) -> str:
    words = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "*", "LAMBDA": "a lambda"}
    words |= {"PARAMETER": "a parameter", "POSITIONAL_REFERENCE": "a positional reference", "COLLATE": "COLLATE"}
    if node.get("alias") and node["class"] in _NODES:
        return f"a name for the expression ({node['alias']})"
    return words.get(str(node["class"]), str(node["type"]).lower().replace("_", " "))


def _said(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).split("\n\nLINE ")[0].strip()


def _refusal(text: str, why: str, columns: Sequence[str]) -> QueryError:
    shown = text if len(text) <= 200 else text[:200] + " ..."
    tail = f" Columns: {', '.join(columns)}." if columns else ""
    return QueryError(f"condition {shown!r}: {why.rstrip('.')}.{tail}")
