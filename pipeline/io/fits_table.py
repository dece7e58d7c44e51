r"""A table as a FITS binary table, written as a stream: units in TUNIT, UCDs in TUCD, descriptions in TCOMM.

A missing float is NaN, a missing integer TNULL, missing text empty; a boolean column with missing values becomes a
16-bit one. FITS text is ASCII: other letters are written as `\xNN`, `\uNNNN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io.column_words import words

_BLOCK = 2880
_KEYWORD = 8
_CODES = {"i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D", "u1": "L"}


@dataclass(frozen=True)
class _Stored:
    """How a column is written: numpy format, TFORM, TNULL and TZERO if any."""

    format: str
    tform: str
    null: int | None = None
    zero: int | None = None


def fits_parts(
    schema: pa.Schema,
    batches: Callable[[], Iterable[pa.RecordBatch]],
    *,
    rows: int,
    name: str = "CATALOGUE",
    cards: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The bytes of a FITS file with one binary table, in parts.

    Parameters
    ----------
    schema : pyarrow.Schema
        No dictionaries; units, UCDs and descriptions in the fields' metadata.
    batches : callable
        Gives the record batches of this schema; called twice, since the widths of text and where values are missing
        stand in the header.
    rows : int
        In all batches together.
    name : str
        EXTNAME.
    cards : mapping, optional
        Keyword (at most eight letters) -> text, for the table's header.

    Raises
    ------
    ValueError
        For a column of a type that FITS does not have.
    """
    from astropy.io import fits

    forms = _forms(schema, batches())
    record = np.dtype([(f"c{number}", form.format) for number, form in enumerate(forms)])
    header = fits.Header()
    shape: tuple[tuple[str, str | int, str], ...] = (
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, ""),
        ("NAXIS", 2, ""),
        ("NAXIS1", record.itemsize, "bytes a row"),
        ("NAXIS2", rows, "rows"),
        ("PCOUNT", 0, ""),
        ("GCOUNT", 1, ""),
        ("TFIELDS", len(forms), "columns"),
        ("EXTNAME", name, ""),
    )
    for key, value, comment in shape:
        header[key] = (value, comment)
    for number, (field, form) in enumerate(zip(schema, forms, strict=True), start=1):
        said = words(field)
        header[f"TTYPE{number}"] = _ascii(field.name)
        header[f"TFORM{number}"] = form.tform
        for keyword, known in (
            ("TNULL", form.null),
            ("TZERO", form.zero),
            ("TSCAL", None if form.zero is None else 1),
            ("TUNIT", said.unit),
            ("TUCD", said.ucd),
            ("TCOMM", _ascii(said.description)),
        ):
            if known not in (None, ""):
                header[f"{keyword}{number}"] = known
    header["RADESYS"] = "ICRS"
    for key, text in (cards or {}).items():
        header[key[:_KEYWORD].upper()] = _ascii(text)
    yield fits.PrimaryHDU().header.tostring().encode("ascii")
    yield header.tostring().encode("ascii")
    written = 0
    for batch in batches():
        table = np.zeros(batch.num_rows, record)
        for number, (field, form) in enumerate(zip(schema, forms, strict=True)):
            table[f"c{number}"] = _values(form, batch.column(field.name))
        written += table.nbytes
        yield table.tobytes()
    yield b"\0" * (-written % _BLOCK)


def _forms(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[_Stored]:
    """What one look at all rows says of how to write them."""
    widths, missing = [1] * len(schema), [False] * len(schema)
    for batch in batches:
        for index, field in enumerate(schema):
            column = batch.column(field.name)
            missing[index] |= column.null_count > 0
            if _is_text(field.type):
                widths[index] = max(widths[index], *(len(text) for text in _texts(column.unique())), 1)
    return [_form(field, width, holes) for field, width, holes in zip(schema, widths, missing, strict=True)]


def _form(field: pa.Field, width: int, holes: bool) -> _Stored:
    kind = field.type
    if _is_text(kind):
        return _Stored(f"S{width}", f"{width}A")
    if pa.types.is_floating(kind):
        return _number(">f4" if kind.bit_width == 32 else ">f8")
    if pa.types.is_boolean(kind):
        return _number(">i2", -(2**15)) if holes else _number("u1")
    if not pa.types.is_integer(kind) or kind == pa.uint64():
        raise ValueError(f"column {field.name} is {kind}, which no FITS table has")
    if holes:
        # An unsigned column's TNULL would be the stored form of a real value, so it is widened.
        return _number(">i8", -(2**63))
    if kind == pa.uint32():
        return _Stored(">i4", "J", zero=2**31)
    return _number({8: ">i2", 16: ">i4" if kind == pa.uint16() else ">i2", 32: ">i4", 64: ">i8"}[kind.bit_width])


def _number(form: str, null: int | None = None) -> _Stored:
    return _Stored(form, _CODES[form.lstrip(">")], null)


def _values(form: _Stored, column: pa.Array) -> npt.NDArray[Any]:
    if form.format.startswith("S"):
        return np.array(_texts(column), dtype=form.format)
    if pa.types.is_boolean(column.type):
        flags = column.cast(pa.int16()).fill_null(form.null or 0).to_numpy()
        return flags if form.null is not None else np.where(flags, ord("T"), ord("F")).astype(np.uint8)
    if pa.types.is_floating(column.type):
        reals: npt.NDArray[Any] = column.fill_null(float("nan")).to_numpy(zero_copy_only=False)
        return reals
    whole: npt.NDArray[Any] = column.cast(pa.int64()).fill_null(form.null or 0).to_numpy(zero_copy_only=False)
    return whole - form.zero if form.zero is not None else whole


def _texts(column: pa.Array) -> list[bytes]:
    # Few texts of a catalogue differ, so each is encoded once.
    coded = pc.dictionary_encode(column.cast(pa.string()).fill_null(""))
    known = [text.encode("ascii", "backslashreplace") for text in coded.dictionary.to_pylist()]
    return [known[index] for index in coded.indices.to_pylist()]


def _ascii(text: str) -> str:
    """Text that a header can hold."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return "".join(sign if " " <= sign <= "~" else "?" for sign in plain)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
