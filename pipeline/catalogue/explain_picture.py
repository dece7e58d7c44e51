"""One row of a scan as a picture: what the catalogue says, and the panels side by side.

Drawn by Pillow alone, whose own font has ASCII and little more.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.catalogue.explain import Explained, FlagCount
from pipeline.catalogue.explain_panels import (
    FLAG_COLOURS,
    Panel,
    band_panel,
    colour_panel,
    flags_panel,
    hatched,
    map_panel,
    panel_side,
    stacked,
    write,
)
from pipeline.flags import PixelFlag

Float32 = npt.NDArray[np.float32]

_COLUMNS = 4
_GAP, _CAPTION = 16, 40
_TEXT, _LINE = 14, 20
_INK, _FAINT, _PAPER = (20, 20, 20), (100, 100, 100), (255, 255, 255)
_LETTER = 7.2
"""Mean width of a letter of the size `_TEXT`, in pixels; a little too much, so that no line is cut."""


def explain_png(
    facts: Explained,
    *,
    saliency: Float32 | None,
    lens_light: Float32 | None = None,
    artefact: Float32 | None = None,
) -> bytes:
    """The picture of one row, as PNG.

    Parameters
    ----------
    facts : Explained
    saliency, lens_light, artefact : float32 (y, x), optional
        0 to 1 on the stamp's grid, NaN where nothing is known; without one its panel says so.
    """
    stamp = facts.stamp
    side = panel_side(stamp)
    light = [colour_panel(stamp, side, facts.axes)]
    light += [band_panel(stamp, index, side) for index in range(len(stamp.bands))]
    no_maps = "no map package in this ensemble"
    maps = [
        flags_panel(stamp, side),
        map_panel("lens light", lens_light, "probability", no_maps, side),
        map_panel("artefacts", artefact, "probability", no_maps, side),
        map_panel("saliency", saliency, "what raises the score", "a band has no valid pixel", side),
    ]
    rows = [light[first : first + _COLUMNS] for first in range(0, len(light), _COLUMNS)] + [maps]
    width = _COLUMNS * (side + _GAP) + _GAP
    parts = [_header(facts, width), *(_row(row, side, width) for row in rows), _legend(facts.flags, width)]
    return stacked(parts, _PAPER)


def header_lines(facts: Explained) -> list[str]:
    """What the catalogue says of a row, in lines: where it is, its scores, why to distrust them, what it measured."""
    row = facts.row
    spread = f" ± {row['score_std']:.2g}" if row.get("score_std") is not None else ""
    members = ", ".join(f"{name} {score(value)}" for name, value in facts.members.items())
    mags = [f"{name.removeprefix('mag_')} {value:.2f}" for name, value in _with(row, "mag_")]
    seeing = [f"{name.removeprefix('seeing_')} {value:.2f}" for name, value in _with(row, "seeing_")]
    ood = f", unfamiliar {row['ood']:.3g}" if row.get("ood") is not None else ""
    lines = [
        f"RA {row['ra']:.6f}  Dec {row['dec']:+.6f} deg (ICRS)   field {row['field_id']}   "
        f"{row['survey']} {row['release']}, scan {facts.scan_id}"
        + ("" if row["is_primary"] else "   not the primary copy"),
        f"score {score(row['score'])}{spread} at the survey's prior{ood}   members: {members or 'none'}",
        f"vet flags: {', '.join(facts.vet_flags) or 'none'}   artefact_fraction {row['artefact_fraction']:.3g}, "
        f"valid_fraction {row['valid_fraction']:.3g}",
    ]
    measured = [f"mag {', '.join(mags)}"] * bool(mags) + [f"seeing {', '.join(seeing)} arcsec"] * bool(seeing)
    measured_lines = ["   ".join(measured)] if measured else []
    return [*lines, *_map_line(facts), *_parameter_line(facts), *measured_lines]


def _map_line(facts: Explained) -> list[str]:
    """What was measured on the maps, where the row has any."""
    row = facts.row
    if row.get("arc_area") is None:
        return []
    parts = [f"lens light over {row['arc_area']:.3g} arcsec2"]
    if row.get("lens_ra") is not None:
        parts.append(f"peak at {row['lens_ra']:.6f} {row['lens_dec']:+.6f}")
    if row.get("joint_score") is not None:
        parts.append(f"joint score {score(row['joint_score'])}")
    if row.get("artefact_overlap") is not None:
        parts.append(f"artefacts cover {100 * row['artefact_overlap']:.0f} % of what the score rests on")
    return [", ".join(parts)]


def _parameter_line(facts: Explained) -> list[str]:
    """The lens parameters, where the row has any."""
    row = facts.row
    if row.get("theta_E") is None:
        return []
    named = {"theta_E": "Einstein radius", "mass_e1": "mass e1", "mass_e2": "e2", "shear_1": "shear 1", "shear_2": "2"}
    parts = [f"{told} {row[name]:.2f} ± {row[f'{name}_std']:.2f}" for name, told in named.items()]
    parts[0] += " arcsec"
    doubt = "" if row.get("theta_E_trusted") else "   not to be trusted: unlike what the network was trained on"
    return [f"lens parameters: {', '.join(parts)}{doubt}"]


def score(value: float | None) -> str:
    """A score as a person reads it."""
    return "none" if value is None else f"{value:.3g}"


def _with(row: object, prefix: str) -> list[tuple[str, float]]:
    values = dict(row)  # type: ignore[call-overload]
    return [(name, value) for name, value in values.items() if name.startswith(prefix) and value is not None]


def _header(facts: Explained, width: int) -> Image.Image:
    letters = int((width - 2 * _GAP) / _LETTER)
    lines = [part for line in header_lines(facts) for part in textwrap.wrap(line, letters, subsequent_indent="    ")]
    image = Image.new("RGB", (width, 2 * _GAP + 28 + _LINE * len(lines)), _PAPER)
    pen = ImageDraw.Draw(image)
    write(pen, (_GAP, _GAP), f"objid {facts.row['objid']}", _INK, 20)
    for number, line in enumerate(lines):
        write(pen, (_GAP, _GAP + 30 + number * _LINE), line, _INK, _TEXT)
    return image


def _row(panels: Sequence[Panel], side: int, width: int) -> Image.Image:
    image = Image.new("RGB", (width, side + _CAPTION + _GAP // 2), _PAPER)
    pen = ImageDraw.Draw(image)
    for column, panel in enumerate(panels):
        left = _GAP + column * (side + _GAP)
        image.paste(panel.picture, (left, 0))
        write(pen, (left, side + 4), panel.title, _INK, _TEXT)
        write(pen, (left, side + 22), panel.note, _FAINT, 12)
    return image


def _legend(flags: Sequence[FlagCount], width: int) -> Image.Image:
    """Each flag of the stamp with its colour, solid and hatched, and how many pixels have it from whom."""
    image = Image.new("RGB", (width, _GAP + _LINE * max(len(flags) + 1, 1)), _PAPER)
    pen = ImageDraw.Draw(image)
    columns = (_GAP, 300, 430, 560, 700)
    heads = ("flag", "survey's own (solid)", "found (hatched)", "", "bands")
    if not flags:
        write(pen, (_GAP, 0), "No pixel of the stamp is flagged.", _INK, _TEXT)
        return image
    for left, head in zip(columns, heads, strict=True):
        write(pen, (left, 0), head, _FAINT, 12)
    for number, flag in enumerate(flags, start=1):
        y = number * _LINE
        paint = FLAG_COLOURS[PixelFlag[flag.name]]
        write(pen, (columns[0], y), flag.name + ("  (fatal)" if flag.fatal else ""), _INK, _TEXT)
        for left, count, stripes in ((columns[1], flag.survey, False), (columns[2], flag.found, True)):
            swatch = np.full((14, 24, 3), 60, np.uint8)
            swatch[hatched((14, 24)) if stripes else np.ones((14, 24), bool)] = paint
            if count:
                image.paste(Image.fromarray(swatch), (left, y + 1))
            write(pen, (left + 32, y), f"{count:,} px" if count else "-", _INK if count else _FAINT, _TEXT)
        write(pen, (columns[4], y), ", ".join(flag.bands), _INK, _TEXT)
    return image
