"""A re-simulation as a picture: stamp, model, what the deflector hides, and what is left."""

from __future__ import annotations

import textwrap

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.catalogue.colour import ABSENT
from pipeline.catalogue.explain_panels import grown, stacked, write
from pipeline.lensfit.observation import Float64
from pipeline.lensfit.resimulate import Resimulation

Picture = npt.NDArray[np.uint8]
Ink = tuple[int, int, int]

_SIDE, _GAP, _CAPTION, _LINE = 288, 16, 40, 20
_INK, _FAINT, _PAPER = (20, 20, 20), (100, 100, 100), (255, 255, 255)
_CRITICAL, _CAUSTIC, _RING = (255, 80, 60), (90, 230, 90), (90, 190, 255)
_BLACK, _LINEAR = -2.0, 3.0
"""Of the grey panels in units of the noise: black, and the linear part of the asinh stretch."""
_WHITE = 8.0
"""In units of the noise: white at least."""
_FULL = 5.0
"""Residual in units of the noise that has the full colour."""
_DASHES = 72
_LETTER = 7.2
"""Mean width of a letter of 14 px."""


def resimulation_png(resimulation: Resimulation, title: str) -> bytes:
    """Stamp, model, stamp less the deflector, and residual, a row a band, as PNG.

    On the model: the critical line (red), the caustic (green) with the source's place, and the circle of the Einstein
    radius (blue, dashed). Stamp and model have one stretch. Row 0 of an array is at the bottom.

    Parameters
    ----------
    resimulation : Resimulation
    title : str
        What object this is.
    """
    width = 4 * (_SIDE + _GAP) + _GAP
    parts = [_header(resimulation, title, width)]
    parts += [_row(resimulation, band, width) for band in range(len(resimulation.observation.bands))]
    return stacked(parts, _PAPER)


def _header(resimulation: Resimulation, title: str, width: int) -> Image.Image:
    v = resimulation.values
    q = (1 - np.hypot(v["e1"], v["e2"])) / (1 + np.hypot(v["e1"], v["e2"]))
    told = [
        f"theta_E {v['theta_E']:.3f} arcsec   axis ratio {q:.2f}   "
        f"shear {np.hypot(v['shear_1'], v['shear_2']):.3f}   "
        f"source at ({v['source_x']:+.2f}, {v['source_y']:+.2f}) arcsec from the deflector, "
        f"radius {v['source_radius']:.2f} arcsec",
        f"chi2 {resimulation.chi2:,.0f} of {resimulation.pixels:,} pixels.   {resimulation.text}",
    ]
    letters = int((width - 2 * _GAP) / _LETTER)
    lines = [part for line in told for part in textwrap.wrap(line, letters)]
    image = Image.new("RGB", (width, 2 * _GAP + 28 + _LINE * len(lines)), _PAPER)
    pen = ImageDraw.Draw(image)
    write(pen, (_GAP, _GAP), title, _INK, 20)
    for number, line in enumerate(lines):
        write(pen, (_GAP, _GAP + 30 + number * _LINE), line, _INK, 14)
    return image


def _row(resimulation: Resimulation, band: int, width: int) -> Image.Image:
    observed, name = resimulation.observation, resimulation.observation.bands[band]
    known = observed.weight[band] > 0
    noise = 1 / np.sqrt(np.median(observed.weight[band][known])) if known.any() else 1.0
    image, deflector, source = observed.image[band], resimulation.deflector[band], resimulation.source[band]
    left = image - deflector
    high = max(float((deflector + source).max()), _WHITE * noise)
    arc = max(float(source.max()), _WHITE * noise)
    model = _grey(deflector + source, np.ones_like(known), noise, high)
    _mark(model, resimulation)
    residual = grown(_diverging(resimulation.residual[band], known), _SIDE)
    panels = (
        (_grey(image, known, noise, high), f"{name} band", f"asinh, white is {high:,.0f} nJy a pixel"),
        (model, "model", "red: critical line; green: caustic; blue: Einstein radius"),
        (_grey(left, known, noise, arc), "stamp less the deflector", f"white is {arc:,.0f} nJy a pixel"),
        (residual, "stamp less the model", f"blue to red: -{_FULL:g} to {_FULL:g} sigma"),
    )
    row = Image.new("RGB", (width, _SIDE + _CAPTION + _GAP // 2), _PAPER)
    pen = ImageDraw.Draw(row)
    for column, (picture, title, note) in enumerate(panels):
        start = _GAP + column * (_SIDE + _GAP)
        row.paste(picture, (start, 0))
        write(pen, (start, _SIDE + 4), title, _INK, 14)
        write(pen, (start, _SIDE + 22), note, _FAINT, 12)
    return row


def _grey(image: Float64, known: npt.NDArray[np.bool_], noise: float, high: float) -> Image.Image:
    low = _BLACK * noise
    bright = np.arcsinh(np.maximum(image - low, 0) / (_LINEAR * noise)) / np.arcsinh((high - low) / (_LINEAR * noise))
    picture: Picture = np.repeat((255 * np.clip(bright, 0, 1)).astype(np.uint8)[..., None], 3, axis=-1)
    picture[~known] = ABSENT
    return grown(picture, _SIDE)


def _diverging(sigma: Float64, known: npt.NDArray[np.bool_]) -> Picture:
    """Blue through white to red."""
    share = np.clip(sigma / _FULL, -1, 1)[..., None]
    ends = np.where(share < 0, (33, 102, 172), (178, 24, 43))
    picture: Picture = (255 + (ends - 255) * np.abs(share)).astype(np.uint8)
    picture[~known] = ABSENT
    return picture


def _mark(picture: Image.Image, resimulation: Resimulation) -> None:
    v, pen = resimulation.values, ImageDraw.Draw(picture)
    arcsec = resimulation.observation.image.shape[-1] * resimulation.observation.pixel_scale
    scale = _SIDE / arcsec

    def place(line: Float64) -> list[tuple[float, float]]:
        return [(float(_SIDE / 2 + x * scale), float(_SIDE / 2 - y * scale)) for x, y in line]

    turn = np.linspace(0, 2 * np.pi, 2 * _DASHES + 1)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * v["theta_E"] + [v["lens_x"], v["lens_y"]]
    points = place(ring)
    for first in range(0, 2 * _DASHES, 2):
        pen.line(points[first : first + 2], fill=_RING, width=2)
    for lines, ink in ((resimulation.critical, _CRITICAL), (resimulation.caustic, _CAUSTIC)):
        for line in lines:
            pen.line(place(line), fill=ink, width=2)
    source = np.array([[v["lens_x"] + v["source_x"], v["lens_y"] + v["source_y"]]])
    x, y = place(source)[0]
    pen.line(((x - 5, y), (x + 5, y)), fill=_CAUSTIC, width=2)
    pen.line(((x, y - 5), (x, y + 5)), fill=_CAUSTIC, width=2)
