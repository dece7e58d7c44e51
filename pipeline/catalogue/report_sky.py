"""Where a scan looked: its fields on the sky, by what became of them and by how many candidates they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cdshealpix.nested
import numpy as np
import numpy.typing as npt

from pipeline.catalogue.report_facts import FieldTable
from pipeline.catalogue.report_html import amount, fixed, section, text
from pipeline.catalogue.sky import WIDTH, Chart, chart_of, rectangles

Floats = npt.NDArray[np.float64]

MOST_DRAWN = 3000
"""Shapes on a map; more fields than that are drawn together, by cells of the sky."""
_MOST_TITLED = 400
"""Shapes up to which each says what it is under the pointer."""
_MOST_NAMED = 30
_DENSITIES = 5

_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 3h6"/></pattern></defs>'
)

STATES = ("done", "no coverage", "begun", "not begun", "failed")
"""What became of a field."""

SHARES = ("none done", "under a third done", "under two thirds", "more", "all done", "over a tenth failed")
"""What became of the fields of a cell: one field in a hundred that fails must not hide that the others are done."""

_SHARE_CLASSES = ("s3", "d1", "d2", "d3", "s0", "s4")
_FAILING = 0.1


@dataclass(frozen=True)
class _Shapes:
    """What is drawn: corners (n, 4) in degrees, what became of it, candidates a square degree, what each is called.

    `state` is a place in `STATES`, or in `SHARES` of a cell of many fields.
    """

    ra: Floats
    dec: Floats
    state: npt.NDArray[np.int64]
    density: Floats
    titles: Sequence[str]
    names: Sequence[str]
    note: str
    cells: bool = False


def coverage(fields: FieldTable) -> str:
    """The section of the sky."""
    known = np.isfinite(fields.ra) & np.isfinite(fields.dec)
    if not known.any():
        return section("Coverage", "<p>No field's place on the sky is known yet.</p>")
    shapes = _shapes(fields, known)
    chart = chart_of(shapes.ra.ravel(), shapes.dec.ravel())
    # A field in an overlap counts twice in this, so that it is the fields' area, not the sky's.
    area = float(np.nansum((fields.width * fields.height)[known & fields.begun]))
    size = amount(area) if area >= 1 else f"{area:.3g}"
    where = (
        f"{known.sum():,} of {len(fields):,} fields are placed, {size} deg² of fields begun, overlaps counted in each. "
        f"{shapes.note}East is left."
    )
    maps = _state_map(chart, shapes, fields) + _density_map(chart, shapes)
    return section("Coverage", f'<div class="maps">{maps}</div>', intro=where)


def field_states(fields: FieldTable) -> npt.NDArray[np.int64]:
    """What became of each field, as a place in `STATES`."""
    answer = np.where(fields.begun, STATES.index("begun"), STATES.index("not begun"))
    answer[fields.finished] = STATES.index("done")
    answer[fields.empty] = STATES.index("no coverage")
    answer[fields.failed] = STATES.index("failed")
    return answer


def _shapes(fields: FieldTable, known: npt.NDArray[np.bool_]) -> _Shapes:
    rows = np.flatnonzero(known)
    state, area = field_states(fields)[rows], (fields.width * fields.height)[rows]
    count = fields.count("candidates")[rows].astype(np.float64)
    count[count < 0] = np.nan
    if len(rows) > MOST_DRAWN:
        return _cells(fields.ra[rows], fields.dec[rows], area, state, count)
    turn = np.nan_to_num(fields.turn[rows])
    ra, dec = rectangles(fields.ra[rows], fields.dec[rows], fields.width[rows], fields.height[rows], turn)
    unturned = int(np.isnan(fields.turn[rows]).sum())
    note = f"{unturned:,} are drawn as if north were up in them. " if unturned else ""
    with np.errstate(divide="ignore", invalid="ignore"):
        density = count / area
    titles, names = [], []
    if len(rows) <= _MOST_TITLED:
        titles = [
            f"{text(fields.ids[row], 80)}: {STATES[kind]}" + (f", {int(number):,} candidates" if number >= 0 else "")
            for row, kind, number in zip(rows, state, count, strict=True)
        ]
    if len(rows) <= _MOST_NAMED:
        names = [fields.ids[row] for row in rows]
    return _Shapes(ra, dec, state, density, titles, names, note)


def _cells(ra: Floats, dec: Floats, area: Floats, state: npt.NDArray[np.int64], count: Floats) -> _Shapes:
    """Fields together by the HEALPix cell of their middle, of the finest order that leaves no holes and few cells."""
    from astropy import units
    from astropy.coordinates import Latitude, Longitude

    typical = float(np.median(area)) if np.isfinite(area).any() else 0.0
    for order in range(8, -1, -1):
        index = cdshealpix.nested.lonlat_to_healpix(Longitude(ra * units.deg), Latitude(dec * units.deg), order)
        cells, at = np.unique(index.astype(np.int64), return_inverse=True)
        size = 41252.96 / (12 * 4**order)
        if len(cells) <= MOST_DRAWN and size >= 2 * typical:
            break
    told = np.isfinite(count)
    number = np.bincount(at, np.where(told, count, 0), len(cells))
    covered = np.bincount(at, np.where(told, area, 0), len(cells))
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.where(covered > 0, number / covered, np.nan)
    lon, lat = cdshealpix.nested.vertices(cells.astype(np.uint64), order)
    note = f"Drawn by HEALPix cells of order {order}, {fixed(size, 2)} deg² each. "
    became = _shares(state, at, len(cells))
    return _Shapes(lon.to_value("deg"), lat.to_value("deg"), became, density, (), (), note, cells=True)


def _shares(state: npt.NDArray[np.int64], at: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
    """What became of the fields of each cell, as a place in `SHARES`; a field without coverage is done."""
    fields = np.bincount(at, minlength=number)
    done = np.bincount(at, np.isin(state, [STATES.index("done"), STATES.index("no coverage")]), number) / fields
    failed = np.bincount(at, state == STATES.index("failed"), number) / fields
    step = np.select([done == 0, done < 1 / 3, done < 2 / 3, done < 1], [0, 1, 2, 3], 4)
    return np.where(failed > _FAILING, SHARES.index("over a tenth failed"), step)


def _state_map(chart: Chart, shapes: _Shapes, fields: FieldTable) -> str:
    totals = np.bincount(field_states(fields), minlength=len(STATES))
    told = ", ".join(f"{totals[kind]:,} {STATES[kind]}" for kind in range(len(STATES)) if totals[kind])
    classes: Sequence[str] = _SHARE_CLASSES
    words: Sequence[str] = SHARES
    if not shapes.cells:
        classes = [f"s{kind}" for kind in range(len(STATES))]
        words = [f"{state} {total:,}" for state, total in zip(STATES, totals, strict=True)]
    title = "Share of fields done" if shapes.cells else "Fields by state"
    drawn = _drawn(chart, shapes, shapes.state, classes)
    present = [kind for kind in range(len(words)) if (shapes.state == kind).any()]
    keys = "".join(f'<span class="{classes[kind]}">{words[kind]}</span>' for kind in present)
    label = f"Map of fields: {told}"
    return _figure(chart, _HATCH + drawn + _names(chart, shapes), label, keys, title, not shapes.titles)


def _density_map(chart: Chart, shapes: _Shapes) -> str:
    """Candidates a square degree in steps that hold equal numbers of shapes; nothing where there are none."""
    # Three digits: what differs by rounding alone is one number.
    density = np.array([float(f"{value:.3g}") for value in shapes.density.tolist()])
    positive = density[density > 0]
    if not len(positive):
        return ""
    values = np.unique(positive)
    if len(values) <= _DENSITIES:
        lows, highs = values, values
    else:
        edges = np.unique(np.quantile(positive, np.linspace(0, 1, _DENSITIES + 1)))
        lows, highs = edges[:-1], edges[1:]
    # Fewer steps than there are colours take the strongest ones.
    first = _DENSITIES - len(lows) + 1
    level = np.clip(np.searchsorted(lows, density, side="right"), 1, len(lows)) - 1 + first
    level = np.where(density > 0, level, 0)
    level = np.where(np.isfinite(density), level, _DENSITIES + 1)
    drawn = _drawn(chart, shapes, level, [f"d{step}" for step in range(_DENSITIES + 2)])
    keys = ['<span class="d0">none</span>'] if (level == 0).any() else []
    keys += [
        f'<span class="d{step}">{amount(low) if low == high else f"{amount(low)} – {amount(high)}"}</span>'
        for step, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True), start=first)
    ]
    keys += [f'<span class="d{_DENSITIES + 1}">not known</span>'] if (level == _DENSITIES + 1).any() else []
    label = f"Candidates a square degree, from {amount(float(positive.min()))} to {amount(float(positive.max()))}"
    return _figure(chart, drawn, label, "".join(keys), "Candidates a square degree", not shapes.titles)


def _drawn(chart: Chart, shapes: _Shapes, kinds: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    """Every shape in the colour of its kind; each by itself where they have titles, else a kind in one path."""
    paths = chart.polygons(shapes.ra, shapes.dec)
    if shapes.titles:
        order = np.argsort(kinds, kind="stable")
        return "".join(
            f'<path class="{classes[kinds[row]]}" d="{paths[row]}"><title>{shapes.titles[row]}</title></path>'
            for row in order
        )
    return "".join(
        f'<path class="{classes[kind]}" d="{"".join(paths[row] for row in np.flatnonzero(kinds == kind))}"/>'
        for kind in range(len(classes))
        if (kinds == kind).any()
    )


def _names(chart: Chart, shapes: _Shapes) -> str:
    """Names of few fields, in those that have room for them, none over another."""
    out = ""
    taken: list[tuple[float, float]] = []
    if shapes.names:
        x, y = chart.xy(shapes.ra, shapes.dec)
        for row, field_id in enumerate(shapes.names):
            width, middle = 6.5 * len(field_id), (float(x[row].mean()), float(y[row].mean()))
            free = all(abs(middle[0] - left) > width or abs(middle[1] - top) > 16 for left, top in taken)
            if free and np.ptp(x[row]) > width and np.ptp(y[row]) > 16:
                taken.append(middle)
                out += f'<text class="in" x="{middle[0]:.1f}" y="{middle[1] + 4:.1f}">{text(field_id)}</text>'
    return out


def _figure(chart: Chart, drawn: str, label: str, keys: str, title: str, fine: bool) -> str:
    lines = "".join(f'<path class="grid" d="{line.path}"/>' for line in chart.grid())
    labels = "".join(
        f'<text class="{"lat" if line.side else "lon"}" x="{max(line.x, 3) if line.side else line.x:.1f}" '
        f'y="{line.y - 4:.1f}">{line.label}</text>'
        for line in chart.grid()
        if line.label
    )
    frame = f'<path class="frame" d="{chart.frame()}"/>' if chart.whole else ""
    kind = "sky fine" if fine else "sky"
    return (
        f'<figure><figcaption>{title}</figcaption><svg class="{kind}" viewBox="0 0 {WIDTH:g} {chart.height:.0f}" '
        f'role="img" aria-label="{text(label)}">{frame}{drawn}{lines}{labels}</svg><p class="key">{keys}</p></figure>'
    )
