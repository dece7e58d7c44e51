"""The best candidates of a scan as cards: stamp, outlines, scores, members and flags."""

from __future__ import annotations

import base64
import math

from pipeline.catalogue.report_facts import CandidateFacts, ReportFacts
from pipeline.catalogue.report_html import fixed, name, power, score, section, text

_MOST_UNREAD = 20
_DECADES = 5
"""Powers of ten that a member's bar is long."""


def candidates(facts: ReportFacts) -> str:
    """The section of the best candidates."""
    if not facts.reading.fields:
        return section("Best candidates", "<p>No scores: the scan has no ensemble, or is not done.</p>")
    unread = _unread(facts.unread_candidates)
    number = facts.fields.totals["candidates"]
    if not facts.candidates:
        none = f"None of {number:,} is shown." if number else "No detection has a score that passes the floor."
        return section("Best candidates", unread or f"<p>{none}</p>")
    pictures = any(row.picture for row in facts.candidates)
    bare = "" if pictures else " bare"
    shown = "Grey: no data. White bar: 5 arcsec. " if pictures else "Their cutouts were not kept, or are gone. "
    intro = (
        f"The {len(facts.candidates):,} best of {number:,}, each object of overlapping fields once. {shown}"
        f"Members' bars: logarithmic, from {power(-_DECADES)} to 1. {text(facts.maps)}"
    )
    keys = [("fatal", "pixels with a fatal flag", any(row.outline for row in facts.candidates))]
    keys += [("light", "lens light above one half", any(row.light for row in facts.candidates))]
    keys += [("artefact", "artefact above one half", any(row.artefact for row in facts.candidates))]
    legend = "".join(
        f'<span><svg viewBox="0 0 24 10" aria-hidden="true"><path class="{kind}" d="M1 5h22"/></svg>{told}</span>'
        for kind, told, there in keys
        if there
    )
    cards = "".join(_card(place, row) for place, row in enumerate(facts.candidates, start=1))
    return section(
        "Best candidates",
        f'{unread}<p class="key lines">{legend}</p><ol class="cards{bare}">{cards}</ol>',
        intro=intro.strip(),
    )


def _unread(fields: tuple[tuple[str, str], ...]) -> str:
    """Whose candidates are not among those shown because their file can't be read."""
    if not fields:
        return ""
    which = "; ".join(f"{name(field_id)}: {text(reason.rstrip('.'))}" for field_id, reason in fields[:_MOST_UNREAD])
    return f'<p class="bad">The candidates of {len(fields):,} fields could not be read: {which}.</p>'


def _card(place: int, row: CandidateFacts) -> str:
    flags = "".join(f"<i>{text(flag.lower().replace('_', ' '))}</i>" for flag in row.flags)
    common = _common(list(row.members))
    members = "".join(
        f'<tr><th scope="row">{name(member.removeprefix(common))}</th><td>{score(value)}</td>'
        f'<td><span class="bar"><span style="width:{_length(value):.1f}%"></span></span></td></tr>'
        for member, value in row.members.items()
    )
    spread = f" ± {row.score_std:.2g}" if row.score_std is not None else ""
    light = ""
    if row.arc_area is not None:
        where = f", peak {fixed(row.peak, 1)}″ off" if row.peak is not None else ""
        light = f"<p>lens light {fixed(row.arc_area, 1)} arcsec²{where}</p>"
    radius = ""
    if row.theta_E is not None:
        value, deviation = row.theta_E
        doubt = "" if row.trusted else ", not to be trusted: unlike what the network was trained on"
        radius = f"<p>Einstein radius {fixed(value, 2)} ± {fixed(deviation, 2)}″{doubt}</p>"
    table = f"<table>{members}</table>" if members else ""
    return (
        f'<li><article>{_picture(row)}<div class="facts"><h3><span>{place}</span>{score(row.score)}'
        f"<small>{spread}</small></h3>{table}<p>{name(row.field_id)}<br>{row.ra:.5f} {row.dec:+.5f}<br>"
        f"<code>{row.objid}</code></p>{light}{radius}" + (f"<p>{flags}</p>" if flags else "") + "</div></article></li>"
    )


def _common(members: list[str]) -> str:
    """What the names of all members begin with, up to an underscore: it takes room and tells nothing."""
    first, last = min(members, default=""), max(members, default="")
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first.rfind("_", 0, same) + 1] if len(members) > 1 else ""


def _length(value: float | None) -> float:
    """Length in per cent of the bar of a score: at the usual priors few scores are anywhere near 1."""
    return 0.0 if value is None or value <= 0 else max(0.0, 100 * (1 + min(math.log10(value), 0.0) / _DECADES))


def _picture(row: CandidateFacts) -> str:
    if not row.picture:
        return '<div class="stamp none">no stamp</div>'
    side, bar = row.side_pix, min(5.0 / row.pixel_scale, row.side_pix - 2.0)
    data = base64.b64encode(row.picture).decode()
    outlines = "".join(
        f'<path class="edge" d="{path}"/><path class="{kind}" d="{path}"/>'
        for kind, path in (("fatal", row.outline), ("light", row.light), ("artefact", row.artefact))
        if path
    )
    label = text(f"{row.objid}: bands {row.bands}, {side * row.pixel_scale:.1f} arcsec across")
    return (
        f'<div class="stamp"><img alt="{label}" title="{label}" src="data:image/png;base64,{data}">'
        f'<svg viewBox="0 0 {side} {side}" aria-hidden="true">{outlines}'
        f'<path class="scale" d="M{side * 0.04:.1f} {side * 0.95:.1f}h{bar:.1f}"/></svg></div>'
    )
