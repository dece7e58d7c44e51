"""A table as a VOTable 1.4, written as a stream: rows in text (TABLEDATA), every column with unit, UCD and description.

astropy's writer holds the whole table as Python objects and as a document tree, which a million rows have no room for.
Positions refer to a COOSYS (ICRS); no column is a time, so there is no TIMESYS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io.column_words import vo_unit, words

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://www.ivoa.net/xml/VOTable/v1.3 http://www.ivoa.net/xml/VOTable/VOTable-1.4.xsd">
 <RESOURCE type="results">
"""
_TAIL = """   </TABLEDATA></DATA>
  </TABLE>
 </RESOURCE>
</VOTABLE>
"""
_DATATYPES = {
    pa.bool_(): "boolean",
    pa.uint8(): "unsignedByte",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
}
_WIDER = {pa.int8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
"""Types that VOTable does not have -> the next that holds all their values."""

_BAD = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
"""Characters that XML has no way to write."""

_SYSTEM = "icrs"
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]*$")
"""What XML takes for an ID; astropy names columns by it."""

_CELL = "</TD><TD>"


def votable_parts(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    rows: int,
    name: str = "catalogue",
    description: str = "",
    infos: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The bytes of a VOTable, in parts.

    Parameters
    ----------
    schema : pyarrow.Schema
        No dictionaries; units, UCDs and descriptions in the fields' metadata.
    batches : iterable of pyarrow.RecordBatch
        Of this schema. A missing integer is written as its VALUES null, any other missing value as an empty cell;
        missing and empty text can't be told apart. Characters that XML can't hold become U+FFFD.
    rows : int
        In all batches together.
    name, description : str
        Of the table.
    infos : mapping, optional
        Name -> value of the INFO elements before the table.

    Raises
    ------
    ValueError
        For a column of a type that VOTable does not have, or a value that would read as missing.
    """
    yield _HEAD.encode()
    for key, value in (infos or {}).items():
        yield f"  <INFO name={_quoted(key)} value={_quoted(value)}/>\n".encode()
    positions = [field.name for field in schema if words(field).ucd.startswith(("pos.eq.ra", "pos.eq.dec"))]
    if positions:
        yield f'  <COOSYS ID="{_SYSTEM}" system="ICRS"/>\n'.encode()
    yield f'  <TABLE name={_quoted(name)} nrows="{rows}">\n'.encode()
    if description:
        yield f"   <DESCRIPTION>{_escaped(description)}</DESCRIPTION>\n".encode()
    for field in schema:
        yield _field(field, field.name in positions).encode()
    yield b"   <DATA><TABLEDATA>\n"
    for batch in batches:
        yield _rows(batch, schema)
    yield _TAIL.encode()


def _field(field: pa.Field, is_position: bool) -> str:
    said, kind = words(field), _kind(field)
    text = pa.types.is_string(kind)
    attributes = {
        "name": field.name,
        "ID": field.name if _IDENTIFIER.match(field.name) and field.name != _SYSTEM else "",
        "datatype": "unicodeChar" if text else _DATATYPES[kind],
        "arraysize": "*" if text else "",
        "ucd": said.ucd,
        "unit": vo_unit(said.unit),
        "ref": _SYSTEM if is_position else "",
    }
    inside = f"<DESCRIPTION>{_escaped(said.description)}</DESCRIPTION>" if said.description else ""
    if pa.types.is_integer(kind) and field.nullable:
        inside += f'<VALUES null="{_null(kind)}"/>'
    written = " ".join(f"{key}={_quoted(value)}" for key, value in attributes.items() if value)
    return f"   <FIELD {written}>{inside}</FIELD>\n"


def _rows(batch: pa.RecordBatch, schema: pa.Schema) -> bytes:
    if not batch.num_rows:
        return b""
    cells = [_cells(field, batch.column(field.name)) for field in schema]
    line = pc.binary_join_element_wise(*cells, _CELL)
    line = pc.binary_join_element_wise("    <TR><TD>", line, "</TD></TR>\n", "")
    return "".join(line.to_pylist()).encode()


def _cells(field: pa.Field, column: pa.Array) -> pa.Array:
    kind = _kind(field)
    if pa.types.is_string(kind):
        text = pc.replace_substring_regex(column.cast(pa.string()), _BAD, "\ufffd")
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = pc.replace_substring(text, sign, entity)
        return text.fill_null("")
    column = column.cast(kind)
    if pa.types.is_integer(kind):
        null = _null(kind)
        if field.nullable and pc.any(pc.equal(column, null)).as_py():
            raise ValueError(f"column {field.name} holds {null}, which a VOTable would read as a missing value")
        return column.fill_null(null).cast(pa.string()) if field.nullable else column.cast(pa.string())
    if pa.types.is_floating(kind):
        text = pc.if_else(pc.is_nan(column), "", column.cast(pa.string()))
        text = pc.if_else(pc.is_inf(column), pc.if_else(pc.greater(column, 0), "+Inf", "-Inf"), text)
        return text.fill_null("")
    return column.cast(pa.string()).fill_null("")


def _kind(field: pa.Field) -> pa.DataType:
    kind = _WIDER.get(field.type, field.type)
    if pa.types.is_large_string(kind):
        kind = pa.string()
    if kind not in _DATATYPES and not pa.types.is_string(kind):
        raise ValueError(f"column {field.name} is {field.type}, which no VOTable has")
    return kind


def _null(kind: pa.DataType) -> int:
    """The integer that stands for a missing one."""
    numbers = np.iinfo(kind.to_pandas_dtype())
    return int(numbers.min or numbers.max)


def _escaped(text: str) -> str:
    whole = "".join("\ufffd" if _is_bad(sign) else sign for sign in text)
    return whole.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return quoteattr("".join("\ufffd" if _is_bad(sign) else sign for sign in text))


def _is_bad(sign: str) -> bool:
    return (sign < " " and sign not in "\t\n\r") or sign in "\ufffe\uffff"
