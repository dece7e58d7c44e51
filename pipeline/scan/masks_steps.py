"""Detector edges that a coadd's pixels betray: steps of the background along columns or rows.

A step is a difference between the means of the few columns on either side of a line, the same in sign over
several cells in a row, and more than the slope of the light around the line explains: the envelope of a galaxy, the
wings of a star and a tilted background differ as much from one few columns to the next, all the way. Light of stars and
galaxies makes bumps too, but not the same one in cell after cell, which is why each cell's vote is limited and most
of them must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, box
from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.medians import middle
from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.intp]

_SLOPE_PLACES = (-3, -2, -1, 1, 2, 3)
"""Lines around one, in windows from it, whose median difference is what the slope of the light explains.

Six, so that another edge among them, which two of them see, does not count; half on each side, so that where a slope
begins is no step.
"""

_SLOPE_ERROR = 3.0
"""Share of the difference's variance that its slope adds, times the number of lines that tell of the slope.

For normal noise: 2.8 for all six, at most 3 for four or more and about 2 to 3 for fewer, since neighbouring lines
share a window.
"""

_BENT = 0.5
"""Smallest step in units of how much the slope changes around it: in the wings of a star it changes fast."""

_VOTE_LIMIT = 8.0
_AGREES = 2.0
_CARRIED = 2
_STAYS = 0.35
"""Share of a step that must still be there beyond the pixels next to the line."""


@dataclass(frozen=True)
class StepRule:
    """How a step is told from chance.

    Attributes
    ----------
    significance : float
        Smallest combined significance of the difference, sigma.
    window : int
        Columns averaged on each side of the line, pixels.
    cells : int
        Cells that are judged together; at least three quarters of them must agree.
    jump : float
        Smallest step, in units of the pixel noise.
    margin : int
        Pixels flagged on each side of the line.
    join : float
        Two edges nearer to each other than this bound one strip, which is flagged whole, pixels.
    lean : float
        Largest angle between an edge and the rows or columns, degrees.
    """

    significance: float
    window: int
    cells: int
    jump: float
    margin: int
    join: float
    lean: float


def find_steps(profile: FieldProfile, rule: StepRule) -> list[Shape]:
    """Edges along columns and rows of every band as boxes flagged CHIP_GAP, and strips between two of them SEAM.

    What lies between two edges is sky of another exposure, good but for its background.
    """
    shapes = []
    for band in range(profile.columns.shape[0]):
        noise = profile.scatter[band]
        edges = line_edges(profile.columns[band], profile.columns_error[band], noise, profile.y_edges, rule)
        for cell, low, high, flag in _strips(edges, rule):
            y0, y1 = int(profile.y_edges[cell]), int(profile.y_edges[cell + 1])
            shapes.append(box(band, flag, low, high, y0, y1))
        across = np.ascontiguousarray(profile.rows[band].T), np.ascontiguousarray(profile.rows_error[band].T)
        edges = line_edges(*across, noise.T, profile.x_edges, rule)
        for cell, low, high, flag in _strips(edges, rule):
            x0, x1 = int(profile.x_edges[cell]), int(profile.x_edges[cell + 1])
            shapes.append(box(band, flag, x0, x1, low, high))
    return shapes


@dataclass(frozen=True)
class Differences:
    """What differs from one side of each line to the other; float32 (cell, n), 0 where a side has no data.

    Attributes
    ----------
    step : mean(x .. x + window - 1) - mean(x - window .. x - 1) less the slope
    significance : the same in sigma
    slope : the median of that difference at the lines 1, 2 and 3 windows before and after
    bend : how much it varies among them; the range of those four that lie nearest together
    """

    step: Float32
    significance: Float32
    slope: Float32
    bend: Float32


def step_differences(lines: Float32, errors: Float32, window: int) -> Differences:
    """Differences at each line between the columns before and after it, beyond what the slope explains.

    Parameters
    ----------
    lines, errors : float32 (cell, n)
        Mean and standard error of each column of a cell; NaN for no data.
    window : int
        Columns averaged on each side.

    Returns
    -------
    Differences
        All 0 also where none of the lines around has data on both its sides.
    """
    jump, spread = _window_difference(lines, errors, window)
    around = np.sort(np.stack([_from_afar(jump, place * window) for place in _SLOPE_PLACES]), axis=0)
    number = np.isfinite(around).sum(axis=0)
    slope = middle(around, number)
    widest = np.take_along_axis(around, np.maximum(number - 1, 0)[None], axis=0)[0] - around[0]
    bend = np.where(number < 4, widest, np.fmin.reduce(around[3:] - around[:-3], axis=0))
    known = np.isfinite(jump) & (number > 0) & (spread > 0)
    error = np.where(known, spread * np.sqrt(1 + _SLOPE_ERROR / np.maximum(number, 1)), 1.0)
    step, slope, bend = (np.where(known, plane, np.float32(0.0)) for plane in (jump - slope, slope, bend))
    return Differences(step, (step / error).astype(np.float32), slope, bend)


def _from_afar(lines: Float32, by: int) -> Float32:
    """Column x + `by` of each row at x; NaN beyond the ends."""
    moved = np.full_like(lines, np.nan)
    length = lines.shape[1]
    if abs(by) < length:
        moved[:, max(-by, 0) : length - max(by, 0)] = lines[:, max(by, 0) : length - max(-by, 0)]
    return moved


def _window_difference(lines: Float32, errors: Float32, window: int) -> tuple[Float32, Float32]:
    """Mean of `window` columns from each line on less that of those before it, and its error; NaN without data."""
    difference = np.full(lines.shape, np.nan, np.float32)
    error = np.full(lines.shape, np.nan, np.float32)
    length = lines.shape[1]
    if length <= 2 * window:
        return difference, error
    bad = ~np.isfinite(lines)
    sums = _running_sum(np.where(bad, 0.0, lines))
    squares = _running_sum(np.where(bad, 0.0, errors) ** 2)
    absent = _running_sum(bad)
    middle = slice(window, length - window + 1)
    before, here, after = slice(0, length - 2 * window + 1), middle, slice(2 * window, length + 1)
    jump = (sums[:, after] - 2 * sums[:, here] + sums[:, before]) / window
    spread = np.sqrt(squares[:, after] - squares[:, before]) / window
    whole = absent[:, after] - absent[:, before] == 0
    target = slice(window, window + jump.shape[1])
    difference[:, target] = np.where(whole, jump, np.nan)
    error[:, target] = np.where(whole, spread, np.nan)
    return difference, error


def _outer_difference(lines: Float32, window: int) -> npt.NDArray[np.float64]:
    """Mean from `window` to 3 `window` columns after each line less the same before it; NaN without data."""
    cells, length = lines.shape
    outer = np.full((cells, length), np.nan)
    if length <= 6 * window:
        return outer
    bad = ~np.isfinite(lines)
    sums = _running_sum(np.where(bad, 0.0, lines))
    count = _running_sum(~bad)
    at = np.arange(3 * window, length - 3 * window + 1)
    after = sums[:, at + 3 * window] - sums[:, at + window]
    before = sums[:, at - window] - sums[:, at - 3 * window]
    after_count = count[:, at + 3 * window] - count[:, at + window]
    before_count = count[:, at - window] - count[:, at - 3 * window]
    known = (after_count > 0) & (before_count > 0)
    outer[:, at[at < length]] = np.where(
        known, after / np.maximum(after_count, 1) - before / np.maximum(before_count, 1), np.nan
    )[:, at < length]
    return outer


def line_edges(
    lines: Float32, errors: Float32, noise: Float32, heights: npt.NDArray[np.int64], rule: StepRule
) -> Float32:
    """Strength of the edges that run through several cells, upright or leaning by up to `lean`.

    Parameters
    ----------
    lines, errors : float32 (cell, n)
        What steps at an edge, for each column of a cell, and its standard error; NaN for no data.
    noise : float32 (cell, any)
        Unit of `rule.jump`; the median of a cell's row counts.
    heights : int64 (cell + 1,)
        Pixel edges of the cells along the edge.
    rule : StepRule

    Returns
    -------
    float32 (cell, n)
        Sigma at the first column after an edge, 0 elsewhere.
    """
    cells, length = lines.shape
    edges = np.zeros((cells, length), np.float32)
    signs = np.zeros((cells, length), np.float32)
    together = min(rule.cells, cells)
    if together < 2:
        return edges
    found = step_differences(lines, errors, rule.window)
    # The middles of the outer columns are four windows apart, those of the inner ones one.
    outer = _outer_difference(lines, rule.window) - 4 * found.slope
    typical = np.median(noise, axis=1)[:, None]
    votes = np.clip(found.significance, -_VOTE_LIMIT, _VOTE_LIMIT)
    # The light of a star or galaxy is as dark again a little further on; beyond a step it stays.
    stays = ~(outer * np.sign(found.step) < _STAYS * np.abs(found.step))
    stays &= np.abs(found.step) >= _BENT * found.bend
    solid = stays & (np.abs(found.step) / typical >= rule.jump)
    room = 1 + int(np.ceil(np.tan(np.radians(rule.lean)) * float(np.ptp(heights))))
    frame = ((0, 0), (room, room))
    framed: Float32 = np.pad(votes, frame)
    firm: Bool = np.pad(solid, frame)
    middles = (heights[1:] + heights[:-1]) / 2
    for start in range(cells - together + 1):
        part = slice(start, start + together)
        offsets = middles[part] - middles[part].mean()
        slopes = _slopes(float(np.ptp(heights[start : start + together + 1])), rule)
        tried = np.rint(slopes[:, None] * offsets[None, :]).astype(np.intp)
        least = max(2, int(np.ceil(0.75 * together)))
        best, shifts = _strongest(framed[part], firm[part], tried, room, least)
        crest = (best >= rule.significance) & (best == maximum_filter1d(best, 2 * rule.window + 1))
        for x in np.flatnonzero(crest):
            columns = np.clip(x + tried[shifts[x]], 0, length - 1)
            own = votes[np.arange(start, start + together), columns]
            strong = np.flatnonzero(own * np.sign(own.sum()) >= _AGREES)
            for cell in range(strong[0], strong[-1] + 1):
                place = start + cell, columns[cell]
                edges[place] = max(edges[place], best[x])
                signs[place] = np.sign(own.sum())
    # Windows of cells that overlap place one edge some pixels apart.
    for sign in (-1.0, 1.0):
        alike = np.where(signs == sign, edges, np.float32(0.0))
        edges[(alike > 0) & (alike < maximum_filter1d(alike, 4 * rule.window + 1, axis=1))] = 0.0
    return edges


def _slopes(height: float, rule: StepRule) -> npt.NDArray[np.float64]:
    """Slopes to try for an edge so high, such that neighbours differ by half a window at its ends; 0 is the first."""
    most = np.tan(np.radians(rule.lean))
    count = int(np.ceil(most * height / rule.window))
    slopes = np.linspace(-most, most, 2 * count + 1)
    return slopes[np.argsort(np.abs(slopes), kind="stable")]


@native
def _strongest(votes: Float32, firm: Bool, tried: Int, room: int, least: int) -> tuple[Float32, Int]:
    """Strength of the best edge through each column, and which of the shifts it has; the first of equals.

    Parameters
    ----------
    votes : float32 (cell, room + n + room)
    firm : bool, the same shape
        Where a vote may count as agreeing.
    tried : int (shifts, cell)
        By how much each cell's column lies beside the edge's.
    room : int
        Zeros at either end, so that columns beside the outermost ones have no vote.
    least : int
        Cells that must agree.
    """
    cells, length = votes.shape[0], votes.shape[1] - 2 * room
    best, shifts = np.zeros(length, np.float32), np.zeros(length, np.intp)
    total = np.empty(length, np.float32)
    root = np.sqrt(np.float64(cells))
    for shift in range(len(tried)):
        total[:] = 0.0
        for cell in range(cells):
            total += votes[cell, room + tried[shift, cell] :][:length]
        for x in range(length):
            combined = np.float32(total[x] / root)
            if abs(combined) <= best[x]:
                continue
            agree = 0
            for cell in range(cells):
                place = room + x + tried[shift, cell]
                vote = votes[cell, place] if combined > 0 else -votes[cell, place]
                agree += firm[cell, place] and vote >= _AGREES
            if agree >= least:
                best[x], shifts[x] = abs(combined), shift
    return best, shifts


def _strips(edges: Float32, rule: StepRule) -> Iterator[tuple[int, int, int, PixelFlag]]:
    """Cell and columns low..high (exclusive) of edges and of the strips between them, along one direction."""
    strips = []
    for cell in range(len(edges)):
        strips.append(list(_joined(edges[cell], rule.join)))
    for cell, spans in enumerate(_continued(strips, 2 * rule.margin)):
        places = {int(column) for column in np.flatnonzero(edges[cell])}
        for low, high in spans:
            places |= {low, high}
            if high - low > 2 * rule.margin:
                yield cell, low, high, PixelFlag.SEAM
        for place in sorted(places):
            low, high = max(place - rule.margin, 0), min(place + rule.margin, edges.shape[1])
            yield cell, low, high, PixelFlag.CHIP_GAP


def _continued(strips: list[list[tuple[int, int]]], reach: int) -> list[list[tuple[int, int]]]:
    """Strips of which one edge goes on further than the other, carried on with it for `_CARRIED` cells.

    A lone edge in one cell that ends within `reach` columns of an edge of its neighbour's strip becomes as wide.
    """
    carried = [list(spans) for spans in strips]
    for _ in range(_CARRIED):
        before = [list(spans) for spans in carried]
        for cell, spans in enumerate(carried):
            beside = [span for near in (cell - 1, cell + 1) if 0 <= near < len(before) for span in before[near]]
            for index, (low, high) in enumerate(spans):
                for other_low, other_high in beside:
                    shares = abs(low - other_low) <= reach or abs(high - other_high) <= reach
                    if shares and other_high - other_low > high - low + 2 * reach:
                        spans[index] = (min(low, other_low), max(high, other_high))
    return carried


def _joined(strength: Float32, join: float) -> Iterator[tuple[int, int]]:
    """First and one past the last column of each strip: the strongest edges take their neighbours first."""
    columns = np.flatnonzero(strength)
    free = np.ones(columns.size, bool)
    for index in np.argsort(-strength[columns], kind="stable"):
        if not free[index]:
            continue
        low = high = int(columns[index])
        for other in np.argsort(np.abs(columns - columns[index]), kind="stable"):
            span = max(high, int(columns[other])) - min(low, int(columns[other]))
            if free[other] and span <= join:
                low, high = min(low, int(columns[other])), max(high, int(columns[other]))
        free &= (columns < low) | (columns > high)
        yield low, high


def _running_sum(lines: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum of the elements before each one, along the last axis; one element longer than the lines."""
    return np.concatenate([np.zeros((lines.shape[0], 1)), np.cumsum(lines, axis=1, dtype=np.float64)], axis=1)
