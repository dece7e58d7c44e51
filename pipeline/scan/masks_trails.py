"""Trails of satellites and aeroplanes: long straight lines on the binned signal-to-noise picture.

A Hough transform of the lit bins proposes lines; a line is kept where most of a long stretch of it is brighter
than the strips on both sides, so that neither a few stars in a row nor the flank of a galaxy makes a trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.stats import theilslopes

from pipeline.flags import PixelFlag
from pipeline.scan.background import Mesh, cell_edges, measure_cells, smooth_mesh
from pipeline.scan.masks_flags import Shape
from pipeline.scan.masks_hough import LineCounts
from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.native import native
from pipeline.scan_config import MasksConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_MAX_TRAILS = 40
_PICTURE_SIDE = 600
_CELL = 24
_WIDEST = 12
_STRAIGHT_DEGREES = 0.2
_ELSEWHERE = 0.35
"""A short line with this share of its light in another band is a galaxy or a star's spike."""

_PASSES = 3
_PIECES = 12
_LIT = 1.5
_FILLING = 0.7


@dataclass(frozen=True)
class Segment:
    """A straight piece of light, in bins: its ends, signal to noise and half its width."""

    x0: float
    y0: float
    x1: float
    y1: float
    significance: float
    half_width: float


def find_trails(profile: FieldProfile, config: MasksConfig, pixel_scale: float) -> list[Shape]:
    """Segments flagged TRAIL, per band.

    Parameters
    ----------
    profile : FieldProfile
    config : MasksConfig
    pixel_scale : float
        Arcsec.

    Returns
    -------
    list of Shape
        As wide as the light beside the line reaches, and `trail_half_width` more on each side. Lines shorter than
        `trail_sure` count only where another band shows that they are no object of the sky.
    """
    margin = config.trail_half_width / pixel_scale
    bands = range(profile.binned.shape[0])
    pictures = [_rebinned(profile.binned[band], profile.bin) for band in bands]
    side = pictures[0][1]
    length, sure = (value / pixel_scale / side for value in (config.trail_length, config.trail_sure))
    votes = [_votes(picture) for picture, _ in pictures]
    shapes = []
    for band in bands:
        others = [plane for other, plane in enumerate(votes) if other != band]
        for line in _lines(votes[band].copy(), config.trail_significance, length if others else sure, sure):
            if _along_an_axis(line):
                continue
            short = float(np.hypot(line.x1 - line.x0, line.y1 - line.y0)) < sure
            if short and max(_light(plane, line) for plane in others) > _ELSEWHERE * _light(votes[band], line):
                continue
            x0, y0, x1, y1 = ((value + 0.5) * side - 0.5 for value in (line.x0, line.y0, line.x1, line.y1))
            half_width = line.half_width * side + margin
            shapes.append(Shape(band, PixelFlag.TRAIL, x0, y0, x1, y1, half_width))
    return shapes


def _along_an_axis(line: Segment) -> bool:
    """Whether a line lies in one row or column, as bad columns do and what crossed the sky hardly ever."""
    dx, dy = abs(line.x1 - line.x0), abs(line.y1 - line.y0)
    return float(np.degrees(np.arctan2(min(dx, dy), max(dx, dy)))) < _STRAIGHT_DEGREES


def _light(votes: Float32, line: Segment) -> float:
    """Median light on a line above that beside it."""
    angle = float(np.arctan2(line.y1 - line.y0, line.x1 - line.x0)) - np.pi / 2
    places = np.linspace(0.0, 1.0, max(int(np.hypot(line.x1 - line.x0, line.y1 - line.y0)), 2))
    x, y = line.x0 + places * (line.x1 - line.x0), line.y0 + places * (line.y1 - line.y0)
    middle = _sample(votes, x, y, angle, (-1.0, 0.0, 1.0)).max(axis=0)
    beside = _sample(votes, x, y, angle, (-10.0, -8.0, 8.0, 10.0)).mean(axis=0)
    return float(np.median(middle - beside))


def _lines(votes: Float32, significance: float, length: float, sure: float) -> list[Segment]:
    """Straight lines of light, strongest first.

    Parameters
    ----------
    votes : float32 (y, x)
        As `_votes` gives them; what is found is taken from them.
    significance : float
        Of the number of lit bins on the line against chance, and of the light of the lit stretch against
        the strips beside it, sigma.
    length : float
        Shortest lit stretch, bins.
    sure : float
        Lit stretch from which a line is carried on over what is not lit, bins.

    Returns
    -------
    list of Segment
        At most `_MAX_TRAILS`.
    """
    if min(votes.shape) < 16:
        return []
    lit = votes >= _LIT
    crowd = LineCounts(lit)
    lines: list[Segment] = []
    for _ in range(_PASSES):
        before = len(lines)
        for angle, offset in crowd.fullest(lit, significance, length):
            line = _stretch(votes, angle, offset, significance, length, sure)
            if line is not None and len(lines) < _MAX_TRAILS:
                lines.append(line)
                # What is left of a line would be proposed again, a little turned.
                _erase(lit, votes, line)
        if len(lines) == before:
            break
    return lines


