"""Ghosts: reflections of bright stars, discs and rings of even light with a sharp round edge.

Light that falls off inwards to outwards all around one centre votes for that centre and radius; votes are limited,
so that one bright galaxy is no more than its place on the circle. A circle is a ghost where nearly every sector of it
has a step of the same sort, even light within and sky beyond: a galaxy goes on fading outside any circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, disc
from pipeline.scan.masks_picture import halved, sky_picture
from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.masks_sectors import SECTORS, middle_of, sector_medians
from pipeline.scan.masks_votes import voted
from pipeline.scan.medians import middle
from pipeline.scan_config import MasksConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_RADII = np.geomspace(5.0, 10.0, 7)
"""Radii looked for in one picture, bins; larger circles are looked for in the picture halved."""

_LEAST_ARC = 0.4
"""Of the circle must be inside the field."""

_LEAST_LENGTH = 40.0
"""Bins of it that must be, lest the edge of a galaxy make an arc."""

_LIKELY = 0.5
_AGREEING = 0.87
_BEYOND = 0.4
"""Largest step further out, in units of that on the circle."""

_WITHIN = 0.6
"""How much brighter the light may be further in, likewise."""

_CENTRED = 0.6
"""A disc with a bright star nearer than this to its centre, in units of its radius, is the star's halo."""

_OWN = 0.5
"""A band in which the step is less than this share of the smallest that counts is left unflagged."""


@dataclass(frozen=True)
class Circle:
    """An edge of light, in bins: centre and radius, the median step on it and how many sectors have it."""

    x: float
    y: float
    radius: float
    step: float = 0.0
    agreeing: float = 0.0


def find_ghosts(
    profile: FieldProfile,
    config: MasksConfig,
    pixel_scale: float,
    stars: Sequence[tuple[float, float]],
    lines: Sequence[Shape] = (),
) -> list[Shape]:
    """Discs and rings flagged GHOST, in each band that shows them; HALO where they are smaller than `ghost_sure`.

    Arcs about a group of galaxies are as round and as even as a small reflection, and must not be taken from the
    members: HALO is not fatal.

    Parameters
    ----------
    profile : FieldProfile
    config : MasksConfig
        `ghost_level`, in units of a pixel's noise, `ghost_radius`, `ghost_sure` and `ghost_margin`, arcsec.
    pixel_scale : float
        Arcsec.
    stars : list of (x, y)
        Pixels of bright stars; a disc about one of them is its halo.
    lines : list of Shape
        Trails and detector edges, which are left out: a straight edge is a part of a large circle.

    Returns
    -------
    list of Shape
    """
    side = profile.bin
    margin = config.ghost_margin / pixel_scale
    low, high = (radius / pixel_scale / side for radius in config.ghost_radius)
    bands = [sky_picture(profile, band) for band in range(profile.binned.shape[0])]
    for line in lines:
        _hide(bands[line.band], line, side)
    found: list[Circle] = []
    searched = [find_circles(_mean(bands), config.ghost_level, low, high)]
    if len(bands) > 1:
        # Reflections of one filter; the smallest are left to the mean, at a quarter of the time.
        for picture in bands:
            coarse = find_circles(halved(picture), config.ghost_level, low / 2, high / 2)
            searched.append([replace(c, x=2 * c.x + 0.5, y=2 * c.y + 0.5, radius=2 * c.radius) for c in coarse])
    for circles in searched:
        for circle in circles:
            at = ((circle.x + 0.5) * side - 0.5, (circle.y + 0.5) * side - 0.5)
            centred = any(np.hypot(at[0] - x, at[1] - y) < _CENTRED * circle.radius * side for x, y in stars)
            if not centred and not any(_same(circle, other) for other in found):
                found.append(circle)
    shapes = []
    for circle in found:
        x, y = (circle.x + 0.5) * side - 0.5, (circle.y + 0.5) * side - 0.5
        for band, picture in enumerate(bands):
            if _judged(picture, [circle])[0].step >= _OWN * config.ghost_level:
                sure = circle.radius * side * pixel_scale >= config.ghost_sure
                flag = PixelFlag.GHOST if sure else PixelFlag.HALO
                hole = max(_hole(picture, circle) * side - margin, 0.0)
                shapes.append(disc(band, flag, x, y, circle.radius * side + margin, hole))
    return shapes


