"""Pictures of stamps for the page: one, a sheet of many, the same stamp in every band, and what is laid over it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.catalogue.colour import colour
from pipeline.catalogue.explain_panels import FLAG_COLOURS, heat
from pipeline.catalogue.stamps import Stamp
from pipeline.flags import FATAL, PixelFlag, either, fatal
from pipeline.inspector.looks import STRETCHES, Look, choices

Picture = npt.NDArray[np.uint8]

EMPTY = (24, 27, 31)
"""Colour where there is no stamp."""
OUTLINE = (255, 90, 79)
"""Colour of the edge of what is fatally flagged."""
CORE = 0.6
"""Arcsec about the centre whose light a difference takes away."""
QUALITY = 93
"""Of JPEG, without subsampling of colours, for sheets; a single stamp is a PNG."""


def stamp_picture(stamp: Stamp, look: Look) -> Picture:
    """A stamp as a picture, uint8 (y, x, 3), the top row first.

    A band that the stamp lacks is no error: its usual colours stand in.
    """
    stretch, softening = STRETCHES[look.stretch]
    names, of = look.chosen(stamp.bands), look.subtracted(stamp.bands)
    if of is not None:
        stamp = difference(stamp, *of)
        names = (stamp.bands[0],) * 3
    return np.flipud(colour(stamp, names, stretch=stretch, softening=softening))


def difference(stamp: Stamp, band: str, less: str) -> Stamp:
    """A stamp of one band, from which another was taken away so that nothing is left of the light in the centre.

    The other band is scaled by the ratio of the two in a circle of `CORE` arcsec, each above its own sky (the median);
    their seeing is taken as it is, so that a sharp centre may leave a ring.
    """
    index = [stamp.bands.index(name) for name in (band, less)]
    image = stamp.image[index].astype(np.float64)
    known = [plane[np.isfinite(plane)] for plane in image]
    image -= np.array([np.median(values) if len(values) else 0.0 for values in known])[:, None, None]
    y, x = np.indices(image.shape[1:]) - (image.shape[-1] - 1) / 2
    core = (np.hypot(x, y) * stamp.pixel_scale <= CORE) & np.isfinite(image).all(axis=0)
    ours, theirs = image[:, core].sum(axis=1) if core.any() else (0.0, 0.0)
    ratio = max(ours / theirs, 0.0) if theirs > 0 else 0.0
    left = (image[0] - ratio * image[1]).astype(np.float32)
    mask = np.bitwise_or(*stamp.mask[index])
    return Stamp(left[None], mask[None], (f"{band} less {less}",), stamp.pixel_scale)


def stamp_png(stamp: Stamp, look: Look) -> bytes:
    """A stamp as PNG, one pixel a pixel."""
    return _png(Image.fromarray(np.ascontiguousarray(stamp_picture(stamp, look))))


def sheet_columns(count: int) -> int:
    """Cells in a row of a sheet of `count` cells."""
    return max(1, math.ceil(math.sqrt(count)))


def sheet_jpeg(stamps: Sequence[Stamp | None], look: Look, side: int, *, outlines: bool = False) -> bytes:
    """Many stamps in one picture, row by row in square cells; see `sheet_columns`.

    Parameters
    ----------
    stamps : sequence of Stamp or None
        None leaves its cell empty, with a word.
    look : Look
    side : int
        Of a cell in pixels; a stamp of another size is brought to it.
    outlines : bool
        Draw the edge of what is fatally flagged.
    """
    columns = sheet_columns(len(stamps))
    whole = Image.new("RGB", (columns * side, max(1, -(-len(stamps) // columns)) * side), EMPTY)
    for number, stamp in enumerate(stamps):
        cell = _cell(stamp, look, side, outlines)
        whole.paste(cell, (number % columns * side, number // columns * side))
    return _jpeg(whole)


def strip_jpeg(stamp: Stamp, stretch: str, side: int) -> bytes:
    """One stamp in each of its `choices`, in their order, as a sheet of one row."""
    names = choices(stamp.bands)
    whole = Image.new("RGB", (len(names) * side, side), EMPTY)
    for number, name in enumerate(names):
        whole.paste(_cell(stamp, Look(name, stretch), side, outlines=False), (number * side, 0))
    return _jpeg(whole)


def flags_png(stamp: Stamp) -> bytes:
    """What is flagged in any band as a see-through picture, each flag in its colour, what is fatal above."""
    mask = np.flipud(np.bitwise_or.reduce(either(stamp.mask), axis=0))
    layer = np.zeros((*mask.shape, 4), np.uint8)
    for flag in sorted(PixelFlag, key=lambda flag: bool(flag & FATAL)):
        layer[(mask & np.uint32(flag)) != 0] = (*FLAG_COLOURS[flag], 150)
    return _png(Image.fromarray(layer))


def map_png(values: npt.NDArray[np.float32]) -> bytes:
    """A map (y, x) from 0 to 1 as a see-through picture: the higher, the brighter and the less see-through."""
    known = np.nan_to_num(np.flipud(values))
    opacity = (150 * np.clip(known, 0, 1) ** 0.7).astype(np.uint8)
    return _png(Image.fromarray(np.dstack([heat(known), opacity])))


def _cell(stamp: Stamp | None, look: Look, side: int, outlines: bool) -> Image.Image:
    if stamp is None:
        cell = Image.new("RGB", (side, side), EMPTY)
        ImageDraw.Draw(cell).text((side // 2, side // 2), "no cutout", fill=(152, 161, 169), anchor="mm")
        return cell
    picture = stamp_picture(stamp, look)
    if outlines:
        picture = picture.copy()
        picture[_edge(np.flipud(fatal(stamp.mask).any(axis=0)))] = OUTLINE
    cell = Image.fromarray(np.ascontiguousarray(picture))
    return cell if cell.size == (side, side) else cell.resize((side, side), Image.Resampling.BOX)


def _edge(bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of `bad` with a neighbour, within the picture, that is none."""
    framed = np.pad(bad, 1, mode="edge")
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    edge: npt.NDArray[np.bool_] = bad & ~inner
    return edge


def _png(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, format="PNG", compress_level=1)
    return sink.getvalue()


def _jpeg(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, format="JPEG", quality=QUALITY, subsampling=0)
    return sink.getvalue()