def _rebinned(picture: Float32, side: int) -> tuple[Float32, int]:
    """The picture with at most `_PICTURE_SIDE` bins a side, and the side of a bin in pixels."""
    factor = -(-max(picture.shape) // _PICTURE_SIDE)
    if factor == 1:
        return picture, side
    starts = [np.arange(0, length, factor) for length in picture.shape]
    data = np.isfinite(picture)
    total = np.add.reduceat(np.add.reduceat(np.where(data, picture, 0.0), starts[0], axis=0), starts[1], axis=1)
    count = np.add.reduceat(np.add.reduceat(data, starts[0], axis=0, dtype=int), starts[1], axis=1, dtype=int)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32), side * factor


def _votes(picture: Float32) -> Float32:
    """Signal above the surroundings in units of its scatter, cut at -3 and +6; 0 where there is no data."""
    data = np.isfinite(picture)
    if not data.any():
        return np.zeros(picture.shape, np.float32)
    filled: Float32 = np.where(data, picture, np.float32(0.0))
    flat = filled - _surroundings(filled, data)
    scatter = 1.4826 * float(np.median(np.abs(flat[data])))
    if scatter <= 0:
        return np.zeros(picture.shape, np.float32)
    return np.where(data, np.clip(flat / scatter, -3.0, 6.0), 0.0).astype(np.float32)


def _surroundings(picture: Float32, data: Bool) -> Float32:
    """The picture's smooth part: clipped background of cells of `_CELL` bins, bilinear between."""
    y_edges, x_edges = (cell_edges(length, _CELL) for length in picture.shape)
    cells = [measure_cells(picture[a:b], data[a:b], x_edges)[0] for a, b in pairwise(y_edges)]
    return Mesh(smooth_mesh(np.stack(cells))[None], (picture.shape[0], picture.shape[1])).band_rows(
        0, 0, picture.shape[0]
    )


def _stretch(
    votes: Float32, angle: float, offset: float, significance: float, length: float, sure: float
) -> Segment | None:
    """The lit stretch of a line, or None if it is too short, too patchy or no brighter than its sides."""
    diagonal = float(np.hypot(votes.shape[0], votes.shape[1]))
    x, y, excess = _beside_a_line(votes, np.arange(-diagonal, diagonal), offset, np.cos(angle), np.sin(angle))
    window = max(int(length / 3), 5)
    if x.size < length:
        return None
    runs, first, size, share = _longest_run(excess, window)
    if size < length or share < _FILLING:
        return None
    strength = float(np.median(excess[first : first + size]) * np.sqrt(size))
    if strength < significance:
        return None
    # What is short may be galaxies in a row, and ends about where they end.
    gap = int(length) if size >= sure else window
    first, last = _carried_on(runs, first, first + size - 1, gap)
    found = Segment(float(x[first]), float(y[first]), float(x[last]), float(y[last]), strength, 1.0)
    return _straightened(votes, found, angle)