def find_circles(picture: Float32, level: float, smallest: float, largest: float) -> list[Circle]:
    """Circles inside which a picture is brighter, all around, than outside.

    Parameters
    ----------
    picture : float32 (y, x)
        In units of a pixel's noise; NaN for no data.
    level : float
        Smallest median step, in the picture's unit.
    smallest, largest : float
        Radii, bins.

    Returns
    -------
    list of Circle
        None the same as another, the surest first; centres may lie outside the picture.
    """
    circles: list[Circle] = []
    pictures = [picture]
    while min(pictures[-1].shape) >= 8 and _RADII[0] * 2 ** (len(pictures) - 1) <= largest:
        factor = 2 ** (len(pictures) - 1)
        radii = _RADII[(_RADII * factor * 1.1 >= smallest) & (_RADII * factor <= 1.1 * largest)]
        for proposed in _sharpened(pictures[-1], _proposed(pictures[-1], radii), level) if radii.size else ():
            circle = _settled(pictures, proposed, level)
            if circle is None or not smallest <= circle.radius <= largest:
                continue
            if _arc(picture, circle) >= _LEAST_LENGTH:
                circles.append(circle)
        pictures.append(halved(pictures[-1]))
    circles.sort(key=lambda circle: (-circle.agreeing, -circle.radius))
    kept: list[Circle] = []
    for circle in circles:
        if not any(_same(circle, other) for other in kept):
            kept.append(circle)
    return kept


def _hide(picture: Float32, line: Shape, side: int) -> None:
    """Take what a shape covers out of a picture, which is changed."""
    x0, y0, x1, y1 = ((value + 0.5) / side - 0.5 for value in (line.x0, line.y0, line.x1, line.y1))
    covered = np.zeros(picture.shape, np.uint16)
    replace(line, x0=x0, y0=y0, x1=x1, y1=y1, half_width=line.half_width / side + 0.5).paint(covered, 0)
    picture[covered != 0] = np.nan


def _arc(picture: Float32, circle: Circle) -> float:
    """Length of a circle that has data on both sides, bins."""
    known = np.isfinite(_around(picture, circle, -2.0, -1.0)) & np.isfinite(_around(picture, circle, 1.0, 2.0))
    return float(known.mean() * 2 * np.pi * circle.radius)


def _mean(pictures: Sequence[Float32]) -> Float32:
    """Mean over the pictures of a bin's finite values; NaN where there is none."""
    stack = np.stack(pictures)
    data = np.isfinite(stack)
    number = data.sum(axis=0)
    total = np.where(data, stack, np.float32(0.0)).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def _proposed(picture: Float32, radii: Float64) -> list[Circle]:
    """Circles that gradients all around vote for and half of the sectors agree with, the best first."""
    places = voted(picture, radii, _LEAST_ARC)
    if not len(places):
        return []
    step, agreeing = _steps(picture, places)
    return [Circle(*(float(v) for v in places[i])) for i in np.flatnonzero((step > 0) & (agreeing >= _LIKELY))]


def _sharpened(picture: Float32, proposed: Sequence[Circle], level: float) -> list[Circle]:
    """Proposed circles moved to where their step is largest, those that are edges of even light there."""
    circles = _moved(picture, _moved(picture, proposed, 1.0, level), 0.5, level)
    return [
        circle
        for circle in _judged(picture, circles)
        if circle.step >= level and circle.agreeing >= _AGREEING and _is_even(picture, circle)
    ]


def _settled(pictures: Sequence[Float32], circle: Circle, level: float) -> Circle | None:
    """A circle of the last picture moved to where it is sharpest in the first, in bins of that; None if not there."""
    for picture in reversed(pictures[:-1]):
        circle = replace(circle, x=2 * circle.x + 0.5, y=2 * circle.y + 0.5, radius=2 * circle.radius)
        (circle,) = _moved(picture, _moved(picture, [circle], 1.0, level), 0.5, level)
    # Once more where it came to lie: the edge of a galaxy's disc looks sharp in coarse bins.
    circle = replace(_judged(pictures[0], [circle])[0], agreeing=circle.agreeing)
    return circle if circle.step >= level and _is_even(pictures[0], circle) else None


def _moved(picture: Float32, circles: Sequence[Circle], stride: float, level: float) -> list[Circle]:
    """The best of each circle and those `stride` bins beside it and larger or smaller."""
    if not circles:
        return []
    at = np.array([(circle.x, circle.y, circle.radius) for circle in circles])
    places = (at[:, None] + stride * _MOVES).reshape(-1, 3)
    inner, outer = (np.tile(edges, (1, len(circles))) for edges in (_INNER, _OUTER))
    steps = sector_medians(picture, places, *inner) - sector_medians(picture, places, *outer)
    # A star on the edge must not draw the circle to itself.
    cut = np.repeat([2 * max(circle.step, level) for circle in circles], len(_MOVES))[:, None]
    total = np.nansum(np.clip(steps, -cut, cut), axis=1).reshape(len(circles), -1)
    best = places.reshape(len(circles), -1, 3)[np.arange(len(circles)), np.argmax(total, axis=1)]
    return [
        Circle(x, y, radius, circle.step, circle.agreeing)
        for circle, (x, y, radius) in zip(circles, best.tolist(), strict=True)
    ]


