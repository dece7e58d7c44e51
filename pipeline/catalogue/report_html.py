"""How the report writes text, numbers and tables. What a person or a file named is escaped and cut to a bound here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

LONGEST = 400
"""Letters of any one text from a scan; names are cut to fewer."""
_LONGEST_NAME = 80
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(value: object, longest: int = LONGEST) -> str:
    """Any text as HTML: escaped, cut, and with what can't be seen or turns the line around written out."""
    written = str(value)
    if len(written) > longest:
        written = written[: longest - 1] + "…"
    return escape("".join(letter if letter.isprintable() else _spelt(letter) for letter in written))


def name(value: object) -> str:
    """A name of a field, scan or member: `text`, kept apart from the direction of the line around it."""
    return f"<bdi>{text(value, _LONGEST_NAME)}</bdi>"


def _spelt(letter: str) -> str:
    return letter if letter == "\n" else " " if letter.isspace() else ascii(letter)[1:-1]


def section(title: str, body: str, *, kind: str = "", intro: str = "") -> str:
    """A part of the page, which its heading names; empty if there is no body."""
    if not body:
        return ""
    mark = title.lower().replace(" ", "-")
    lead = f"<p>{intro}</p>" if intro else ""
    return f'<section id="{mark}" class="{kind}"><h2>{title}</h2>{lead}{body}</section>'


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, label: str, words: Sequence[int] = (), kind: str = ""
) -> str:
    """A table that scrolls by itself where it is too wide; its cells are HTML, the first of a row names it.

    Parameters
    ----------
    head : sequence of str
        Names of the columns, HTML.
    rows : iterable of sequence of str
    label : str
        What the table is, for a screen reader; plain text.
    words : sequence of int
        Columns of running text, which is set to the left and may wrap.
    kind : str
        A class of its own.
    """

    def style(column: int) -> str:
        return ' class="text"' if column in words else ""

    titles = "".join(f'<th scope="col"{style(column)}>{title}</th>' for column, title in enumerate(head))
    body = "".join(
        f'<tr><th scope="row"{style(0)}>{row[0]}</th>'
        + "".join(f"<td{style(column)}>{cell}</td>" for column, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in rows
    )
    called = escape(label, quote=True)
    box = "wide tall" if "tall" in kind else "wide"
    return (
        f'<div class="{box}" role="region" tabindex="0" aria-label="{called}"><table class="grid {kind}">'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def score(value: float | None) -> str:
    """A probability with as many digits as tell it from 0 and 1."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


def fixed(value: float | None, digits: int, unit: str = "") -> str:
    """A number with so many digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}{unit}"


def per_cent(value: float | None) -> str:
    """A share in per cent, with two digits that count where it is small."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.2g} %"


def amount(value: Any, scale: float = 1.0) -> str:
    """A number of any size; a dash where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–"
    number = value * scale
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:,.1f}"


def power(exponent: float) -> str:
    """A power of ten."""
    return "1" if exponent == 0 else "10" + str(int(exponent)).translate(_SUPERSCRIPTS)


def rest(number: int, shown: int, where: str) -> str:
    """What is not on the page, and where to find it; `where` is HTML."""
    return f'<p class="more">{number - shown:,} more: {where}.</p>' if number > shown else ""
