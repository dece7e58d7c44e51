"""Circles that the gradients of a picture vote for: a Hough transform in which every bin has a limited say.

Light that falls off inwards to outwards votes for all centres that it points at or from. The sums over a ring are taken
directly, bin after bin of the ring for a whole row of centres: rings are thin, which makes that cheaper than Fourier
transforms, and sums have the same bits on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d, sobel

from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.intp]

_VOTE = 3.0
"""Largest vote of a bin, in units of the gradient's scatter."""

_LEAST_VOTE = 0.5
_CANDIDATES = 60


def voted(picture: Float32, radii: Float64, least_arc: float) -> Float64:
    """Circles whose mean vote is at least half of the gradient's scatter and the best around, the best first.

    Parameters
    ----------
    picture : float32 (y, x)
        NaN for no data.
    radii : float64 (n,)
        Radii looked for, bins, rising.
    least_arc : float
        Share of a circle that must have gradients.

    Returns
    -------
    float64 (circles, 3)
        x, y and radius; at most 60, and centres may lie outside the picture.
    """
    none = np.zeros((0, 3))
    data = np.isfinite(picture)
    whole = minimum_filter1d(minimum_filter1d(data.astype(np.uint8), 3, axis=0), 3, axis=1) > 0
    whole[[0, -1]] = False
    whole[:, [0, -1]] = False
    if not whole.any():
        return none
    filled = np.where(data, picture, np.float32(0.0))
    down, right = (np.where(whole, sobel(filled, axis) / 8, np.float32(0.0)) for axis in (0, 1))
    size = np.hypot(down, right)
    scatter = float(np.median(size[whole]))
    if scatter <= 0:
        return none
    limit = np.minimum(np.float32(1.0), _VOTE * scatter / np.maximum(size, np.float32(1e-9))) / np.float32(scatter)
    reach = int(np.ceil(radii[-1])) + 1
    down, right, there = (np.pad(plane, 2 * reach) for plane in (down * limit, right * limit, whole.astype(np.float32)))
    y, x, best, votes = _votes(down, right, there, *_rings(radii, reach), reach, least_arc)
    order = np.argsort(-votes, kind="stable")[:_CANDIDATES]
    return np.column_stack([x[order], y[order], radii[best[order]]])


def _rings(radii: Float64, reach: int) -> tuple[Int, Int, Float32]:
    """Where the ring of each radius starts in a list of bins; the steps (y, x) from a bin to the centre; their weights.

    Returns
    -------
    starts : int (radii + 1,)
    steps : int (bins, 2)
    weights : float32 (3, bins)
        Of the gradients along y and along x, and of the length of the ring.
    """
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.maximum(np.hypot(dy, dx), 1e-6)
    steps, weights = [], []
    for radius in radii:
        ring = np.clip(1.5 - np.abs(distance - radius), 0.0, 1.0)
        on = ring > 0
        steps.append(np.column_stack([dy[on], dx[on]]))
        weights.append(np.stack([(ring * part / distance)[on] for part in (dy, dx, distance)]))
    starts = np.cumsum([0, *(len(part) for part in steps)])
    return starts, np.concatenate(steps), np.concatenate(weights, axis=1).astype(np.float32)


@native
def _votes(
    down: Float32,
    right: Float32,
    whole: Float32,
    starts: Int,
    steps: Int,
    weights: Float32,
    reach: int,
    least_arc: float,
) -> tuple[Int, Int, Int, Float32]:
    """Row, column, index of the radius and vote of the best circles; planes have a frame twice as wide as `reach`."""
    height, width = down.shape[0] - 2 * reach, down.shape[1] - 2 * reach
    votes = np.full((height, width), -np.inf, np.float32)
    best = np.zeros((height, width), np.uint8)
    total, length = np.empty(width, np.float32), np.empty(width, np.float32)
    full = np.zeros(len(starts) - 1, np.float32)
    for index in range(len(full)):
        for k in range(starts[index], starts[index + 1]):
            full[index] += weights[2, k]
    # Columns of centres whose rings lie within those that only a hole keeps from being whole.
    low, high = 2 * reach + 1, width - 2 * reach - 1
    solid = np.zeros(len(down), np.bool_)
    for row in range(len(down)):
        solid[row] = high > low and whole[row, low : high + 2 * reach].min() > 0
    for y in range(height):
        holes = not solid[y : y + 2 * reach + 1].all()
        for index in range(len(full)):
            ring = slice(starts[index], starts[index + 1])
            total[:] = 0.0
            _add(total, down, y, 0, steps[ring], weights[0, ring], reach)
            _add(total, right, y, 0, steps[ring], weights[1, ring], reach)
            length[:] = 0.0
            if holes:
                _add(length, whole, y, 0, steps[ring], weights[2, ring], reach)
            else:
                _add(length[:low], whole, y, 0, steps[ring], weights[2, ring], reach)
                length[low:high] = full[index]
                _add(length[high:], whole, y, high, steps[ring], weights[2, ring], reach)
            least = np.float32(least_arc) * full[index]
            for x in range(width):
                vote = total[x] / max(length[x], np.float32(1e-3))
                better = length[x] >= least and vote > votes[y, x]
                votes[y, x] = vote if better else votes[y, x]
                best[y, x] = index if better else best[y, x]
    rows, columns = [0 for _ in range(0)], [0 for _ in range(0)]
    for y in range(height):
        for x in range(width):
            here = votes[y, x]
            if here >= _LEAST_VOTE and here == votes[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].max():
                rows.append(y)
                columns.append(x)
    indices, found = np.empty(len(rows), np.intp), np.empty(len(rows), np.float32)
    for k in range(len(rows)):
        indices[k], found[k] = best[rows[k], columns[k]], votes[rows[k], columns[k]]
    return np.array(rows) - reach, np.array(columns) - reach, indices, found


@native
def _add(sums: Float32, plane: Float32, y: int, x: int, steps: Int, weights: Float32, reach: int) -> None:
    """Add what a plane has on the rings about centres in row `y` from column `x` on, four bins of a ring at a time."""
    width = len(sums)
    whole = len(steps) // 4 * 4
    for k in range(0, whole, 4):
        a = plane[y + reach - steps[k, 0], x + reach - steps[k, 1] :][:width]
        b = plane[y + reach - steps[k + 1, 0], x + reach - steps[k + 1, 1] :][:width]
        c = plane[y + reach - steps[k + 2, 0], x + reach - steps[k + 2, 1] :][:width]
        d = plane[y + reach - steps[k + 3, 0], x + reach - steps[k + 3, 1] :][:width]
        p, q, r, s = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for column in range(width):
            here = sums[column] + p * a[column]
            here += q * b[column]
            here += r * c[column]
            sums[column] = here + s * d[column]
    for k in range(whole, len(steps)):
        a = plane[y + reach - steps[k, 0], x + reach - steps[k, 1] :][:width]
        p = weights[k]
        for column in range(width):
            sums[column] += p * a[column]