_MOVES = np.array([(0, 0, 0), *(move for move in np.ndindex(3, 3, 3))], np.float64)
_MOVES[1:] -= 1.0
_INNER = np.full(len(_MOVES), -1.25), np.full(len(_MOVES), -0.25)
_OUTER = -_INNER[1], -_INNER[0]


def _judged(picture: Float32, circles: Sequence[Circle]) -> list[Circle]:
    """Circles with their step and the sectors that have it."""
    places = np.array([(circle.x, circle.y, circle.radius) for circle in circles]).reshape(-1, 3)
    step, agreeing = np.zeros(len(places)), np.zeros(len(places))
    # Rings of one number of samples together, so that none depends on what else is judged.
    samples = np.ceil(_step_width(places))
    for number in np.unique(samples):
        alike = samples == number
        step[alike], agreeing[alike] = _steps(picture, places[alike])
    given = zip(circles, step.tolist(), agreeing.tolist(), strict=True)
    return [Circle(circle.x, circle.y, circle.radius, *steps) for circle, *steps in given]


def _step_width(circles: Float64) -> Float64:
    """Width of the rings on either side of circles that their step is measured in, bins."""
    return np.maximum(1.5, 0.15 * circles[:, 2])


def _steps(picture: Float32, circles: Float64) -> tuple[Float64, Float64]:
    """Median step over the sectors of circles, and the share of the sectors with half of it; 0 for too short an arc."""
    width = _step_width(circles)
    inside, outside = (
        sector_medians(picture, circles, low, low + width) for low in (-0.75 - width, np.full_like(width, 0.75))
    )
    step = np.sort(inside - outside, axis=1)
    known = np.isfinite(step).sum(axis=1)
    median = middle(step.T.astype(np.float32), known).astype(np.float64)
    with np.errstate(invalid="ignore"):
        agreeing = (step > 0.5 * median[:, None]).sum(axis=1) / np.maximum(known, 1)
    real = (known >= _LEAST_ARC * SECTORS) & (median > 0)
    return np.where(real, median, 0.0), np.where(real, agreeing, 0.0)


def _is_even(picture: Float32, circle: Circle) -> bool:
    """Whether the light is even on both sides of a circle's step, and no brighter towards the centre."""
    width = max(1.5, 0.15 * circle.radius)
    outside, beyond = (_around(picture, circle, edge, edge + width) for edge in (0.75, 0.75 + width))
    inside = _around(picture, circle, -0.75 - width, -0.75)
    further = middle_of(outside - beyond)
    if not further <= _BEYOND * circle.step:
        return False
    # Inside a large galaxy the light outside a circle is still the galaxy's.
    far = _around(picture, circle, 0.6 * circle.radius, 1.2 * circle.radius)
    if middle_of(outside - far) > _BEYOND * circle.step:
        return False
    rim = middle_of(inside)
    for low, high in pairwise((0.25, 0.45, 0.65, 0.85)):
        ring = _around(picture, circle, (low - 1) * circle.radius, (high - 1) * circle.radius)
        if middle_of(ring) > rim + _WITHIN * circle.step:
            return False
    return True


def _around(picture: Float32, circle: Circle, inner: float, outer: float) -> Float64:
    place = np.array([[circle.x, circle.y, circle.radius]])
    ring: Float64 = sector_medians(picture, place, np.array([inner]), np.array([outer]))[0]
    return ring


def _hole(picture: Float32, circle: Circle) -> float:
    """Radius in bins within which the ring is dark, 0 for a disc."""
    radii = np.arange(1.0, circle.radius - 1.0)
    if radii.size < 2:
        return 0.0
    rim = middle_of(_around(picture, circle, -0.2 * circle.radius, -1.0))
    for radius in radii[::-1]:
        sectors = _around(picture, circle, radius - circle.radius - 1.0, radius - circle.radius + 0.5)
        known = sectors[np.isfinite(sectors)]
        if known.size and np.median(known) < rim - 0.75 * circle.step:
            return float(radius)
    return 0.0


def _same(circle: Circle, other: Circle) -> bool:
    """Whether the centre of one lies deep in the other and they are of a size."""
    apart = float(np.hypot(circle.x - other.x, circle.y - other.y))
    return apart + abs(circle.radius - other.radius) < 0.7 * max(circle.radius, other.radius)
