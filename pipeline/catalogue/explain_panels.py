"""The panels of a row's picture: colour, one band, the flags, and maps from 0 to 1."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.catalogue.colour import ABSENT, choose_bands, colour
from pipeline.catalogue.stamps import Stamp
from pipeline.flags import FATAL, FOUND_SHIFT, PixelFlag, fatal

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]
Pen = ImageDraw.ImageDraw

_LEAST, _MOST = 256, 640
"""Sides between which a panel's is, in pixels of the picture."""

_BARS = (60.0, 30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2)
"""Lengths that a scale bar may have, arcsec."""

_HEAT = np.array([(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39),
                  (252, 255, 164)], np.float64)  # fmt: skip
"""Black through purple and orange to pale yellow: evenly brighter, so that it also reads in grey."""

_BLACK_SIGMA, _LINEAR_SIGMA, _WHITE_SIGMA = -2.0, 3.0, 8.0
"""Of a band's panel in units of the sky's scatter: black, the linear part of the stretch, and white at least."""

FLAG_COLOURS: dict[PixelFlag, tuple[int, int, int]] = {
    PixelFlag.NODATA: (150, 150, 150),
    PixelFlag.CHIP_GAP: (230, 25, 75),
    PixelFlag.EDGE: (245, 130, 48),
    PixelFlag.BADPIX: (165, 40, 40),
    PixelFlag.BADCOLUMN: (190, 125, 50),
    PixelFlag.SATURATED: (255, 225, 25),
    PixelFlag.BLEED: (200, 170, 60),
    PixelFlag.COSMIC_RAY: (240, 50, 230),
    PixelFlag.INTERPOLATED: (170, 255, 195),
    PixelFlag.TRAIL: (50, 140, 255),
    PixelFlag.SPIKE: (70, 240, 240),
    PixelFlag.GHOST: (165, 80, 220),
    PixelFlag.HALO: (60, 180, 75),
    PixelFlag.BRIGHT_OBJECT: (160, 170, 40),
    PixelFlag.SEAM: (250, 190, 212),
    PixelFlag.LOW_EXPOSURE: (40, 150, 150),
}
"""Of what is flagged, told apart on grey."""


class Panel(NamedTuple):
    """A square picture, what it is, and what its levels mean."""

    picture: Image.Image
    title: str
    note: str