@native
def _longest_run(excess: Float64, window: int) -> tuple[Bool, int, int, float]:
    """Where most of a window is clearly lit, and of the longest run of that the first, its size and its lit share."""
    size = excess.size
    lit = np.zeros(size + 1, np.intp)
    for k in range(size):
        lit[k + 1] = lit[k] + (excess[k] > _LIT)
    runs = np.zeros(size, np.bool_)
    first = longest = start = 0
    for k in range(size):
        number = lit[min(k - window // 2 + window, size)] - lit[max(k - window // 2, 0)]
        runs[k] = number / window > _FILLING
        if not runs[k]:
            start = k + 1
        elif k + 1 - start > longest:
            first, longest = start, k + 1 - start
    return runs, first, longest, (lit[first + longest] - lit[first]) / max(longest, 1)


def _carried_on(runs: Bool, first: int, last: int, gap: int) -> tuple[int, int]:
    """Ends of a stretch after it has taken in other lit runs and the picture's border within `gap` bins.

    Stars on a trail and the sky's noise break it; what crossed the sky did not.
    """
    lit = np.concatenate(([0], np.flatnonzero(runs), [len(runs) - 1]))
    while True:
        left, right = lit[(lit < first) & (lit >= first - gap)], lit[(lit > last) & (lit <= last + gap)]
        if not left.size and not right.size:
            return first, last
        first, last = int(min(left.min(initial=first), first)), int(max(right.max(initial=last), last))


def _straightened(votes: Float32, line: Segment, angle: float) -> Segment:
    """A line moved and turned onto the middle of its light, and as wide as that."""
    length = float(np.hypot(line.x1 - line.x0, line.y1 - line.y0))
    places = np.linspace(0.0, 1.0, max(int(length), 2))
    x, y = line.x0 + places * (line.x1 - line.x0), line.y0 + places * (line.y1 - line.y0)
    shifts = np.arange(-_WIDEST, _WIDEST + 1)
    across = _sample(votes, x, y, angle, shifts)
    parts = np.array_split(np.arange(x.size), _PIECES)
    centres = np.array([_centre(np.median(across[:, part], axis=1), shifts) for part in parts if part.size])
    middles = np.array([places[part].mean() for part in parts if part.size])
    known = np.isfinite(centres)
    start = end = 0.0
    if known.sum() >= 3:
        # Stars on a piece draw its middle aside: those far from the others' line are left out.
        slope, offset = theilslopes(centres[known], middles[known])[:2]
        start, end = float(offset), float(offset + slope)
    if max(abs(start), abs(end)) > _WIDEST:
        start = end = 0.0
    side = np.array([np.cos(angle), np.sin(angle)])
    (x0, y0), (x1, y1) = (np.array([line.x0, line.y0]) + start * side, np.array([line.x1, line.y1]) + end * side)
    moved = _sample(votes, x0 + places * (x1 - x0), y0 + places * (y1 - y0), angle, shifts)
    half_width = _half_width(np.median(moved, axis=1))
    return Segment(float(x0), float(y0), float(x1), float(y1), line.significance, half_width)


def _centre(across: Float64, shifts: npt.NDArray[np.int64]) -> float:
    """Middle of the light across a line; NaN where there is none."""
    light = across - np.median(np.concatenate([across[:4], across[-4:]]))
    light[light < 0.3 * light.max()] = 0.0
    return float((light * shifts).sum() / light.sum()) if light.max() > _LIT else float("nan")


def _half_width(across: Float64) -> float:
    """Bins from the line to where its median brightness has fallen to a fifth, the further side."""
    sky = float(np.median(np.concatenate([across[:4], across[-4:]])))
    light = across - sky
    limit = 0.2 * float(light[_WIDEST - 1 : _WIDEST + 2].max())
    return max(_falls(light[_WIDEST:], limit), _falls(light[_WIDEST::-1], limit), 1.0)


def _falls(light: Float64, limit: float) -> float:
    """Where light first falls below a limit, between bins."""
    dark = np.flatnonzero(light <= limit)
    if not dark.size or dark[0] == 0:
        return 0.0 if dark.size else float(len(light))
    last = int(dark[0]) - 1
    return last + float((light[last] - limit) / (light[last] - light[last + 1]))


def _sample(votes: Float32, x: Float64, y: Float64, angle: float, shifts: npt.ArrayLike) -> Float64:
    """Votes along a line moved sideways by each of `shifts` bins, nearest bin; 0 outside: float64 (shift, along)."""
    shifts = np.asarray(shifts, np.float64)
    sampled = np.empty((len(shifts), len(x)), np.float64)
    cosine, sine = np.cos(angle), np.sin(angle)
    for shift, values in zip(shifts, sampled, strict=True):
        _sample_one(votes, x, y, shift * cosine, shift * sine, values)
    return sampled


@native
def _sample_one(votes: Float32, x: Float64, y: Float64, by_x: float, by_y: float, values: Float64) -> None:
    """Fill in the votes nearest to the places at x and y moved by so much; 0 outside."""
    for k in range(len(x)):
        values[k] = _vote(votes, x[k] + by_x, y[k] + by_y)


@native
def _vote(votes: Float32, x: float, y: float) -> float:
    height, width = votes.shape
    if 0 <= y <= height - 1 and 0 <= x <= width - 1:
        return np.float64(votes[np.intp(y + 0.5), np.intp(x + 0.5)])
    return 0.0


@native
def _beside_a_line(
    votes: Float32, along: Float64, offset: float, cosine: float, sine: float
) -> tuple[Float64, Float64, Float64]:
    """X and y of the bins of a line inside the picture, and the light on it above that of the brighter side."""
    height, width = votes.shape
    x, y, excess = np.empty(len(along)), np.empty(len(along)), np.empty(len(along))
    number = 0
    for place in along:
        here_x, here_y = offset * cosine - place * sine, offset * sine + place * cosine
        if not (0 <= here_x <= width - 1 and 0 <= here_y <= height - 1):
            continue
        line = -np.inf
        for shift in (-1.0, 0.0, 1.0):
            line = max(line, _vote(votes, here_x + shift * cosine, here_y + shift * sine))
        sides = -np.inf
        for side in (-1.0, 1.0):
            light = 0.0
            for shift in (12.0, 10.0, 8.0) if side < 0 else (8.0, 10.0, 12.0):
                light += _vote(votes, here_x + side * shift * cosine, here_y + side * shift * sine)
            sides = max(sides, light / 3)
        x[number], y[number], excess[number] = here_x, here_y, line - sides
        number += 1
    return x[:number], y[:number], excess[:number]


def _erase(lit: Bool, votes: Float32, line: Segment) -> None:
    """Take a found line out of the pictures, which are changed."""
    y, x = np.arange(lit.shape[0])[:, None], np.arange(lit.shape[1])[None, :]
    dx, dy = line.x1 - line.x0, line.y1 - line.y0
    length = max(float(np.hypot(dx, dy)), 1e-9)
    across = np.abs((x - line.x0) * dy - (y - line.y0) * dx) / length
    along = ((x - line.x0) * dx + (y - line.y0) * dy) / length
    near = (across <= 2.0 + line.half_width) & (along >= -4.0) & (along <= length + 4.0)
    lit[near] = False
    votes[near] = 0.0
