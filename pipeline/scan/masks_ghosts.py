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
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import maximum_filter, sobel

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, disc
from pipeline.scan.masks_picture import halved, sky_picture
from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.medians import middle
from pipeline.scan.native import WHOLE, native
from pipeline.scan_config import MasksConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_RADII = np.geomspace(5.0, 10.0, 7)
"""Radii looked for in one picture, bins; larger circles are looked for in the picture halved."""

_VOTE = 3.0
"""Largest vote of a bin, in units of the gradient's scatter."""

_LEAST_VOTE = 0.5
_LEAST_ARC = 0.4
"""Of the circle must be inside the field."""

_LEAST_LENGTH = 40.0
"""Bins of it that must be, lest the edge of a galaxy make an arc."""

_CANDIDATES = 60
_SECTORS = 24
_ANGLES = 4
_DIRECTIONS = (np.arange(_SECTORS * _ANGLES) + 0.5) * (2 * np.pi / (_SECTORS * _ANGLES))
_SINES, _COSINES = (np.ascontiguousarray(part(_DIRECTIONS).reshape(_SECTORS, _ANGLES).T) for part in (np.sin, np.cos))
"""Of the samples of a ring: (angle within its sector, sector)."""

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
    data = np.isfinite(picture)
    whole = ~maximum_filter(~data, 3)
    whole[[0, -1]] = False
    whole[:, [0, -1]] = False
    if not whole.any():
        return []
    filled = np.where(data, picture, np.float32(0.0))
    gradients = [np.where(whole, sobel(filled, axis) / 8, np.float32(0.0)) for axis in (0, 1)]
    size = np.hypot(gradients[0], gradients[1])
    scatter = float(np.median(size[whole]))
    if scatter <= 0:
        return []
    limit = np.minimum(np.float32(1.0), _VOTE * scatter / np.maximum(size, np.float32(1e-9))) / np.float32(scatter)
    reach = int(np.ceil(radii[-1])) + 1
    shape = tuple(length + 2 * reach for length in picture.shape)
    fast = tuple(next_fast_len(length, real=True) for length in shape)
    down, right, number = (rfft2(plane, fast) for plane in (*(g * limit for g in gradients), whole.astype(np.float32)))
    votes = np.full(shape, -np.inf, np.float32)
    best = np.zeros(shape, np.intp)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.maximum(np.hypot(dy, dx), 1e-6)
    for index, radius in enumerate(radii):
        ring = np.clip(1.5 - np.abs(distance - radius), 0.0, 1.0).astype(np.float32)
        # Convolution turns the kernel round: a bin at +d from the centre is met with the kernel's value at -d.
        turned = [rfft2(ring * part / distance, fast) for part in (dy, dx)]
        total = irfft2(down * turned[0] + right * turned[1], fast)[: shape[0], : shape[1]]
        length = irfft2(number * rfft2(ring, fast), fast)[: shape[0], : shape[1]]
        mean = np.where(length >= _LEAST_ARC * ring.sum(), total / np.maximum(length, 1e-3), -np.inf)
        best[mean > votes] = index
        np.maximum(votes, mean, out=votes)
    y, x = np.nonzero((votes >= _LEAST_VOTE) & (votes == maximum_filter(votes, 5)))
    order = np.argsort(-votes[y, x], kind="stable")[:_CANDIDATES]
    if not order.size:
        return []
    places = np.column_stack([x[order] - reach, y[order] - reach, radii[best[y[order], x[order]]]])
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
    steps = _sectors(picture, places, *inner) - _sectors(picture, places, *outer)
    # A star on the edge must not draw the circle to itself.
    cut = np.repeat([2 * max(circle.step, level) for circle in circles], len(_MOVES))[:, None]
    total = np.nansum(np.clip(steps, -cut, cut), axis=1).reshape(len(circles), -1)
    best = places.reshape(len(circles), -1, 3)[np.arange(len(circles)), np.argmax(total, axis=1)]
    return [
        replace(circle, x=float(x), y=float(y), radius=float(radius))
        for circle, (x, y, radius) in zip(circles, best, strict=True)
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
    return [replace(circle, step=float(step[i]), agreeing=float(agreeing[i])) for i, circle in enumerate(circles)]


def _step_width(circles: Float64) -> Float64:
    """Width of the rings on either side of circles that their step is measured in, bins."""
    return np.maximum(1.5, 0.15 * circles[:, 2])


def _steps(picture: Float32, circles: Float64) -> tuple[Float64, Float64]:
    """Median step over the sectors of circles, and the share of the sectors with half of it; 0 for too short an arc."""
    width = _step_width(circles)
    inside, outside = (
        _sectors(picture, circles, low, low + width) for low in (-0.75 - width, np.full_like(width, 0.75))
    )
    step = np.sort(inside - outside, axis=1)
    known = np.isfinite(step).sum(axis=1)
    median = middle(step.T.astype(np.float32), known).astype(np.float64)
    with np.errstate(invalid="ignore"):
        agreeing = (step > 0.5 * median[:, None]).sum(axis=1) / np.maximum(known, 1)
    real = (known >= _LEAST_ARC * _SECTORS) & (median > 0)
    return np.where(real, median, 0.0), np.where(real, agreeing, 0.0)


def _is_even(picture: Float32, circle: Circle) -> bool:
    """Whether the light is even on both sides of a circle's step, and no brighter towards the centre."""
    width = max(1.5, 0.15 * circle.radius)
    outside, beyond = (_around(picture, circle, edge, edge + width) for edge in (0.75, 0.75 + width))
    inside = _around(picture, circle, -0.75 - width, -0.75)
    further = outside - beyond
    if not np.isfinite(further).any() or np.nanmedian(further) > _BEYOND * circle.step:
        return False
    # Inside a large galaxy the light outside a circle is still the galaxy's.
    far = _around(picture, circle, 0.6 * circle.radius, 1.2 * circle.radius)
    lasting = outside - far
    if np.isfinite(lasting).any() and np.nanmedian(lasting) > _BEYOND * circle.step:
        return False
    rim = float(np.nanmedian(inside))
    for low, high in pairwise((0.25, 0.45, 0.65, 0.85)):
        ring = _around(picture, circle, (low - 1) * circle.radius, (high - 1) * circle.radius)
        if np.isfinite(ring).any() and np.nanmedian(ring) > rim + _WITHIN * circle.step:
            return False
    return True


def _around(picture: Float32, circle: Circle, inner: float, outer: float) -> Float64:
    place = np.array([[circle.x, circle.y, circle.radius]])
    ring: Float64 = _sectors(picture, place, np.array([inner]), np.array([outer]))[0]
    return ring


def _sectors(picture: Float32, circles: Float64, inner: Float64, outer: Float64) -> Float64:
    """Median of the picture in each sector of rings.

    Parameters
    ----------
    picture : float32 (y, x)
    circles : float64 (n, 3)
        x, y and radius, bins.
    inner, outer : float64 (n,)
        Edges of the rings beyond the radii, bins; samples lie as far apart in each as the widest ring needs.

    Returns
    -------
    float64 (n, sector)
        NaN where less than half of a sector has data.
    """
    count = max(2, int(np.ceil((outer - inner).max())))
    medians = np.empty((len(circles), _SECTORS))
    _sector_medians(medians, picture, circles, inner, outer, (np.arange(count) + 0.5) / count, _SINES, _COSINES)
    return medians


@native
def _sector_medians(
    medians: Float64,
    picture: Float32,
    circles: Float64,
    inner: Float64,
    outer: Float64,
    shares: Float64,
    sines: Float64,
    cosines: Float64,
) -> None:
    """Fill in what `_sectors` gives, from samples at `shares` of the way from the inner to the outer edges."""
    height, width = picture.shape
    sectors = sines.shape[1]
    samples = len(sines) * len(shares)
    values = np.empty((samples, sectors), np.float32)
    for k in range(len(circles)):
        known = np.zeros(sectors, np.intp)
        for sample in range(samples):
            radius = max(circles[k, 2] + inner[k] + shares[sample // len(sines)] * (outer[k] - inner[k]), 0.0)
            sine, cosine = sines[sample % len(sines)], cosines[sample % len(sines)]
            for sector in range(sectors):
                y = (circles[k, 1] + radius * sine[sector] + WHOLE) - WHOLE
                x = (circles[k, 0] + radius * cosine[sector] + WHOLE) - WHOLE
                inside = 0 <= y < height and 0 <= x < width
                value = picture[np.intp(y) if inside else 0, np.intp(x) if inside else 0]
                there = inside and np.isfinite(value)
                values[sample, sector] = value if there else np.float32(np.inf)
                known[sector] += there
        # Neighbours change places until all are sorted: many comparisons, but of all sectors at once.
        for turn in range(samples):
            for sample in range(turn % 2, samples - 1, 2):
                for sector in range(sectors):
                    one, other = values[sample, sector], values[sample + 1, sector]
                    values[sample, sector] = one if one < other else other
                    values[sample + 1, sector] = other if one < other else one
        for sector in range(sectors):
            number = known[sector]
            if 2 * number < samples:
                medians[k, sector] = np.nan
            else:
                middle_two = values[(number - 1) // 2, sector] + values[number // 2, sector]
                medians[k, sector] = np.float32(0.5) * middle_two


def _hole(picture: Float32, circle: Circle) -> float:
    """Radius in bins within which the ring is dark, 0 for a disc."""
    radii = np.arange(1.0, circle.radius - 1.0)
    if radii.size < 2:
        return 0.0
    rim = np.nanmedian(_around(picture, circle, -0.2 * circle.radius, -1.0))
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
