"""Small expressions over table columns, as a survey's TOML writes them: parsed, never evaluated as Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_INTEGER: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_BINARY = {**_INTEGER, ast.Div: operator.truediv}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.Invert: operator.invert}


def check_expression(text: str, *, integers_only: bool = False) -> str:
    """The text itself, if it is an expression of columns, numbers and operators.

    Parameters
    ----------
    text : str
    integers_only : bool
        Refuse division, comparison and numbers that are not integers: what an id may be made of.

    Raises
    ------
    ValueError
        Naming what is not allowed.
    """
    _check(_parse(text), text, integers_only)
    return text


def columns_of(text: str) -> list[str]:
    """Names of the columns that an expression reads, each once, sorted."""
    return sorted({node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)})


def evaluate(text: str, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The expression on columns (arrays of one length), by NumPy's rules; `and`, `or`, `not` go element by element."""
    return np.asarray(_value(_parse(text), columns))


def evaluate_integers(text: str, columns: Mapping[str, npt.NDArray[np.integer[Any]]]) -> npt.NDArray[np.int64]:
    """The expression in exact integers.

    Raises
    ------
    OverflowError
        If a result does not fit in int64; the message has the row and the value.
    """
    exact = {name: column.astype(object) for name, column in columns.items()}
    values = np.atleast_1d(_value(_parse(text), exact))
    limits = np.iinfo(np.int64)
    for row, value in enumerate(values):
        if not limits.min <= value <= limits.max:
            raise OverflowError(f"{text!r} is {value} in row {row}, which does not fit in int64")
    return values.astype(np.int64)


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r} is not an expression: {error}") from error


def _check(node: ast.expr, text: str, integers_only: bool) -> None:
    match node:
        case ast.Name():
            return
        case ast.Constant(value=value):
            allowed = isinstance(value, int) and not isinstance(value, bool)
            if allowed or (not integers_only and isinstance(value, str | float | bool)):
                return
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in (_INTEGER if integers_only else _BINARY):
                _check(left, text, integers_only)
                _check(right, text, integers_only)
                return
        case ast.UnaryOp(op=op, operand=operand):
            if type(op) in _UNARY or (isinstance(op, ast.Not) and not integers_only):
                _check(operand, text, integers_only)
                return
        case ast.Compare(left=left, ops=ops, comparators=rights):
            if not integers_only and all(type(op) in _COMPARE for op in ops):
                for part in (left, *rights):
                    _check(part, text, integers_only)
                return
        case ast.BoolOp(values=values):
            if not integers_only:
                for part in values:
                    _check(part, text, integers_only)
                return
    kind = "columns, whole numbers and + - * // % << >> | & ^ ~" if integers_only else "columns, numbers and operators"
    raise ValueError(f"{text!r}: {ast.unparse(node)!r} is not allowed; an expression has {kind} only")


def _value(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, columns), _value(right, columns))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_value(operand, columns))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, columns))
        case ast.BoolOp(op=op, values=values):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return join.reduce([_value(part, columns) for part in values])
        case ast.Compare(left=left, ops=ops, comparators=rights):
            parts = [_value(part, columns) for part in (left, *rights)]
            tests = [_COMPARE[type(op)](parts[k], parts[k + 1]) for k, op in enumerate(ops)]
            return np.logical_and.reduce(tests)
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in an expression")