def panel_side(stamp: Stamp) -> int:
    """Side of a stamp's panels: a whole multiple of its pixels, but for stamps that are too large for that."""
    length = int(max(stamp.image.shape[-2:]))
    return min(-(-_LEAST // length) * length, _MOST)


def colour_panel(stamp: Stamp, side: int, axes: Float64 | None) -> Panel:
    """The stamp in colour with a scale bar and, where `axes` (see `Explained`) says it, north and east."""
    drawn = grown(colour(stamp), side)
    pen = ImageDraw.Draw(drawn)
    _ticks(pen, side)
    _scale_bar(pen, side, stamp)
    if axes is not None:
        _compass(pen, side, axes)
    red, green, blue = choose_bands(stamp.bands)
    bands = f"R, G, B = {red}, {green}, {blue}" if len({red, green, blue}) > 1 else red
    north = "" if axes is not None else "; north is not known"
    return Panel(
        drawn, f"colour: {bands}", f"asinh, {stamp.image.shape[-1] * stamp.pixel_scale:.1f} arcsec wide{north}"
    )


def band_panel(stamp: Stamp, index: int, side: int) -> Panel:
    """One band in grey; the note says what is black and white."""
    picture, low, high = _grey(stamp.image[index], fatal(stamp.mask[index]))
    drawn = grown(picture, side)
    if not np.isfinite(low):
        return Panel(_told(drawn, "no data"), stamp.bands[index], "no valid pixel")
    _ticks(ImageDraw.Draw(drawn), side)
    return Panel(drawn, f"{stamp.bands[index]} band", f"asinh, {_number(low)} to {_number(high)} nJy a pixel")


def flags_panel(stamp: Stamp, side: int) -> Panel:
    """What is flagged in any band, on the last band in dark grey: the survey's bits solid, found ones hatched."""
    mask = np.bitwise_or.reduce(stamp.mask, axis=0)
    drawn = np.array(grown((0.6 * _grey(stamp.image[-1], fatal(mask))[0]).astype(np.uint8), side))
    for flag in sorted(PixelFlag, key=lambda flag: bool(flag & FATAL)):  # what is fatal lies above
        paint = np.array(FLAG_COLOURS[flag], np.float64)
        for shift, chosen in ((0, np.ones((side, side), bool)), (FOUND_SHIFT, hatched((side, side)))):
            here = np.array(grown(((mask & np.uint32(flag << shift)) != 0).astype(np.uint8), side)) > 0
            drawn[here & chosen] = (0.3 * drawn[here & chosen] + 0.7 * paint).astype(np.uint8)
    picture = Image.fromarray(drawn)
    _ticks(ImageDraw.Draw(picture), side)
    share = float((mask != 0).mean())
    note = f"on {100 * share:.1f} % of the stamp; colours below" if share else "nothing is flagged"
    return Panel(picture, "flags of any band", note)


def map_panel(title: str, values: Float32 | None, note: str, absent: str, side: int) -> Panel:
    """A map from 0 (black) to 1 (pale yellow) with its levels; without one, or all NaN, `absent` stands there."""
    if values is None or not np.isfinite(values).any():
        return Panel(_told(Image.new("RGB", (side, side), (225, 225, 225)), absent), title, "")
    known = np.isfinite(values)
    picture: Picture = np.full((*values.shape, 3), ABSENT, np.uint8)
    picture[known] = heat(values[known])
    drawn = grown(picture, side)
    _ticks(ImageDraw.Draw(drawn), side)
    bar = Image.fromarray(np.repeat(heat(np.linspace(0, 1, side // 4))[None], 10, axis=0))
    drawn.paste(bar, (side - 8 - bar.width, side - 26))
    pen = ImageDraw.Draw(drawn)
    for x, text, anchor in ((side - 8 - bar.width, "0", "la"), (side - 8, "1", "ra")):
        write(pen, (x, side - 15), text, (255, 255, 255), 12, anchor=anchor, edge=True)
    return Panel(drawn, title, f"{note}; highest {float(values[known].max()):.2f}")


def heat(values: npt.NDArray[np.floating]) -> Picture:
    """Colours (..., 3) of values from 0 to 1."""
    at = np.clip(values, 0, 1) * (len(_HEAT) - 1)
    return np.stack([np.interp(at, np.arange(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)], -1).astype(
        np.uint8
    )


def hatched(shape: tuple[int, int]) -> Bool:
    """Diagonal stripes: how what was found is drawn."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    stripes: Bool = (x + y) % 8 < 4
    return stripes


def write(
    pen: Pen,
    place: tuple[float, float],
    text: str,
    ink: tuple[int, int, int],
    size: int,
    *,
    anchor: str = "la",
    edge: bool = False,
) -> None:
    """Write a line; letters that the font does not have are escaped, `edge` gives them a dark outline."""
    font = ImageFont.load_default(size=size)
    plain = "".join(letter if letter.isascii() or letter in "±°" else ascii(letter)[1:-1] for letter in text)
    pen.text(place, plain, fill=ink, font=font, anchor=anchor, stroke_width=1 if edge else 0, stroke_fill=(0, 0, 0))


def stacked(parts: Sequence[Image.Image], background: tuple[int, int, int]) -> bytes:
    """Pictures of one width below one another, as PNG."""
    sheet = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), background)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    sink = io.BytesIO()
    sheet.save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def grown(picture: Picture, side: int) -> Image.Image:
    """A picture whose row 0 is its bottom, with pixels as squares."""
    return Image.fromarray(np.ascontiguousarray(picture[::-1])).resize((side, side), Image.Resampling.NEAREST)


def _grey(image: Float32, bad: Bool) -> tuple[Picture, float, float]:
    """One band as (y, x, 3), and what is black and white in nJy; `ABSENT` and NaN where there is nothing.

    What is bad sets no levels, unless there is nothing else: a bleed would leave the galaxy black.
    """
    known = np.isfinite(image)
    picture: Picture = np.full((*image.shape, 3), ABSENT, np.uint8)
    if not known.any():
        return picture, float("nan"), float("nan")
    values = image[known].astype(np.float64)
    good = image[known & ~bad].astype(np.float64) if (known & ~bad).any() else values
    sky = float(np.median(good))
    noise = max(1.4826 * float(np.median(np.abs(good - sky))), 1e-6 * max(abs(sky), 1.0))
    low = sky + _BLACK_SIGMA * noise
    high = max(float(np.quantile(good, 0.999)), sky + _WHITE_SIGMA * noise)
    bright = np.arcsinh(np.maximum(values - low, 0) / (_LINEAR_SIGMA * noise)) / np.arcsinh(
        (high - low) / (_LINEAR_SIGMA * noise)
    )
    picture[known] = (255 * np.clip(bright, 0, 1)).astype(np.uint8)[:, None]
    return picture, low, high


def _told(drawn: Image.Image, text: str) -> Image.Image:
    write(ImageDraw.Draw(drawn), (drawn.width / 2, drawn.height / 2), text, (60, 60, 60), 14, anchor="mm")
    return drawn


def _ticks(pen: Pen, side: int) -> None:
    """Two marks beside the position, which they leave free."""
    middle, near, far = side / 2, 0.12 * side, 0.18 * side
    for line in (((middle + near, middle), (middle + far, middle)), ((middle, middle - far), (middle, middle - near))):
        pen.line(line, fill=(0, 0, 0), width=3)
        pen.line(line, fill=(255, 255, 255), width=1)


def _scale_bar(pen: Pen, side: int, stamp: Stamp) -> None:
    arcsec = stamp.image.shape[-1] * stamp.pixel_scale
    length = next((bar for bar in _BARS if bar <= 0.3 * arcsec), _BARS[-1])
    first, last, y = 10, 10 + round(length / arcsec * side), side - 12
    pen.line(((first - 1, y), (last + 1, y)), fill=(0, 0, 0), width=5)
    pen.line(((first, y), (last, y)), fill=(255, 255, 255), width=3)
    write(pen, (first, y - 6), f'{length:g}"', (255, 255, 255), 14, anchor="ld", edge=True)


def _compass(pen: Pen, side: int, axes: Float64) -> None:
    """Arrows towards north and east from the corner that has room for them."""
    length = 0.13 * side
    arrows = np.stack([axes[:, 0], -axes[:, 1]], axis=1) * length
    reach = arrows.sum(axis=0)
    start = np.array(
        [side - 0.08 * side if reach[0] < 0 else side - 0.24 * side, 0.24 * side if reach[1] < 0 else 0.08 * side]
    )
    for arrow, name in zip(arrows, "NE", strict=True):
        end = start + arrow
        for ink, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
            pen.line((*start, *end), fill=ink, width=width)
        place = end + arrow / length * 0.045 * side
        write(pen, (float(place[0]), float(place[1])), name, (255, 255, 255), 14, anchor="mm", edge=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
